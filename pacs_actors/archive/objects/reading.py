"""Reading objects back: whole, verified, compared. Everything here blocks; for native threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xxhash import xxh3_128

from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing, place_of
from pacs_actors.archive.objects.records import Extent, claim, is_blank, record_at
from protocols.dataset.part10 import PREAMBLE_BYTES, ObjectRecord, read_record


def open_file(root: Path, key: str) -> int:
    """File descriptor of the file that an object lies in; the caller closes it. raises: ObjectMissing, OSError"""
    try:
        return os.open(root / place_of(key).path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        raise ObjectMissing(key) from None


def open_object(root: Path, key: str) -> ObjectFile:
    """An object, open for reading; the caller closes it. raises: ObjectMissing, OSError"""
    block = place_of(key).block
    fd = open_file(root, key)
    try:
        if block is None:
            return ObjectFile(fd, 0, os.fstat(fd).st_size)
        record = record_at(fd, block)
        # Looked at again once it is claimed: from then on nobody overwrites it, though it be removed.
        if (
            record is None
            or not claim(fd, Extent(block * BLOCK_BYTES, record.size_bytes), alone=False)
            or record_at(fd, block) is None
        ):
            raise ObjectMissing(key)
        return ObjectFile(fd, block * BLOCK_BYTES, record.size_bytes)
    except BaseException:
        os.close(fd)
        raise


@contextmanager
def opened(root: Path, key: str) -> Iterator[ObjectFile]:
    """raises: ObjectMissing, OSError"""
    file = open_object(root, key)
    try:
        yield file
    finally:
        os.close(file.fd)


def pieces(file: ObjectFile, buffer: memoryview) -> Iterator[memoryview]:
    """The object from its beginning, in pieces that fill the buffer. Each is valid until the next. raises: OSError"""
    done = 0
    while done < file.size_bytes:
        got = os.preadv(file.fd, [buffer[: file.size_bytes - done]], file.start + done)
        if not got:
            return
        yield buffer[:got]
        done += got


def read_intact(file: ObjectFile, buffer: memoryview) -> ObjectRecord | None:
    """The object's record, if it has one and size and digest are what it says.

    The page cache is dropped first: the medium is what is asked. raises: OSError
    """
    os.posix_fadvise(file.fd, file.start, file.size_bytes, os.POSIX_FADV_DONTNEED)
    digest = xxh3_128()
    record: ObjectRecord | None = None
    size_bytes = 0
    for piece in pieces(file, buffer):
        if not size_bytes:
            record = read_record(piece)
            if record is None or record.size_bytes != file.size_bytes:
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
    try:
        with opened(root, key) as file:
            return read_intact(file, memoryview(bytearray(BUFFER_BYTES))) is not None
    except ObjectMissing:
        if _left_something(root, key):
            return False
        raise


def _left_something(root: Path, key: str) -> bool:
    """Whether there is something at a place where no packed object begins. raises: ObjectMissing, OSError"""
    block = place_of(key).block
    if block is None:
        return False
    fd = open_file(root, key)
    try:
        return not is_blank(fd, block)
    finally:
        os.close(fd)


def is_there(root: Path, key: str) -> bool:
    """raises: OSError"""
    try:
        with opened(root, key):
            return True
    except ObjectMissing:
        return False


def export(root: Path, key: str) -> Iterator[bytes]:
    """The Part 10 file in pieces, without our record. raises: ObjectMissing, OSError"""
    with opened(root, key) as file:
        buffer = memoryview(bytearray(min(BUFFER_BYTES, max(file.size_bytes, PREAMBLE_BYTES))))
        first = True
        for piece in pieces(file, buffer):
            if first:
                piece[:PREAMBLE_BYTES] = bytes(min(PREAMBLE_BYTES, len(piece)))
                first = False
            yield bytes(piece)


def same_bytes(root: Path, first: str, second: str) -> bool:
    """Whether two objects are equal from byte 128 on, and their records say the same of that.

    False if one is missing. raises: OSError
    """
    try:
        with opened(root, first) as a, opened(root, second) as b:
            size = a.size_bytes
            if size != b.size_bytes or size <= PREAMBLE_BYTES:
                return False
            records = [read_record(os.pread(file.fd, PREAMBLE_BYTES, file.start)) for file in (a, b)]
            if None in records or len({record.digest for record in records if record}) > 1:
                return False
            for offset in range(PREAMBLE_BYTES, size, BUFFER_BYTES):
                length = min(BUFFER_BYTES, size - offset)
                one, other = (os.pread(file.fd, length, file.start + offset) for file in (a, b))
                if one != other:
                    return False
            return True
    except ObjectMissing:
        return False
