"""Deflated data sets (PS3.5 A.5), inflated no further than asked, within hard limits."""

from __future__ import annotations

import zlib
from typing import Final

from protocols.errors import CannotUnderstand

MAX_INFLATED_BYTES: Final = 32 * 1024 * 1024
MAX_RATIO: Final = 200
RATIO_FREE_BYTES: Final = 1024 * 1024

_CHUNK_BYTES: Final = 65536
_RAW_DEFLATE: Final = -15


class Inflater:
    """Inflates one data set step by step.

    inflated:   what has come out so far
    finished:   the end of the deflated stream was met
    exhausted:  what was given is used up, or the stream has ended

    At most 32 MiB come out (``limit_bytes``); beyond 1 MiB at most 200 times what went in.
    """

    def __init__(self, deflated: bytes | memoryview, limit_bytes: int = MAX_INFLATED_BYTES) -> None:
        self.inflated = bytearray()
        self.finished = False
        self._deflated, self._limit_bytes = memoryview(deflated), limit_bytes
        self._consumed = 0
        self._drained = False
        self._stream = zlib.decompressobj(_RAW_DEFLATE)

    @property
    def exhausted(self) -> bool:
        return self.finished or (self._drained and self._consumed >= len(self._deflated))

    def grow(self, size: int) -> None:
        """Inflate until there are ``size`` bytes, or no more can come.

        raises: CannotUnderstand beyond the limits or if the stream is damaged
        """
        while len(self.inflated) < size and not self.exhausted:
            chunk = self._deflated[self._consumed : self._consumed + _CHUNK_BYTES]
            try:
                # One byte more than allowed, so that reaching the limit and passing it can be told apart.
                room = min(_CHUNK_BYTES * 4, self._limit_bytes - len(self.inflated) + 1)
                out = self._stream.decompress(chunk, room)
            except zlib.error:
                raise CannotUnderstand("the deflated data set is damaged") from None
            self.inflated += out
            self._drained = len(out) < room
            self._consumed += len(chunk) - len(self._stream.unconsumed_tail)
            self.finished = self._stream.eof
            if len(self.inflated) > min(self._limit_bytes, max(RATIO_FREE_BYTES, self._consumed * MAX_RATIO)):
                raise CannotUnderstand("the deflated data set inflates beyond our limits")


def inflate(deflated: bytes | memoryview, limit_bytes: int) -> bytes:
    """Inflate a whole data set.

    raises: CannotUnderstand if it is damaged or cut short, or exceeds ``limit_bytes`` or the ratio
    """
    inflater = Inflater(deflated, limit_bytes)
    inflater.grow(limit_bytes + 1)
    if not inflater.finished:
        raise CannotUnderstand("the deflated data set ends too early")
    return bytes(inflater.inflated)
