"""Batch folders: where new objects go, and how their directory entries become durable.

Folders are numbered upwards within a slot, never by the clock. A new one begins every minute or 4096
objects and at each start, so that a restart has to read only the newest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EIO
from pathlib import Path
from threading import Condition, Lock
from typing import Final

from pacs_actors.archive.objects.filesystem import FileSystem, SyncFailed, closed, synced
from pacs_actors.archive.objects.keys import MAX_BATCH, batch_folder, shard_folder, slot_folder
from protocols.errors import Misuse

BATCH_S: Final = 60.0
BATCH_OBJECTS: Final = 4096


class DirectorySync:
    """fsync of one directory, shared by the threads that wait for it.

    One thread syncs for all that asked before it began; those who come meanwhile are the next round.
    """

    def __init__(self, system: FileSystem, fd: int) -> None:
        self._system, self._fd = system, fd
        self._changed = Condition(Lock())
        self._asked = 0
        self._synced = 0
        self._syncing = False
        self._failure: SyncFailed | None = None

    def sync(self) -> None:
        """Wait for an fsync that began after this call.

        raises: SyncFailed; and for ever after one failure, because what the disk lost then no later fsync
                reports
        """
        with self._changed:
            self._asked += 1
            mine = self._asked
            while self._synced < mine and self._failure is None:
                if self._syncing:
                    self._changed.wait()
                else:
                    self._lead()
            if self._failure is not None:
                raise SyncFailed(self._failure.errno, self._failure.strerror) from self._failure

    def _lead(self) -> None:
        round_end = self._asked
        self._syncing = True
        self._changed.release()
        failure: SyncFailed | None = SyncFailed(EIO, "fsync was interrupted")
        try:
            synced(self._system.fsync, self._fd)
            failure = None
        except SyncFailed as error:
            failure = error
        finally:
            self._changed.acquire()
            self._syncing = False
            if failure is None:
                self._synced = round_end
            else:
                self._failure = failure
            self._changed.notify_all()


class BatchFolder:
    """An open batch folder. ``users`` and ``entries`` are guarded by the lock of ``BatchFolders``."""

    def __init__(self, system: FileSystem, number: int, fd: int, opened_at: float) -> None:
        self.number, self.fd, self.opened_at = number, fd, opened_at
        self.directory = DirectorySync(system, fd)
        self.users = 0
        self.entries = 0
        self.retired = False


class BatchFolders:
    """A slot's folders: opens the next in time and closes the last when nobody writes into it any more.

    root:    the store's folder; the slot's folder exists in it
    newest:  the highest number that exists, or -1
    clock:   monotonic seconds
    """

    def __init__(
        self, system: FileSystem, root: Path, slot: int, newest: int, clock: Callable[[], float]
    ) -> None:
        self._system, self._root, self._slot, self._clock = system, root, slot, clock
        self._lock = Lock()
        self._next = newest + 1
        self._open: BatchFolder | None = None

    @property
    def current(self) -> int:
        """Number of the folder that the next object goes to, or a lower one."""
        folder = self._open
        return self._next if folder is None else folder.number

    @contextmanager
    def entering(self, objects: int = 1) -> Iterator[BatchFolder]:
        """Around adding objects. Native threads only: may make a folder durable. raises: OSError"""
        with self._lock:
            folder = self._open
            if folder is None or self._full(folder):
                folder = self._begin()
            folder.users += 1
            folder.entries += objects
        try:
            yield folder
        finally:
            with self._lock:
                folder.users -= 1
                self._close_unused(folder)

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._retire(self._open)
                self._open = None

    def _full(self, folder: BatchFolder) -> bool:
        return folder.entries >= BATCH_OBJECTS or self._clock() - folder.opened_at >= BATCH_S

    def _begin(self) -> BatchFolder:
        if self._next > MAX_BATCH:
            raise Misuse("out of batch numbers")
        make_durable_folder(self._system, self._root, shard_folder(self._slot, self._next))
        path = make_durable_folder(self._system, self._root, batch_folder(self._slot, self._next))
        fd = self._system.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        folder = BatchFolder(self._system, self._next, fd, self._clock())
        previous, self._open = self._open, folder
        self._next += 1
        if previous is not None:
            self._retire(previous)
        return folder

    def _retire(self, folder: BatchFolder) -> None:
        folder.retired = True
        self._close_unused(folder)

    def _close_unused(self, folder: BatchFolder) -> None:
        if folder.retired and not folder.users and folder.fd >= 0:
            fd, folder.fd = folder.fd, -1
            closed(self._system, fd)


def make_durable_folder(system: FileSystem, root: Path, relative: str) -> Path:
    """Make a folder whose parent exists, and sync the parent so that a power cut keeps it. raises: OSError"""
    path = root / relative
    try:
        system.mkdir(path, 0o700)
    except FileExistsError:
        pass  # perhaps by a process that died before its fsync, hence the sync all the same
    sync_folder(system, path.parent)
    return path


def sync_folder(system: FileSystem, path: Path) -> None:
    """raises: OSError"""
    fd = system.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        synced(system.fsync, fd)
    finally:
        closed(system, fd)


def batch_numbers(root: Path, slot: int, at_least: int = 0) -> list[int]:
    """Numbers of a slot's batch folders from ``at_least`` on, ascending. Anything else that lies there is
    ignored.
    """
    found: list[int] = []
    for shard in _hexadecimal(root / slot_folder(slot), 5):
        if shard >= at_least >> 12:
            found += [n for n in _hexadecimal(root / shard_folder(slot, shard << 12), 8) if n >= at_least]
    return sorted(found)


def newest_batch(root: Path, slot: int) -> int:
    """Highest batch number of a slot, or -1."""
    for shard in sorted(_hexadecimal(root / slot_folder(slot), 5), reverse=True):
        batches = _hexadecimal(root / shard_folder(slot, shard << 12), 8)
        if batches:
            return max(batches)
    return -1


def _hexadecimal(path: Path, digits: int) -> list[int]:
    """Numbers of the sub-folders that are named so."""
    found: list[int] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if len(name) == digits and set(name) <= set("0123456789abcdef") and entry.is_dir():
                    found.append(int(name, 16))
    except FileNotFoundError:
        pass
    return found
