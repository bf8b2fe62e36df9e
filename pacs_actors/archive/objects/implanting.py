"""Putting objects back where they were, byte by byte, in a store that nobody has open: for a restore. Blocks."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from pacs_actors.archive.objects.buffers import BLOCK_BYTES
from pacs_actors.archive.objects.keys import place_of
from protocols.dataset.part10 import PREAMBLE_BYTES, preamble, read_record


class Implanter:
    """root: the server's folder. Nothing is durable before ``sync``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: set[Path] = set()
        self._segment, self._segment_fd = Path(), -1

    def __enter__(self) -> Implanter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_segment()

    def put(self, key: str, pieces: Iterable[bytes]) -> int:
        """Write an object under its key, in quarantine or not; its size. What is there already stays.

        pieces:  the Part 10 file with our record; the first holds the preamble
        raises:  ObjectMissing if it is no key; OSError
        """
        path, block = place_of(key)
        target = self._root / path
        self._make(target.parent)
        if block is not None:
            return self._pack(target, block, pieces)
        try:
            fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return sum(len(piece) for piece in pieces)
        try:
            return _write(fd, 0, pieces)
        finally:
            os.close(fd)

    def sync(self) -> None:
        """Everything is durable on return. raises: OSError, also for what could not be written back before"""
        self._close_segment()
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.syncfs(fd) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(fd)

    def _pack(self, segment: Path, block: int, pieces: Iterable[bytes]) -> int:
        if segment != self._segment:
            self._close_segment()
            self._segment_fd = os.open(segment, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._segment = segment
        start = block * BLOCK_BYTES
        size = _write(self._segment_fd, start, _placed(pieces, block))
        end = start + size + -size % BLOCK_BYTES
        if os.fstat(self._segment_fd).st_size < end:
            os.ftruncate(self._segment_fd, end)
        return size

    def _close_segment(self) -> None:
        if self._segment_fd >= 0:
            os.close(self._segment_fd)
            self._segment_fd, self._segment = -1, Path()

    def _make(self, folder: Path) -> None:
        if folder not in self._made:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made.add(folder)


def _placed(pieces: Iterable[bytes], block: int) -> Iterable[bytes]:
    """With a record that is good at that block: the object may have been copied from where it had a file of its own."""
    for number, piece in enumerate(pieces):
        record = read_record(piece) if number == 0 and read_record(piece, block) is None else None
        if record is None:
            yield piece
        else:
            yield preamble(record, block) + piece[PREAMBLE_BYTES:]


def _write(fd: int, offset: int, pieces: Iterable[bytes]) -> int:
    at = offset
    for piece in pieces:
        view = memoryview(piece)
        while view:
            done = os.pwrite(fd, view, at)
            view, at = view[done:], at + done
    return at - offset
