"""The system calls of the object store, and what their failures mean for it.

The calls are in one place so that tests can make the N-th one fail.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable
from typing import Final

from pacs_actors.operations import logs
from protocols.errors import OutOfResources

O_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)
OUT_OF_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
PASSING: Final = OUT_OF_SPACE | {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Failures that end by themselves. After any other one, what the disk holds is not known."""


_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02  # linux/falloc.h
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_ZEROS_BYTES: Final = 1024 * 1024
_libc: Final = ctypes.CDLL(None, use_errno=True)


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), which ``os`` has without its modes. raises: OSError"""
    call = getattr(_libc, "fallocate", None)
    if call is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    while call(ctypes.c_int(fd), ctypes.c_int(mode), ctypes.c_longlong(offset), ctypes.c_longlong(length)):
        failure = ctypes.get_errno()
        if failure != errno.EINTR:
            raise OSError(failure, os.strerror(failure))


def allocate(fd: int, offset: int, length: int) -> None:
    """Make a file longer and take the blocks for it; they read as zeros. raises: OSError

    Not ``posix_fallocate``, which writes the zeros where the file system cannot do this; there the file gets its length only.
    """
    try:
        _fallocate(fd, 0, offset, length)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        os.ftruncate(fd, offset + length)


def punch(fd: int, offset: int, length: int) -> None:
    """Give blocks of a file back; they read as zeros. Where the file system cannot do that they are overwritten. raises: OSError"""
    try:
        _fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, length)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        with mmap.mmap(-1, _ZEROS_BYTES) as zeros, memoryview(zeros) as view:
            end = offset + length
            while offset < end:
                offset += os.pwrite(fd, view[: min(_ZEROS_BYTES, end - offset)], offset)


class FileSystem:
    """The calls that change what is on disk, as ``os`` has them."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    pwrite = staticmethod(os.pwrite)
    pwritev = staticmethod(os.pwritev)
    allocate = staticmethod(allocate)
    punch = staticmethod(punch)
    ftruncate = staticmethod(os.ftruncate)
    fdatasync = staticmethod(os.fdatasync)
    fsync = staticmethod(os.fsync)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    statvfs = staticmethod(os.statvfs)


class SyncFailed(OSError):
    """An fsync failed, for whatever reason: what the disk holds is not known."""


def synced(sync: Callable[[int], None], fd: int) -> None:
    """Call ``fsync`` or ``fdatasync``. raises: SyncFailed"""
    try:
        sync(fd)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


def closed(system: FileSystem, fd: int) -> None:
    """Close a file whose content is synced, or not wanted. What close may fail with says nothing about what is durable,
    and the descriptor is gone all the same: it must not be closed again.
    """
    try:
        system.close(fd)
    except OSError as error:
        logs.warning("close_failed", errno=error.errno, why=error.strerror)


class Health:
    """Whether the store still takes objects. Falls once and stays so until the process starts again.

    A kernel reports a failed write-back once and then forgets it, so a second fsync that succeeds proves
    nothing.
    """

    def __init__(self) -> None:
        self.failure = ""

    def check(self) -> None:
        """raises: OutOfResources if the store is read-only"""
        if self.failure:
            raise OutOfResources("the object store is read-only")

    def fail(self, doing: str, error: OSError) -> None:
        """Go read-only. Any thread."""
        if not self.failure:
            self.failure = f"{doing}: {error.strerror or error}"
            logs.error("object_store_read_only", doing=doing, errno=error.errno, why=error.strerror)
