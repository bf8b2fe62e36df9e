"""Settings of tier stores: a ``[stores.NAME]`` table each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

STORE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9_-]{1,64}/){1,8}", re.ASCII)
_ENDPOINT: Final = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?")


class LifecycleStoreSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place for copies of objects beside the local archive."""

    kind: Annotated[str, Meta(pattern="^(folder|s3)$", description="folder or s3.")]
    tier: Annotated[
        str,
        Meta(
            pattern="^(nearline|archive)$",
            description="nearline: who asks for an image gets it from here at once. archive: too slow for that; its study is"
            " recalled first (Instance Availability NEARLINE and OFFLINE).",
        ),
    ] = "nearline"
    path: Annotated[str | None, Meta(description="folder: where it is. It must exist.")] = None
    mounted: Annotated[
        bool,
        Meta(description="folder: it must be a mount point; while nothing is mounted there, it is not used."),
    ] = False
    reserve_bytes: Annotated[int, Meta(ge=0, description="folder: free space that is left alone.")] = 1024**3
    endpoint: Annotated[
        str | None, Meta(description="s3: the server, as https://host[:port]; none: Amazon's of the region.")
    ] = None
    region: Annotated[str, Meta(pattern="^[a-z0-9-]{1,64}$", description="s3: the region.")] = "us-east-1"
    bucket: Annotated[str | None, Meta(description="s3: the bucket. It must exist.")] = None
    prefix: Annotated[
        str, Meta(description="s3: what our keys in the bucket begin with, such as pacs/; may be empty.")
    ] = ""
    access_key: Annotated[
        str | None,
        Meta(
            description="s3: access key ID; none: as boto3 finds it (AWS_ACCESS_KEY_ID, profile, role of the machine)."
        ),
    ] = None
    secret_key: Annotated[str | None, Meta(description="s3: secret access key.")] = None
    ca: Annotated[
        str | None, Meta(description="s3: PEM file of CAs for the server; none: the usual ones.")
    ] = None
    path_style: Annotated[
        bool, Meta(description="s3: the bucket is part of the path, not of the host name.")
    ] = True
    storage_class: Annotated[
        str | None,
        Meta(
            description="s3: storage class of new copies, such as STANDARD_IA; one that can be read at once."
        ),
    ] = None
    encryption: Annotated[
        str | None,
        Meta(description="s3: encryption by the server, AES256 or aws:kms; none: as the bucket has it."),
    ] = None
    kms_key: Annotated[str | None, Meta(description="s3: key ID for aws:kms; none: the account's own.")] = (
        None
    )
    part_bytes: Annotated[
        int,
        Meta(
            ge=5 * 1024**2,
            le=64 * 1024**2,
            description="s3: larger copies are sent in parts of this size, and read so. Each connection may hold one.",
        ),
    ] = 8 * 1024**2
    connections: Annotated[
        int, Meta(ge=1, le=64, description="s3: requests that write at once, per worker; as many may read.")
    ] = 8
    request_timeout_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="Deadline of one request or disk operation, seconds.")
    ] = 60.0
    attempts: Annotated[
        int, Meta(ge=1, le=20, description="s3: how often a request is made that may succeed a moment later.")
    ] = 6
    first_wait_s: Annotated[
        float,
        Meta(
            ge=0.001,
            le=60,
            description="s3: wait after its first failure, seconds; twice as long after each.",
        ),
    ] = 0.2
    longest_wait_s: Annotated[
        float, Meta(ge=0.001, le=600, description="s3: longest such wait, seconds.")
    ] = 20.0


def problems(stores: dict[str, LifecycleStoreSettings]) -> Iterator[str]:
    """Broken rules, as sentences that begin with the key path."""
    for name, store in stores.items():
        at = f"stores.{name}"
        if not STORE_NAME.fullmatch(name) or name in ("local", "online"):
            yield f"{at}: expected a name of small letters, digits and hyphens, not local or online"
        if store.kind == "folder":
            if not store.path:
                yield f"{at}.path: needed by a folder"
        else:
            yield from _s3(at, store)


def _s3(at: str, store: LifecycleStoreSettings) -> Iterator[str]:
    if not store.bucket or not _BUCKET.fullmatch(store.bucket):
        yield f"{at}.bucket: expected a bucket's name of 3 to 63 characters"
    if store.endpoint is not None and not _ENDPOINT.fullmatch(store.endpoint):
        yield f"{at}.endpoint: expected https://host[:port]"
    if store.prefix and not _PREFIX.fullmatch(store.prefix):
        yield f"{at}.prefix: expected letters, digits, hyphens and slashes, with a slash at the end"
    if (store.access_key is None) != (store.secret_key is None):
        yield f"{at}.access_key: it and secret_key go together"
    if store.encryption not in (None, "AES256", "aws:kms"):
        yield f"{at}.encryption: expected AES256 or aws:kms"
    if store.kms_key is not None and store.encryption != "aws:kms":
        yield f"{at}.kms_key: only with the encryption aws:kms"
    if store.longest_wait_s < store.first_wait_s:
        yield f"{at}.longest_wait_s: shorter than first_wait_s"
    if store.ca is not None and not Path(store.ca).is_file():
        yield f"{at}.ca: no such file: {store.ca}"
