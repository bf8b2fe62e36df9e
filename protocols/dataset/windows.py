"""Bytes of a file looked at through small windows, for walks that touch little of a large object. Pure but for ``read``.

A mapping would be shorter, but a sector that cannot be read under a mapping is a signal that ends the process; here it is an
error of one request. Walks over elements take a ``Windows`` wherever they take bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocols.errors import CannotUnderstand, PacsError

FIRST_BYTES: Final = 4096
MOST_BYTES: Final = 64 * 1024
MAX_SLICE_BYTES: Final = 8 * 1024 * 1024


class NeedMore(PacsError):
    """What was given ends inside the header; not an answer to a peer.

    offset: how many bytes from the beginning of the data set are needed at least to get further
    """

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset

    def __str__(self) -> str:
        return f"at least {self.offset} bytes of the data set are needed"


class Windows:
    """The first ``size`` bytes of a file.

    read: as ``os.pread`` with the descriptor bound: (how many bytes, offset) -> as many, or what there is
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size = read, size
        self._window = memoryview(b"")
        self._at = 0
        self._ahead = FIRST_BYTES

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, wanted: slice) -> memoryview:
        """A piece, as of bytes; only from and to an offset that is not negative.

        raises: NeedMore if the file ends before ``size``, CannotUnderstand if the piece is beyond MAX_SLICE_BYTES, what ``read``
                raises
        """
        start = min(wanted.start or 0, self._size)
        stop = self._size if wanted.stop is None else max(start, min(wanted.stop, self._size))
        if not self._at <= start <= stop <= self._at + len(self._window):
            self._move(start, stop)
        return self._window[start - self._at : stop - self._at]

    def _move(self, start: int, stop: int) -> None:
        if stop - start > MAX_SLICE_BYTES:
            raise CannotUnderstand(f"a value of more than {MAX_SLICE_BYTES} bytes where a short one belongs")
        # Who reads on behind the last window will go on; who has jumped over a value looks at little.
        goes_on = bool(self._window) and self._at <= start <= self._at + len(self._window)
        self._ahead = min(2 * self._ahead, MOST_BYTES) if goes_on else FIRST_BYTES
        window = self._read(min(max(stop - start, self._ahead), self._size - start), start)
        if len(window) < stop - start:
            raise NeedMore(stop)
        self._window, self._at = memoryview(window), start


Readable = bytes | memoryview | Windows
