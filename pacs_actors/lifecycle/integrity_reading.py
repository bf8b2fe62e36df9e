"""Reading objects to see whether they are what was stored, at a pace. Everything here blocks; for native threads."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from threading import Event, Lock
from time import monotonic
from typing import Final, Protocol

from msgspec import Struct
from xxhash import xxh3_128

from pacs_actors.archive.objects.filesystem import O_DIRECT
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.operations import logs
from protocols.dataset.part10 import PREAMBLE_BYTES, ObjectRecord, parse_prefix, read_record
from protocols.errors import CannotUnderstand

PIECE_BYTES: Final = 4 * 1024 * 1024  # smaller ones cost a disk a third of its speed
_BLOCK: Final = 4096
_HEAD_BYTES: Final = 4096  # of an object, to find its UID in
_SLOWER: Final = 10.0


class Openable(Protocol):
    def open(self, key: str) -> ObjectFile:
        """raises: ObjectMissing, OSError"""
        ...


class Condition(Enum):
    INTACT = "intact"
    CORRUPT = "corrupt"  # it is not what its record says, or not what the index says
    LOST = "lost"  # it is not there
    UNREADABLE = "unreadable"  # the disk does not give it


class Reading(Struct, frozen=True):
    """What reading an object came to.

    size_bytes:        that were read
    sop_instance_uid:  as its file meta information says, "" if that cannot be read
    """

    key: str
    condition: Condition
    size_bytes: int = 0
    record: ObjectRecord | None = None
    sop_instance_uid: str = ""
    why: str = ""


class Stopped(Exception):
    """The pace was stopped: what was being read counts for nothing."""


class Pace:
    """How quickly any number of threads may read together.

    rate_bytes_s:  None: as quickly as they can
    gives_way:     somebody else needs the disk more: a tenth of the rate
    """

    def __init__(self, rate_bytes_s: float | None, *, clock: Callable[[], float] = monotonic) -> None:
        self.rate_bytes_s, self.gives_way = rate_bytes_s, False
        self._clock, self._lock, self._stopped = clock, Lock(), Event()
        self._free_at = 0.0

    def take(self, size_bytes: int) -> None:
        """Wait until so much may be read. raises: Stopped"""
        rate = self.rate_bytes_s
        wait_s = 0.0
        if rate is not None:
            cost_s = size_bytes / rate * (_SLOWER if self.gives_way else 1.0)
            with self._lock:
                now = self._clock()
                begin = max(now, self._free_at)
                self._free_at = begin + cost_s
                wait_s = begin - now
        if self._stopped.wait(wait_s) if wait_s > 0 else self._stopped.is_set():
            raise Stopped

    def stop(self) -> None:
        """For good: whoever waits, and whoever comes, is told."""
        self._stopped.set()


def page_aligned() -> memoryview:
    """A buffer of PIECE_BYTES that may be read into past the page cache."""
    memory = mmap.mmap(-1, PIECE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError, AttributeError):
        memory.madvise(mmap.MADV_HUGEPAGE)  # fewer pages to pin for each read
    return memoryview(memory)


def read_surely(store: Openable, key: str, buffer: memoryview, pace: Pace, expected: bytes | None) -> Reading:
    """What a second look does not see was not on the medium. raises: Stopped"""
    reading = read_object(store, key, buffer, pace, expected)
    if reading.condition not in (Condition.CORRUPT, Condition.UNREADABLE):
        return reading
    again = read_object(store, key, buffer, pace, expected)
    if again.condition is Condition.INTACT:
        logs.warning("object_read_differently", key=key, first=reading.why)
    return again


def read_object(
    store: Openable, key: str, buffer: memoryview, pace: Pace, expected: bytes | None = None
) -> Reading:
    """Read an object from the medium and compare it with its record, and with the digest that the index has of it.

    buffer:  page-aligned, PIECE_BYTES long
    raises:  Stopped
    """
    try:
        file = store.open(key)
    except ObjectMissing:
        return Reading(key, Condition.LOST)
    except OSError as error:
        return Reading(key, Condition.UNREADABLE, why=error.strerror or str(error))
    try:
        return _compare(key, file, buffer, pace, expected)
    except OSError as error:
        return Reading(key, Condition.UNREADABLE, why=error.strerror or str(error))
    finally:
        os.close(file.fd)


def _compare(key: str, file: ObjectFile, buffer: memoryview, pace: Pace, expected: bytes | None) -> Reading:
    digest = xxh3_128()
    record: ObjectRecord | None = None
    uid = ""
    size_bytes = 0
    for piece in _pieces(file, buffer, pace):
        if not size_bytes:
            record, uid = read_record(piece), uid_of(piece)
            digest.update(piece[PREAMBLE_BYTES:])
        else:
            digest.update(piece)
        size_bytes += len(piece)
    why = ""
    if record is None:
        why = "its record is damaged"
    elif size_bytes != record.size_bytes:
        why = f"it has {size_bytes} bytes, not {record.size_bytes}"
    elif digest.digest() != record.digest:
        why = "its checksum is another one"
    elif expected is not None and record.digest != expected:
        why = "it is not the object that was indexed"
    condition = Condition.CORRUPT if why else Condition.INTACT
    return Reading(key, condition, size_bytes, record, uid, why)


def _pieces(file: ObjectFile, buffer: memoryview, pace: Pace) -> Iterator[memoryview]:
    """The object from its beginning. Each piece is valid until the next. raises: OSError, Stopped"""
    with past_the_cache(file) as fd:
        done = 0
        while done < file.size_bytes:
            wanted = min(len(buffer), file.size_bytes - done)
            pace.take(wanted)
            # Whole blocks, as O_DIRECT wants them; what lies behind the object is somebody else's.
            got = os.preadv(fd, [buffer[: -(-wanted // _BLOCK) * _BLOCK]], file.start + done)
            yield buffer[: min(got, wanted)]
            if got < wanted:
                return  # it is shorter than it was a moment ago
            done += wanted


@contextmanager
def past_the_cache(file: ObjectFile) -> Iterator[int]:
    """A descriptor that reads from the medium, and leaves in the page cache what others need there. raises: OSError

    Where the file system has no O_DIRECT, the object is dropped from the cache before and after.
    """
    fd = -1
    if O_DIRECT and file.start % _BLOCK == 0:
        try:
            # Opened anew: a flag set on the descriptor that we were given might be set for others, too.
            fd = os.open(f"/proc/self/fd/{file.fd}", os.O_RDONLY | os.O_CLOEXEC | O_DIRECT)
        except OSError:
            fd = -1
    if fd >= 0:
        try:
            yield fd
        finally:
            os.close(fd)
        return
    os.posix_fadvise(file.fd, file.start, file.size_bytes, os.POSIX_FADV_DONTNEED)
    yield file.fd
    os.posix_fadvise(file.fd, file.start, file.size_bytes, os.POSIX_FADV_DONTNEED)


def uid_of(head: memoryview) -> str:
    """SOP Instance UID of an object by its beginning; "" if that is not to be understood."""
    try:
        uid = parse_prefix(head).sop_instance_uid
    except CannotUnderstand:
        return ""
    return uid if set(uid) <= set("0123456789.") else ""


class Head(Struct, frozen=True):
    """The beginning of an object. size_bytes: that there are; record: None: there is none, or it is damaged"""

    key: str
    size_bytes: int
    record: ObjectRecord | None
    sop_instance_uid: str


def read_head(store: Openable, key: str, *, with_uid: bool) -> Head:
    """raises: ObjectMissing, OSError"""
    file = store.open(key)
    try:
        head = memoryview(
            os.pread(file.fd, min(file.size_bytes, _HEAD_BYTES if with_uid else PREAMBLE_BYTES), file.start)
        )
    finally:
        os.close(file.fd)
    return Head(key, file.size_bytes, read_record(head), uid_of(head) if with_uid else "")
