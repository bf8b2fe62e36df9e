"""Making files durable: temporary file, aligned writes past the page cache, rename, sync of file and folder.

Everything here blocks and runs on native threads. The file is renamed before it is synced, so that one
journal commit covers both on the usual file systems; a crash in between leaves a file that nobody was told
of, which recovery recognises by its digest.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from pacs_actors.archive.objects.batches import BatchFolders
from pacs_actors.archive.objects.buffers import BLOCK_BYTES
from pacs_actors.archive.objects.filesystem import (
    O_DIRECT,
    OUT_OF_SPACE,
    PASSING,
    FileSystem,
    Health,
    SyncFailed,
    closed,
    synced,
)
from pacs_actors.archive.objects.keys import ObjectKey
from pacs_actors.archive.objects.space import Space
from protocols.errors import OutOfResources

_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC


class DurableWriter:
    """A slot's way to the disk.

    temporary:  the slot's folder of temporary files, on the file system of the objects
    """

    def __init__(
        self,
        temporary: Path,
        slot: int,
        *,
        system: FileSystem,
        folders: BatchFolders,
        space: Space,
        health: Health,
    ) -> None:
        self.system, self.slot, self.folders, self.space, self.health = system, slot, folders, space, health
        self.temporary = temporary
        self._temporary_fd = system.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._direct = O_DIRECT

    def close(self) -> None:
        self.folders.close()
        # Whoever discards an object later must not meet whatever gets the number next.
        fd, self._temporary_fd = self._temporary_fd, -1
        closed(self.system, fd)

    @contextmanager
    def refusing(self, doing: str) -> Iterator[None]:
        """Around disk work for a new object.

        raises: OutOfResources for every OSError; after one that leaves the disk's content in doubt the
                store is read-only
        """
        self.health.check()
        try:
            yield
        except OSError as error:
            if isinstance(error, SyncFailed) or error.errno not in PASSING:
                self.health.fail(doing, error)
            elif error.errno in OUT_OF_SPACE:
                self.space.exhausted()
            raise OutOfResources(f"the object could not be stored: {error.strerror}") from error

    def create(self, name: str) -> int:
        """A new temporary file. raises: OSError"""
        return self.create_in(self._temporary_fd, name)

    def create_in(self, folder_fd: int, name: str) -> int:
        """A new file, for writes past the page cache if that can be. raises: OSError"""
        try:
            return self.system.open(name, _CREATE | self._direct, 0o600, dir_fd=folder_fd)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._direct:
                raise
        # A file system without O_DIRECT. Some have created the file by the time they say so.
        self._direct = 0
        with suppress(FileNotFoundError):
            self.system.unlink(name, dir_fd=folder_fd)
        return self.system.open(name, _CREATE, 0o600, dir_fd=folder_fd)

    def write(self, fd: int, view: memoryview, length: int, offset: int) -> int:
        """Write ``view[:length]`` at a block-aligned offset; the file then ends on a block, padded with
        zeros.

        view:     aligned in memory, with room up to the next block
        returns:  how many bytes of padding there are
        raises:   OSError; OutOfResources if the reserve would be touched
        """
        padding = -length % BLOCK_BYTES
        if padding:
            view[length : length + padding] = bytes(padding)
        end = length + padding
        with self.space.writing(end):
            done = 0
            while done < end:
                done += self._write_some(fd, view[done:end], offset + done)
        return padding

    def write_all(self, fd: int, views: Sequence[memoryview], offset: int) -> None:
        """Write whole blocks one behind the other, into space that is taken already. raises: OSError"""
        left = deque(views)
        while left:
            done = self._directly_or_not(fd, partial(self.system.pwritev, fd, left, offset))
            offset += done
            while left and done >= len(left[0]):
                done -= len(left.popleft())
            if done:
                left[0] = left[0][done:]

    def _write_some(self, fd: int, view: memoryview, offset: int) -> int:
        return self._directly_or_not(fd, partial(self.system.pwrite, fd, view, offset))

    def _directly_or_not(self, fd: int, write: Callable[[], int]) -> int:
        try:
            return write()
        except OSError as error:
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            if error.errno != errno.EINVAL or not flags & O_DIRECT:
                raise
            # Taken at open and refused at the write: go on through the page cache; fdatasync makes it
            # durable all the same.
            self._direct = 0
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~O_DIRECT)
            return write()

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut the padding off. raises: OSError"""
        self.system.ftruncate(fd, size_bytes)

    def publish(self, fd: int, name: str) -> str:
        """Give a written temporary file its final name and make both durable; its key.

        raises: OSError; the file is then gone or, if the disk is failing, recognisable as never acknowledged
        """
        with self.folders.entering() as folder:
            self.system.rename(name, name, src_dir_fd=self._temporary_fd, dst_dir_fd=folder.fd)
            try:
                synced(self.system.fdatasync, fd)
                folder.directory.sync()
            except OSError:
                with suppress(OSError):
                    self.system.unlink(name, dir_fd=folder.fd)
                raise
            return str(ObjectKey(self.slot, folder.number, name.removesuffix(".dcm")))

    def adopt(self, source: Path, name: str) -> str:
        """Take a durable file from elsewhere in the store into the current batch folder; its key. raises: OSError"""
        with self.folders.entering() as folder:
            self.system.rename(source, name, dst_dir_fd=folder.fd)
            folder.directory.sync()
            return str(ObjectKey(self.slot, folder.number, name.removesuffix(".dcm")))

    def read_back(self, name: str, length: int, offset: int) -> bytes:
        """Bytes of a temporary file. raises: OSError"""
        fd = self.system.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._temporary_fd)
        try:
            return os.pread(fd, length, offset)
        finally:
            closed(self.system, fd)

    def drop(self, fd: int, name: str) -> None:
        """Close and delete a temporary file, if the disk lets us; the sweep at start takes the rest."""
        closed(self.system, fd)
        with suppress(OSError):
            self.system.unlink(name, dir_fd=self._temporary_fd)
