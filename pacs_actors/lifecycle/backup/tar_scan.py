"""Looking into a base backup as it passes: a tar archive in pieces, and PostgreSQL's own manifest of it. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct

from pacs_actors.lifecycle.backup.frames import Broken

INDEX_MANIFEST: Final = "backup_manifest"
MOST_MANIFEST_BYTES: Final = 64 * 1024 * 1024
_BLOCK: Final = 512
_MOST_MEMBERS: Final = 10_000_000
_REGULAR: Final = (0x30, 0)


class TarScanner:
    """Fed with an archive (ustar, as PostgreSQL writes it), it keeps PostgreSQL's manifest.

    hashing:   also take each file's SHA-256: ``files`` then has name -> (bytes, hexadecimal digest)
    """

    def __init__(self, *, hashing: bool = False) -> None:
        self.manifest = bytearray()
        self.files: dict[str, tuple[int, str]] = {}
        self.ended = False
        self._hashing = hashing
        self._header = bytearray()
        self._name = ""
        self._left = self._padding = self._size = 0
        self._digest = sha256()

    def feed(self, piece: bytes | memoryview) -> None:
        """raises: Broken"""
        view = memoryview(piece)
        while view:
            if self._left:
                taken = view[: self._left]
                self._take(taken)
            elif self._padding:
                taken = view[: self._padding]
                self._padding -= len(taken)
            else:
                taken = view[: _BLOCK - len(self._header)]
                self._header += taken
                if len(self._header) == _BLOCK:
                    self._begin(bytes(self._header))
                    self._header.clear()
            view = view[len(taken) :]

    def _take(self, data: memoryview) -> None:
        if self._name == INDEX_MANIFEST:
            self.manifest += data
        elif self._hashing:
            self._digest.update(data)
        self._left -= len(data)
        if not self._left:
            self._end()

    def _begin(self, header: bytes) -> None:
        if not any(header):
            self.ended = True
            return
        if self.ended:
            raise Broken("the base backup goes on behind its end")
        name = header[:100].rstrip(b"\0")
        if header[257:262] == b"ustar" and header[345]:
            name = header[345:500].rstrip(b"\0") + b"/" + name
        self._name = name.decode("utf-8", "replace").removeprefix("./")
        self._size = self._left = _number(header[124:136]) if header[156] in _REGULAR else 0
        self._padding = -self._size % _BLOCK
        if self._name == INDEX_MANIFEST and self._size > MOST_MANIFEST_BYTES:
            raise Broken("PostgreSQL's manifest is too large")
        if len(self.files) > _MOST_MEMBERS:
            raise Broken("the base backup has too many files")
        self._digest = sha256()
        if not self._left and header[156] in _REGULAR:
            self._end()

    def _end(self) -> None:
        if self._hashing and self._name != INDEX_MANIFEST:
            self.files[self._name] = (self._size, self._digest.hexdigest())


def differences(scanned: TarScanner) -> list[str]:
    """What PostgreSQL's manifest says otherwise than the archive has it: as pg_verifybackup does, without unpacking anything.

    raises: Broken if there is no manifest, or it is damaged
    """
    if not scanned.ended:
        raise Broken("the base backup is cut off")
    listed = _listed(bytes(scanned.manifest))
    found = []
    for path, (size, digest) in listed.items():
        there = scanned.files.get(path)
        if there is None:
            found.append(f"{path} is missing")
        elif there != (size, digest):
            found.append(f"{path} is not as it was")
    extra = (name for name in scanned.files if name not in listed and not name.startswith("pg_wal/") and name)
    found += [f"{name} does not belong here" for name in extra]
    return found


class _File(Struct):
    size: int = msgspec.field(name="Size")
    path: str = msgspec.field(name="Path", default="")
    encoded: str = msgspec.field(name="Encoded-Path", default="")
    algorithm: str = msgspec.field(name="Checksum-Algorithm", default="")
    checksum: str = msgspec.field(name="Checksum", default="")


class _Listing(Struct):
    files: list[_File] = msgspec.field(name="Files")
    checksum: str = msgspec.field(name="Manifest-Checksum")
    ranges: list[dict[str, Any]] = msgspec.field(name="WAL-Ranges", default_factory=list)


def _listed(manifest: bytes) -> dict[str, tuple[int, str]]:
    """The manifest's last line is the checksum of all before it (PostgreSQL, chapter "Backup Manifest Format")."""
    try:
        listing = msgspec.json.decode(manifest, type=_Listing)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Broken("PostgreSQL's manifest is damaged") from None
    body = manifest[: manifest.rfind(b"\n", 0, len(manifest) - 1) + 1]
    if sha256(body).hexdigest() != listing.checksum:
        raise Broken("PostgreSQL's manifest is not as it was written")
    found = {}
    for file in listing.files:
        if file.algorithm != "SHA256":
            raise Broken("PostgreSQL's manifest has other checksums than SHA-256")
        path = file.path or bytes.fromhex(file.encoded).decode("utf-8", "replace")
        found[path] = (file.size, file.checksum.lower())
    return found


def _number(field: bytes) -> int:
    """A size: octal digits, or with the highest bit set binary."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        raise Broken("the base backup is damaged") from None
