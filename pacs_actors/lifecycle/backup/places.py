"""Where backups lie. Everything here blocks: for native threads.

A place holds a folder for each backup: containers, the manifest, and when it was last verified. Names are checked against
their whole grammar before they become a path: a manifest may come from anywhere.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from pacs_actors.lifecycle.backup import manifest
from pacs_actors.lifecycle.backup.frames import Broken
from protocols.errors import ConfigError, OutOfResources, Unavailable

_ID: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-(?:full|incremental|differential)(?:-[0-9]{1,6})?", re.ASCII)
_NAME: Final = re.compile(r"(?:index|objects|catalog)-[0-9]{5}|manifest|verified", re.ASCII)
_DRAFT: Final = ".new"
_LOCK: Final = "lock"


class Reader(Protocol):
    """A container, open. size_bytes: of all of it"""

    size_bytes: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Less at the end. raises: Unavailable"""

    def close(self) -> None: ...


class Place(Protocol):
    """Every method raises Unavailable when the place does not answer, OutOfResources when it is full."""

    name: str

    def ids(self) -> list[str]:
        """Of backups, whole or not, ascending."""

    def begin(self, backup: str) -> None:
        """raises: FileExistsError"""

    def abandoned(self, backup: str) -> bool:
        """Whether nobody can be at a backup that is not whole; asked with the lock held."""

    def create(self, backup: str, name: str) -> BinaryIO:
        """A new file; nobody else reads it before ``finish``."""

    def finish(self, backup: str, name: str, file: BinaryIO) -> None:
        """Close it; durable on return."""

    def put(self, backup: str, name: str, content: bytes) -> None:
        """A small file, whole or not at all, durable on return; a second time it takes the first one's place."""

    def get(self, backup: str, name: str) -> bytes | None:
        """A small file."""

    def open(self, backup: str, name: str) -> Reader:
        """raises: Broken if it is not there"""

    def remove(self, backup: str) -> None:
        """A whole backup, its manifest first, or what is left of one."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While backups are made or removed: nobody else does. raises: Unavailable at once"""


class FolderPlace:
    """A directory. make: where there is none"""

    def __init__(self, folder: Path, *, make: bool = False) -> None:
        self.folder, self.name = folder, str(folder)
        try:
            if make:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not folder.is_dir():
                raise ConfigError(f"backup.to: there is no folder {folder}")
        except OSError as error:
            raise ConfigError(f"backup.to: cannot use {folder}: {error.strerror}") from None

    def ids(self) -> list[str]:
        with _told(self.folder):
            return sorted(each.name for each in self.folder.iterdir() if _ID.fullmatch(each.name))

    def begin(self, backup: str) -> None:
        with _told(self.folder, FileExistsError):
            self._of(backup).mkdir(mode=0o700)
            _sync(self.folder)

    def abandoned(self, backup: str) -> bool:
        return True  # whoever makes one holds the lock

    def create(self, backup: str, name: str) -> BinaryIO:
        path = self._path(backup, name)
        with _told(path):
            return os.fdopen(
                os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb", 0
            )

    def finish(self, backup: str, name: str, file: BinaryIO) -> None:
        with _told(self._path(backup, name)):
            try:
                os.fsync(file.fileno())
            finally:
                file.close()
            _sync(self._of(backup))

    def put(self, backup: str, name: str, content: bytes) -> None:
        path = self._path(backup, name)
        draft = path.with_name(name + _DRAFT)
        with _told(path):
            draft.unlink(missing_ok=True)
            fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
            draft.replace(path)
            _sync(path.parent)

    def get(self, backup: str, name: str) -> bytes | None:
        path = self._path(backup, name)
        with _told(path):
            try:
                with path.open("rb") as file:
                    content = file.read(manifest.MAX_BYTES + 1)
            except FileNotFoundError:
                return None
        if len(content) > manifest.MAX_BYTES:
            raise Broken(f"{path} is too large")
        return content

    def open(self, backup: str, name: str) -> Reader:
        path = self._path(backup, name)
        with _told(path):
            try:
                return _FileReader(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), path)
            except FileNotFoundError:
                raise Broken(f"container {name} of backup {backup} is not there") from None

    def remove(self, backup: str) -> None:
        folder = self._of(backup)
        with _told(folder):
            (folder / manifest.NAME).unlink(missing_ok=True)
            _sync(folder)
            shutil.rmtree(folder)
            _sync(self.folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with _told(self.folder):
            fd = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(f"another backup is being made in {self.folder}") from None
            yield
        finally:
            os.close(fd)

    def _of(self, backup: str) -> Path:
        if not _ID.fullmatch(backup):
            raise Broken(f"{backup!r} is no backup's name")
        return self.folder / backup

    def _path(self, backup: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise Broken(f"{name!r} is no container's name")
        return self._of(backup) / name


class _FileReader:
    def __init__(self, fd: int, path: Path) -> None:
        self._fd, self._path = fd, path
        self.size_bytes = os.fstat(fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        with _told(self._path):
            return os.pread(self._fd, length, offset)

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def _told(path: Path, *passed: type[OSError]) -> Iterator[None]:
    """An OSError as one of ours, with the path: that is ours, too."""
    try:
        yield
    except passed:
        raise
    except OSError as error:
        what = f"{path}: {error.strerror or error}"
        if error.errno in _FULL:
            raise OutOfResources(f"the backup's place is full: {what}") from error
        raise Unavailable(f"the backup's place does not answer: {what}") from error


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
