"""The status page's files, read once into memory: no string from the network ever names a file."""

from __future__ import annotations

from hashlib import blake2b
from html import escape
from pathlib import Path
from typing import Final

from msgspec import Struct

FOLDER: Final = Path(__file__).resolve().parent / "static_status"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NOTE_PLACE: Final = b"<!-- note -->"


class Asset(Struct, frozen=True):
    """A file as it is served."""

    body: bytes
    content_type: str
    etag: str


def load(folder: Path = FOLDER, note: str = "") -> dict[str, Asset]:
    """File name -> asset, for every file of a known type.

    note:  text for the foot of the page
    raises: OSError when the folder cannot be read
    """
    return {
        path.name: Asset(body, _TYPES[path.suffix], blake2b(body, digest_size=12).hexdigest())
        for path in sorted(folder.iterdir())
        if path.suffix in _TYPES
        for body in (path.read_bytes().replace(_NOTE_PLACE, escape(note).encode()),)
    }
