"""Settings of tier stores: a ``[stores.NAME]`` table each."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

STORE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", re.ASCII)
_CONTAINER: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}", re.ASCII)
_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
_AZURE_ENDPOINT: Final = re.compile(
    r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[a-z0-9]{3,24})?/?"
)
_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9_-]{1,64}/){1,8}", re.ASCII)
_ENDPOINT: Final = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?")


class LifecycleStoreSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place for copies of objects beside the local archive."""

    kind: Annotated[
        str,
        Meta(
            pattern="^(folder|s3|azure)$",
            description="folder, s3 or azure. Google Cloud Storage is reached by s3, with endpoint"
            " https://storage.googleapis.com and an HMAC key; that is not tested.",
        ),
    ]
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
        str | None,
        Meta(
            description="s3, azure: the server, as https://host[:port], for azure also with the account as path; none:"
            " Amazon's of the region, or Azure's of the account."
        ),
    ] = None
    region: Annotated[str, Meta(pattern="^[a-z0-9-]{1,64}$", description="s3: the region.")] = "us-east-1"
    bucket: Annotated[
        str | None, Meta(description="s3: the bucket; azure: the container. It must exist.")
    ] = None
    prefix: Annotated[
        str, Meta(description="s3, azure: what our keys there begin with, such as pacs/; may be empty.")
    ] = ""
    access_key: Annotated[
        str | None,
        Meta(
            description="s3: access key ID; none: as boto3 finds it (AWS_ACCESS_KEY_ID, profile, role of the machine)."
            " azure: name of the storage account."
        ),
    ] = None
    secret_key: Annotated[
        str | None,
        Meta(description="s3: secret access key; azure: the account's key, or a shared access signature."),
    ] = None
    ca: Annotated[
        str | None, Meta(description="s3, azure: PEM file of CAs for the server; none: the usual ones.")
    ] = None
    path_style: Annotated[
        bool, Meta(description="s3: the bucket is part of the path, not of the host name.")
    ] = True
    storage_class: Annotated[
        str | None,
        Meta(
            description="s3: storage class of new copies, such as STANDARD_IA; azure: their access tier, Hot, Cool or Cold."
            " One that can be read at once."
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
            description="s3, azure: larger copies are sent in parts of this size, and read so. Each connection may hold one.",
        ),
    ] = 8 * 1024**2
    connections: Annotated[
        int,
        Meta(
            ge=1, le=64, description="s3, azure: requests that write at once, per worker; as many may read."
        ),
    ] = 8
    request_timeout_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="Deadline of one request or disk operation, seconds.")
    ] = 60.0
    attempts: Annotated[
        int,
        Meta(
            ge=1, le=20, description="s3, azure: how often a request is made that may succeed a moment later."
        ),
    ] = 6
    first_wait_s: Annotated[
        float,
        Meta(
            ge=0.001,
            le=60,
            description="s3, azure: wait after its first failure, seconds; twice as long after each.",
        ),
    ] = 0.2
    longest_wait_s: Annotated[
        float, Meta(ge=0.001, le=600, description="s3, azure: longest such wait, seconds.")
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
            yield from (_azure if store.kind == "azure" else _s3)(at, store)
            yield from _remote(at, store)


def is_shared_access(secret_key: str) -> bool:
    """Whether it is a shared access signature (a query with its ``sig``) rather than an account's key."""
    return "sig=" in secret_key


def _s3(at: str, store: LifecycleStoreSettings) -> Iterator[str]:
    if not store.bucket or not _BUCKET.fullmatch(store.bucket):
        yield f"{at}.bucket: expected a bucket's name of 3 to 63 characters"
    if store.endpoint is not None and not _ENDPOINT.fullmatch(store.endpoint):
        yield f"{at}.endpoint: expected https://host[:port]"
    if (store.access_key is None) != (store.secret_key is None):
        yield f"{at}.access_key: it and secret_key go together"
    if store.encryption not in (None, "AES256", "aws:kms"):
        yield f"{at}.encryption: expected AES256 or aws:kms"
    if store.kms_key is not None and store.encryption != "aws:kms":
        yield f"{at}.kms_key: only with the encryption aws:kms"


def _azure(at: str, store: LifecycleStoreSettings) -> Iterator[str]:
    if not store.bucket or not _CONTAINER.fullmatch(store.bucket):
        yield f"{at}.bucket: expected a container's name of 3 to 63 small letters, digits and hyphens"
    if store.endpoint is not None and not _AZURE_ENDPOINT.fullmatch(store.endpoint):
        yield f"{at}.endpoint: expected https://host[:port][/account]"
    if store.access_key is not None and not _ACCOUNT.fullmatch(store.access_key):
        yield f"{at}.access_key: expected a storage account's name of 3 to 24 small letters and digits"
    elif store.access_key is None and store.endpoint is None:
        yield f"{at}.access_key: it or endpoint is needed"
    if store.secret_key is None:
        yield f"{at}.secret_key: needed by azure"
    elif not is_shared_access(store.secret_key):
        if store.access_key is None:
            yield f"{at}.access_key: needed with an account's key"
        if not _is_base64(store.secret_key):
            yield f"{at}.secret_key: expected an account's key in base64, or a shared access signature"
    if store.storage_class not in (None, "Hot", "Cool", "Cold"):
        yield f"{at}.storage_class: expected Hot, Cool or Cold"
    if store.encryption is not None or store.kms_key is not None:
        yield f"{at}.encryption: Azure encrypts as the account or the container says"


def _is_base64(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) >= 16
    except ValueError:
        return False


def _remote(at: str, store: LifecycleStoreSettings) -> Iterator[str]:
    if store.prefix and not _PREFIX.fullmatch(store.prefix):
        yield f"{at}.prefix: expected letters, digits, hyphens and slashes, with a slash at the end"
    if store.longest_wait_s < store.first_wait_s:
        yield f"{at}.longest_wait_s: shorter than first_wait_s"
    if store.ca is not None and not Path(store.ca).is_file():
        yield f"{at}.ca: no such file: {store.ca}"
