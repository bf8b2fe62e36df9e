"""Free space and the reserve that is kept of it.

Asking the file system for every object would cost more than it tells: it is asked at most every half
second, and what was written since, or is being written, is taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from protocols.errors import OutOfResources

REFRESH_S: Final = 0.5
_REFRESH_BYTES: Final = 64 * 1024 * 1024  # a fast disk fills much in half a second


class Space:
    """Thread-safe. ``read`` may block and is called from native threads only.

    read:           asks the file system for its free bytes
    reserve_bytes:  kept free
    clock:          monotonic seconds
    """

    def __init__(self, read: Callable[[], int], reserve_bytes: int, clock: Callable[[], float]) -> None:
        self._read, self._reserve_bytes, self._clock = read, reserve_bytes, clock
        self._lock = Lock()
        self._free_bytes = read()
        self._read_at = clock()
        self._written_bytes = 0
        self._in_flight_bytes = 0

    @property
    def free_bytes(self) -> int:
        """What may still be written, by the latest reading; never negative."""
        return max(0, self._free_bytes - self._written_bytes - self._in_flight_bytes - self._reserve_bytes)

    @property
    def stale(self) -> bool:
        return self._clock() - self._read_at >= REFRESH_S or self._written_bytes >= _REFRESH_BYTES

    def refresh(self) -> None:
        """Read anew if the last reading is too old."""
        with self._lock:
            if self.stale:
                self._free_bytes, self._read_at, self._written_bytes = self._read(), self._clock(), 0

    @contextmanager
    def writing(self, size_bytes: int) -> Iterator[None]:
        """Around a write of that many bytes. raises: OutOfResources if the reserve would be touched"""
        if self.stale:
            self.refresh()
        with self._lock:
            if size_bytes > self.free_bytes:
                raise OutOfResources("no space left for images")
            self._in_flight_bytes += size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._in_flight_bytes -= size_bytes
                self._written_bytes += size_bytes

    def exhausted(self) -> None:
        """The file system itself said that it is full: believe it until the next reading."""
        with self._lock:
            self._free_bytes, self._read_at, self._written_bytes = 0, self._clock(), 0
