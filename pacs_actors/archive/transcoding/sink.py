"""Where a converted data set is written: a file descriptor, small pieces gathered, large ones passed through."""

from __future__ import annotations

import os
import zlib
from typing import Final

import numpy as np

from pacs_actors.archive.transcoding.messages import CannotTranscode

GATHER_BYTES: Final = 256 * 1024
_SWAP_BYTES: Final = 1024 * 1024
_RAW_DEFLATE: Final = -15


class Sink:
    """length: bytes in the file so far, what is gathered not included."""

    def __init__(self, fd: int, *, max_bytes: int) -> None:
        self.fd, self.max_bytes, self.length = fd, max_bytes, 0
        self._gathered = bytearray()

    def write(self, piece: bytes | memoryview) -> None:
        """raises: CannotTranscode when the file becomes too large, OSError when it cannot be written"""
        if len(piece) < GATHER_BYTES:
            self._gathered += piece
            if len(self._gathered) < GATHER_BYTES:
                return
            piece = b""
        self._drain()
        self._store(piece)

    def write_swapped(self, piece: bytes | memoryview, unit: int) -> None:
        """Write numbers of ``unit`` bytes (2, 4, 8) in the other byte order; bytes left over at the end as they are."""
        whole = len(piece) - len(piece) % unit
        for at in range(0, whole, _SWAP_BYTES):
            numbers = np.frombuffer(piece, f"u{unit}", (min(whole - at, _SWAP_BYTES)) // unit, at)
            self.write(numbers.byteswap().tobytes())
        self.write(piece[whole:])

    def finish(self) -> int:
        """The length of the whole."""
        self._drain()
        return self.length

    def _drain(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
        self._store(gathered)

    def _store(self, piece: bytes | bytearray | memoryview) -> None:
        left = memoryview(piece)
        if self.length + len(left) > self.max_bytes:
            raise CannotTranscode(f"it would be larger than {self.max_bytes} bytes")
        while left:
            written = os.write(self.fd, left)
            self.length += written
            left = left[written:]


class DeflatingSink(Sink):
    """Deflates what is written (PS3.5 A.5)."""

    def __init__(self, fd: int, *, max_bytes: int) -> None:
        super().__init__(fd, max_bytes=max_bytes)
        self._stream = zlib.compressobj(wbits=_RAW_DEFLATE)

    def write(self, piece: bytes | memoryview) -> None:
        super().write(self._stream.compress(piece))

    def finish(self) -> int:
        super().write(self._stream.flush())
        self._drain()
        if self.length % 2:
            self._store(b"\0")
        return self.length
