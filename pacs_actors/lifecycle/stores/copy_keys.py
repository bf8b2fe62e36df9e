"""Keys of copies: made of hashes, checked against their whole grammar before they become a path or a name anywhere. Pure.

A key is ``<folder>/<name>``. Folders have no character that sorts before the slash, so that a store that walks folders and
one that sorts whole keys list them in the same order. No key can be the folder of another one.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final, Literal

from protocols.errors import Misuse

MAX_KEY: Final = 64 + 1 + 128
_KEY: Final = re.compile(r"([0-9a-z]{2,64})/([0-9a-z](?:[0-9a-z_-]|\.(?!\.)){0,126}[0-9a-z])", re.ASCII)

Compression = Literal["", "gz", "zst", "lz4"]
_COMPRESSIONS: Final[dict[str, Compression]] = {"": "", "gz": "gz", "zst": "zst", "lz4": "lz4"}
_OBJECT: Final = re.compile(r"[0-9a-f]{32}/[0-9a-f]{32}-([0-9a-f]{32})\.dcm(?:\.(gz|zst|lz4))?", re.ASCII)


def is_copy_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def parts(key: str) -> tuple[str, str] | None:
    """Folder and name; None if it is no key."""
    match = _KEY.fullmatch(key)
    return None if match is None else (match[1], match[2])


def object_key(
    study_instance_uid: str, sop_instance_uid: str, digest: bytes, compression: Compression = ""
) -> str:
    """The key of an object's copy: the same on every node and after a rebuild of the index.

    digest: of the object, 16 bytes; another object of the same UIDs has another key
    """
    if len(digest) != 16:
        raise Misuse(f"a digest of {len(digest)} bytes")
    suffix = f".{compression}" if compression else ""
    return f"{study_folder(study_instance_uid)}/{_hash(sop_instance_uid)}-{digest.hex()}.dcm{suffix}"


def told_by(key: str) -> tuple[bytes, Compression] | None:
    """Digest and compression that the key of an object's copy tells; None if it is none."""
    match = _OBJECT.fullmatch(key)
    return None if match is None else (bytes.fromhex(match[1]), _COMPRESSIONS[match[2] or ""])


def study_folder(study_instance_uid: str) -> str:
    """What the keys of a study's objects begin with, before the slash: 32 hexadecimal digits."""
    return _hash(study_instance_uid)


def _hash(uid: str) -> str:
    return blake2b(
        uid.encode("utf-8", "backslashreplace"), digest_size=16, person=b"pacs-actors copy"
    ).hexdigest()
