"""Packed objects that were removed while somebody read them: noted, so that their room is given back once nobody does any more.

One list for all processes that have the folder open, in ``tmp/gone``: a key a line. Whoever looks gives back what has no reader
left, whichever process had it removed, and however that ended. A line is there before the object is marked as gone, so no place
that is marked is ever forgotten; a line without a mark says nothing. Everything here blocks and runs on native threads.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pacs_actors.archive.objects.batches import sync_folder
from pacs_actors.archive.objects.filesystem import FileSystem, closed, synced
from pacs_actors.archive.objects.keys import ObjectMissing, place_of

_MOST_BYTES: Final = 1024 * 1024
"""Looked at in one go: 50,000 keys."""


class GoneList:
    """path: of the list; its folder is on the disk of the objects"""

    def __init__(self, path: Path, system: FileSystem) -> None:
        self._path, self._system = path, system

    @contextmanager
    def noting(self, keys: Sequence[str]) -> Iterator[None]:
        """The keys are noted, durably; in the block they are marked, while nobody else looks at the list. raises: OSError"""
        while True:
            fd = self._system.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if self._is_current(fd):
                    self._append(fd, keys)
                    yield
                    return
            finally:
                closed(self._system, fd)
            # Another process was done with it, and has put a new one there, or none.

    def _append(self, fd: int, keys: Sequence[str]) -> None:
        end = os.fstat(fd).st_size
        torn = end and os.pread(fd, 1, end - 1) != b"\n"
        left = memoryview("".join([*("\n" if torn else ""), *(f"{key}\n" for key in keys)]).encode("ascii"))
        while left:
            done = self._system.pwrite(fd, left, end)
            end, left = end + done, left[done:]
        synced(self._system.fsync, fd)
        sync_folder(self._system, self._path.parent)

    def settle(self, give_back: Callable[[Sequence[str]], Sequence[str]]) -> None:
        """Let ``give_back`` look at what is noted, some at a time; what it returns stays noted.

        Does nothing while another process is at it. raises: OSError
        """
        with self._alone() as fd:
            if fd is None:
                return
            size_bytes = os.fstat(fd).st_size
            raw = os.pread(fd, _MOST_BYTES, 0)
            whole = raw[: raw.rfind(b"\n") + 1]
            looked_at = whole or raw  # no line is that long: what is none of ours goes
            keys = dict.fromkeys(_keys(looked_at))
            stay = give_back(list(keys))
            if whole and len(stay) == whole.count(b"\n"):
                return
            rest = "".join(f"{key}\n" for key in stay).encode("ascii")
            self._replace(fd, len(looked_at), size_bytes, rest)

    @contextmanager
    def _alone(self) -> Iterator[int | None]:
        try:
            fd = self._system.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            yield fd if self._is_current(fd) else None
        finally:
            closed(self._system, fd)

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except FileNotFoundError:
            return False

    def _replace(self, fd: int, begin: int, end: int, stay: bytes) -> None:
        """What stays, and behind it what was not looked at: in a new file, so that a crash leaves the one or the other."""
        new = self._path.with_name(f"{self._path.name}.new")
        with suppress(FileNotFoundError):
            self._system.unlink(new)
        if begin >= end and not stay:
            self._system.unlink(self._path)
            return
        copy = self._system.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            offset = 0
            while offset < len(stay):
                offset += self._system.pwrite(copy, stay[offset:], offset)
            while begin < end and (piece := os.pread(fd, _MOST_BYTES, begin)):
                begin += len(piece)
                while piece:
                    done = self._system.pwrite(copy, piece, offset)
                    offset, piece = offset + done, piece[done:]
            synced(self._system.fsync, copy)
        finally:
            closed(self._system, copy)
        self._system.rename(new, self._path)
        sync_folder(self._system, self._path.parent)


def _keys(raw: bytes) -> Iterator[str]:
    """Of packed objects; what is no key of one, as after a crash of the disk, is passed over."""
    for line in raw.decode("ascii", "replace").splitlines():
        with suppress(ObjectMissing):
            if place_of(line).block is not None:
                yield line
