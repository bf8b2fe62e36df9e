"""Receive buffers: 1 MiB, page-aligned, a fixed number of them.

An association that gets none waits, which is the back-pressure that keeps memory flat.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Final

import trio
from msgspec import Struct

from protocols.errors import Misuse

BUFFER_BYTES: Final = 1024 * 1024
BLOCK_BYTES: Final = 4096
"""Unit of unbuffered writes: a multiple of every logical block size in use, and of the page on x86 and ARM
servers.
"""


class BufferStatistics(Struct, frozen=True):
    """total and free buffers, and tasks waiting for one."""

    total: int
    free: int
    waiting: int


class Buffer:
    """One aligned buffer on loan. ``view`` is valid until ``release``."""

    __slots__ = ("_number", "_pool", "view")

    def __init__(self, pool: BufferPool, number: int, view: memoryview) -> None:
        self._pool, self._number, self.view = pool, number, view

    def release(self) -> None:
        """Give the buffer back, exactly once.

        raises: Misuse the second time
        """
        if self._number < 0:
            raise Misuse("a buffer was released twice")
        number, self._number = self._number, -1
        # A view that somebody kept raises from now on instead of reading another object's bytes.
        self.view.release()
        self._pool._put(number)


class BufferPool:
    """Lends a fixed number of buffers, first come, first served."""

    def __init__(self, total: int) -> None:
        """total: buffers, at least 1. Their memory is taken from the system when first touched."""
        if total < 1:
            raise Misuse(f"a pool of {total} buffers")
        self._total = total
        self._memory = mmap.mmap(-1, total * BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError, AttributeError):
            # An unbuffered write then pins one page instead of 128, which saves a fifth of its CPU time.
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        # Last in, first out, so that a quiet server touches few pages.
        self._free = list(range(total - 1, -1, -1))
        self._permits = trio.Semaphore(total, max_value=total)

    async def acquire(self) -> Buffer:
        """Wait for a buffer, if none is free."""
        try:
            # Semaphore.acquire always lets other tasks run first, which for every object costs more than the rest of this.
            self._permits.acquire_nowait()
        except trio.WouldBlock:
            await self._permits.acquire()
        number = self._free.pop()
        start = number * BUFFER_BYTES
        return Buffer(self, number, memoryview(self._memory)[start : start + BUFFER_BYTES])

    @property
    def statistics(self) -> BufferStatistics:
        return BufferStatistics(self._total, self._permits.value, self._permits.statistics().tasks_waiting)

    def _put(self, number: int) -> None:
        self._free.append(number)
        self._permits.release()
