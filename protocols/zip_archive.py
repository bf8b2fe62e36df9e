"""ZIP archives whose entries are stored, not deflated, written one after the other (APPNOTE 6.3, ZIP64 where it is needed).

Sizes and checksums stand before each entry, so that every reader takes the archive, also one that reads it as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from struct import Struct as Layout
from typing import Final

_32: Final = 0xFFFFFFFF
_16: Final = 0xFFFF
_LOCAL: Final = Layout("<4s5H3I2H")
_CENTRAL: Final = Layout("<4s6H3I5H2I")
_END: Final = Layout("<4s4H2IH")
_END_64: Final = Layout("<4sQ2H2I4Q")
_LOCATOR: Final = Layout("<4sIQI")
# No clock here: the first moment that the format can tell.
_TIME, _DATE = 0, 0x21
_VERSION, _VERSION_64 = 20, 45
_UNIX: Final = 3 << 8
_PLAIN_FILE: Final = 0o100644 << 16
_PROPER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_PIECE_BYTES: Final = 65536


def safe_name(uid: str) -> str:
    """A UID as the name of a file or folder; one that is not of numbers and single dots is replaced by its hash."""
    if _PROPER.fullmatch(uid):
        return uid
    return blake2b(uid.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class ZipWriter:
    """Makes what stands before and behind the entries' bytes."""

    def __init__(self) -> None:
        self._offset = 0
        self._directory: list[bytes] = []

    def entry(self, name: str, size: int, crc: int) -> bytes:
        """What goes before an entry's bytes. name: ASCII; crc: CRC-32 of the bytes"""
        raw = name.encode("ascii")
        offset, large = self._offset, size >= _32
        extra = b"\x01\0\x10\0" + size.to_bytes(8, "little") * 2 if large else b""
        shown = _32 if large else size
        version = _VERSION_64 if large else _VERSION
        header = (
            _LOCAL.pack(b"PK\x03\x04", version, 0, 0, _TIME, _DATE, crc, shown, shown, len(raw), len(extra))
            + raw
            + extra
        )
        self._offset += len(header) + size
        self._directory.append(_record(raw, size, crc, offset))
        return header

    def end(self) -> Iterator[bytes]:
        """What goes behind the last entry's bytes: the directory."""
        begins, length, held = self._offset, 0, bytearray()
        for record in self._directory:
            held += record
            length += len(record)
            if len(held) >= _PIECE_BYTES:
                yield bytes(held)
                held.clear()
        count, ends = len(self._directory), begins + length
        if count >= _16 or length >= _32 or begins >= _32:
            held += _END_64.pack(
                b"PK\x06\x06", _END_64.size - 12, _UNIX | _VERSION_64, _VERSION_64, 0, 0, count, count, length, begins
            )  # fmt: skip
            held += _LOCATOR.pack(b"PK\x06\x07", 0, ends, 1)
        shown = min(count, _16)
        held += _END.pack(b"PK\x05\x06", 0, 0, shown, shown, min(length, _32), min(begins, _32), 0)
        yield bytes(held)


def _record(name: bytes, size: int, crc: int, offset: int) -> bytes:
    """An entry of the directory."""
    wide = [size, size] if size >= _32 else []
    if offset >= _32:
        wide.append(offset)
    extra = b""
    if wide:
        extra = b"\x01\0" + (8 * len(wide)).to_bytes(2, "little")
        extra += b"".join(number.to_bytes(8, "little") for number in wide)
    version, shown = _VERSION_64 if wide else _VERSION, min(size, _32)
    return (
        _CENTRAL.pack(
            b"PK\x01\x02", _UNIX | version, version, 0, 0, _TIME, _DATE, crc, shown, shown, len(name), len(extra),
            0, 0, 0, _PLAIN_FILE, min(offset, _32),
        )
        + name
        + extra
    )  # fmt: skip


def archive_length(entries: Iterable[tuple[str, int]]) -> int:
    """How long an archive of these names and sizes will be."""
    writer = ZipWriter()
    before = sum(len(writer.entry(name, size, 0)) + size for name, size in entries)
    return before + sum(map(len, writer.end()))
