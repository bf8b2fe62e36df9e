"""Receive buffers: 1 MiB, page-aligned, a fixed number of them.

An association that gets none waits, which is the back-pressure that keeps memory flat.
"""

from __future__ import annotations

from collections import deque
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
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

    __slots__ = ("_memory", "_pool", "view")

    def __init__(self, pool: BufferPool, memory: mmap) -> None:
        self._pool, self._memory = pool, memory
        self.view = memoryview(memory)

    def release(self) -> None:
        """Give the buffer back, exactly once.

        raises: Misuse the second time
        """
        try:
            self.view[:0].release()
        except ValueError:
            raise Misuse("a buffer was released twice") from None
        # A view that somebody kept raises from now on instead of reading another object's bytes.
        self.view.release()
        self._pool._put(self._memory)


class BufferPool:
    """Lends a fixed number of buffers, first come, first served."""

    def __init__(self, total: int) -> None:
        """total: buffers, at least 1. Their memory is taken from the system when first touched."""
        if total < 1:
            raise Misuse(f"a pool of {total} buffers")
        self._total = total
        # Last in, first out, so that a quiet server touches few pages.
        self._free = deque(mmap(-1, BUFFER_BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS) for _ in range(total))
        self._permits = trio.Semaphore(total, max_value=total)

    async def acquire(self) -> Buffer:
        """Wait for a buffer."""
        await self._permits.acquire()
        return Buffer(self, self._free.pop())

    @property
    def statistics(self) -> BufferStatistics:
        return BufferStatistics(self._total, self._permits.value, self._permits.statistics().tasks_waiting)

    def _put(self, memory: mmap) -> None:
        self._free.append(memory)
        self._permits.release()
