"""Finding packed objects in a segment, with nothing but the segment.

A segment is objects one behind the other, each from a block of 4096 bytes on, each with its record in its preamble. Holes are what
was removed, and the tail that is not written yet. What begins with no record is the rest of a write that a crash interrupted, or
damaged: behind it there may be whole objects again. Everything here blocks; for native threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct as Layout
from typing import Final, NamedTuple

from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from protocols.dataset.part10 import PREAMBLE_BYTES, ObjectRecord, read_record

_NEAR_BYTES: Final = 32 * 1024
"""Objects nearer to each other than that are looked at with what lies between them."""
_LOOK_AHEAD_BYTES: Final = 256 * 1024
_AHEAD: Final = 16
"""Of objects that are of one size and far from each other, so many are on their way from the disk."""
_LOCK: Final = Layout("hhqqi4x")  # struct flock


class Extent(NamedTuple):
    """A stretch of a segment, in bytes; ``size_bytes`` is not rounded up to blocks."""

    start: int
    size_bytes: int

    @property
    def end(self) -> int:
        """Where the next object may begin."""
        return self.start + blocks_of(self.size_bytes)


def claim(fd: int, extent: Extent, *, alone: bool) -> bool:
    """Say that one reads a stretch, or with ``alone`` that one is about to overwrite it; False if that cannot be now.

    A lock on the open file: it goes with the last descriptor of that, in whatever process that is. raises: OSError
    """
    kind = fcntl.F_WRLCK if alone else fcntl.F_RDLCK
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(kind, os.SEEK_SET, extent.start, extent.size_bytes, 0))
    except BlockingIOError:
        return False
    return True


def blocks_of(size_bytes: int) -> int:
    """Bytes that an object takes up in a segment."""
    return size_bytes + -size_bytes % BLOCK_BYTES


def record_at(fd: int, block: int, end: int | None = None) -> ObjectRecord | None:
    """The record of the object that begins there; None if none does, or it says what cannot be.

    end:     the segment's size, if it is known
    raises:  OSError
    """
    first_bytes = os.pread(fd, PREAMBLE_BYTES, block * BLOCK_BYTES)
    return _record(first_bytes, block, os.fstat(fd).st_size if end is None else end)


def gone_at(fd: int, block: int) -> Extent | None:
    """The stretch of an object that was removed while somebody read it, until it is given back. raises: OSError"""
    return _gone(os.pread(fd, PREAMBLE_BYTES, block * BLOCK_BYTES), block)


def _record(first_bytes: bytes | memoryview, block: int, end: int) -> ObjectRecord | None:
    record = read_record(first_bytes, block)
    if record is None or not PREAMBLE_BYTES < record.size_bytes <= BUFFER_BYTES:
        return None
    return record if block * BLOCK_BYTES + record.size_bytes <= end else None


def _gone(first_bytes: bytes | memoryview, block: int) -> Extent | None:
    record = read_record(first_bytes, block, gone=True)
    if record is None or not PREAMBLE_BYTES < record.size_bytes <= BUFFER_BYTES:
        return None
    return Extent(block * BLOCK_BYTES, record.size_bytes)


class _Looker:
    """The first bytes of blocks, looked at in ascending order: where objects are small, those of many with one call; where they
    are large and alike, as a series' are, the disk is told in advance.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = self._latest = -_NEAR_BYTES
        self._stride = 0
        self._bytes = memoryview(b"")

    def at(self, start: int) -> memoryview:
        """PREAMBLE_BYTES, or what there is of them. raises: OSError"""
        offset, stride = start - self._start, start - self._latest
        if not 0 <= offset <= len(self._bytes) - PREAMBLE_BYTES:
            near = 0 < stride < _NEAR_BYTES
            if stride == self._stride and not near:
                os.posix_fadvise(self._fd, start + _AHEAD * stride, BLOCK_BYTES, os.POSIX_FADV_WILLNEED)
            wanted = _LOOK_AHEAD_BYTES if near else PREAMBLE_BYTES
            self._bytes, self._start, offset = memoryview(os.pread(self._fd, wanted, start)), start, 0
        self._latest, self._stride = start, stride
        return self._bytes[offset : offset + PREAMBLE_BYTES]


def walk(fd: int) -> Iterator[Extent]:
    """Every object of a segment, in order; what is removed or written meanwhile may be missed. raises: OSError"""
    size_bytes, looker = os.fstat(fd).st_size, _Looker(fd)
    for data in written(fd):
        at, end = data.start, data.end
        while at < end:
            first_bytes = looker.at(at)
            record = _record(first_bytes, at // BLOCK_BYTES, size_bytes)
            if record is None:
                removed = _gone(first_bytes, at // BLOCK_BYTES)
                at = at + BLOCK_BYTES if removed is None else removed.end
                continue
            found = Extent(at, record.size_bytes)
            yield found
            at = found.end


def written(fd: int) -> Iterator[Extent]:
    """The stretches that are no holes, from whole blocks to whole blocks. raises: OSError"""
    at = 0
    while True:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no more data
                return
            raise
        start = max(at, start - start % BLOCK_BYTES)
        end = max(blocks_of(end), start + BLOCK_BYTES)
        yield Extent(start, end - start)
        at = end


def remains(fd: int) -> Iterator[Extent]:
    """The stretches that hold something, but no object: torn by a crash, or objects whose record is damaged. raises: OSError"""
    for data in written(fd):
        at, start = data.start, -1
        while at < data.end:
            known = record_at(fd, at // BLOCK_BYTES) or gone_at(fd, at // BLOCK_BYTES)
            scrap = known is None and not is_blank(fd, at // BLOCK_BYTES)
            if scrap and start < 0:
                start = at
            if not scrap and start >= 0:
                yield Extent(start, at - start)
                start = -1
            at += BLOCK_BYTES if known is None else blocks_of(known.size_bytes)
        if start >= 0:
            yield Extent(start, data.end - start)


def is_blank(fd: int, block: int) -> bool:
    """Whether nothing is written there, so that no object can have been damaged. raises: OSError"""
    return not any(os.pread(fd, BLOCK_BYTES, block * BLOCK_BYTES))


def damaged_at(fd: int, block: int) -> Extent | None:
    """What is left of an object whose record is damaged: up to the next object or hole, and no more than an object may have.

    None if nothing is there, or what is there belongs to another object. raises: OSError
    """
    start = block * BLOCK_BYTES
    if is_blank(fd, block) or gone_at(fd, block) is not None:
        return None
    end = start + BUFFER_BYTES
    for data in written(fd):
        if data.start <= start < data.end:
            end = min(end, data.end)
    for found in walk(fd):
        if found.start <= start < found.end:
            return None
        if found.start > start:
            end = min(end, found.start)
            break
    return Extent(start, end - start)


def trim(path: Path) -> None:
    """Give back the tail that a process did not fill before it died. raises: OSError"""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        end = max((data.end for data in written(fd)), default=0)
        if end < os.fstat(fd).st_size:
            os.ftruncate(fd, end)
    finally:
        os.close(fd)
