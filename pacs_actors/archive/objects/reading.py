"""Reading objects back: whole, verified, compared. Everything here blocks; for native threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xxhash import xxh3_128

from pacs_actors.archive.objects.buffers import BUFFER_BYTES
from pacs_actors.archive.objects.keys import ObjectMissing, path_of
from protocols.dataset.part10 import PREAMBLE_BYTES, ObjectRecord, read_record


def open_object(root: Path, key: str) -> int:
    """File descriptor of an object; the caller closes it. raises: ObjectMissing, OSError"""
    try:
        return os.open(root / path_of(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        raise ObjectMissing(key) from None


@contextmanager
def opened(root: Path, key: str) -> Iterator[int]:
    """raises: ObjectMissing, OSError"""
    fd = open_object(root, key)
    try:
        yield fd
    finally:
        os.close(fd)


def pieces(fd: int, buffer: memoryview) -> Iterator[memoryview]:
    """The file from its beginning, in pieces that fill the buffer. Each is valid until the next. raises:
    OSError
    """
    offset = 0
    while got := os.preadv(fd, [buffer], offset):
        yield buffer[:got]
        offset += got


def read_intact(fd: int, buffer: memoryview) -> ObjectRecord | None:
    """The object's record, if it has one and size and digest of the file are what it says.

    The page cache is dropped first: the medium is what is asked. raises: OSError
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    digest = xxh3_128()
    record: ObjectRecord | None = None
    size_bytes = 0
    for piece in pieces(fd, buffer):
        if not size_bytes:
            record = read_record(piece)
            if record is None or record.size_bytes != os.fstat(fd).st_size:
                return None
            digest.update(piece[PREAMBLE_BYTES:])
        else:
            digest.update(piece)
        size_bytes += len(piece)
    if record is None or size_bytes != record.size_bytes or digest.digest() != record.digest:
        return None
    return record


def is_intact(root: Path, key: str) -> bool:
    """raises: ObjectMissing, OSError"""
    with opened(root, key) as fd:
        return read_intact(fd, memoryview(bytearray(BUFFER_BYTES))) is not None


def is_there(root: Path, key: str) -> bool:
    """raises: OSError"""
    try:
        with opened(root, key):
            return True
    except ObjectMissing:
        return False


def export(root: Path, key: str) -> Iterator[bytes]:
    """The Part 10 file in pieces, without our record. raises: ObjectMissing, OSError"""
    with opened(root, key) as fd:
        piece = os.pread(fd, BUFFER_BYTES, 0)
        yield bytes(min(PREAMBLE_BYTES, len(piece))) + piece[PREAMBLE_BYTES:]
        offset = len(piece)
        while piece := os.pread(fd, BUFFER_BYTES, offset):
            yield piece
            offset += len(piece)


def same_bytes(root: Path, first: str, second: str) -> bool:
    """Whether two objects are equal from byte 128 on, and their records say the same of that.

    False if one is missing. raises: OSError
    """
    try:
        with opened(root, first) as a, opened(root, second) as b:
            size = os.fstat(a).st_size
            if size != os.fstat(b).st_size or size <= PREAMBLE_BYTES:
                return False
            records = [read_record(os.pread(fd, PREAMBLE_BYTES, 0)) for fd in (a, b)]
            if None in records or len({record.digest for record in records if record}) > 1:
                return False
            for offset in range(PREAMBLE_BYTES, size, BUFFER_BYTES):
                if os.pread(a, BUFFER_BYTES, offset) != os.pread(b, BUFFER_BYTES, offset):
                    return False
            return True
    except ObjectMissing:
        return False
