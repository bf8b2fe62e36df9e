"""The files of a folder store. Everything here blocks; for native threads.

The calls that change the disk go through ``FileSystem``, so that tests can make the N-th one fail.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Final, TypeVar, TypeVarTuple

from xxhash import xxh3_128

from pacs_actors.archive.objects.batches import make_durable_folder, sync_folder
from pacs_actors.archive.objects.filesystem import OUT_OF_SPACE, FileSystem, SyncFailed, closed, synced
from pacs_actors.lifecycle.stores import copy_keys
from pacs_actors.lifecycle.stores.errors import (
    BadCopyKey,
    CopyDiffers,
    CopyMissing,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

INCOMING: Final = "incoming"
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
_COMPARING_BYTES: Final = 4 * 1024 * 1024
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC


class Arrival:
    """A copy on its way in. One thread at a time: a call that hangs keeps the lock, and ``drop`` waits for it."""

    def __init__(self, system: FileSystem, path: Path, size_bytes: int) -> None:
        self._system, self.path, self.size_bytes = system, path, size_bytes
        self.lock = Lock()
        self.written = 0
        self.fd = system.open(path, _CREATE, 0o600)

    def write(self, content: bytes) -> None:
        """raises: OSError"""
        with self.lock:
            view = memoryview(content)
            while view:
                done = self._system.pwrite(self.fd, view, self.written)
                self.written += done
                view = view[done:]

    def drop(self) -> None:
        """Close the temporary file and take it away, if the disk lets us; ``sweep`` takes the rest."""
        with self.lock:
            if self.fd >= 0:
                fd, self.fd = self.fd, -1
                closed(self._system, fd)
                with suppress(OSError):
                    self._system.unlink(self.path)


class OpenCopy:
    """A copy that is open for reading."""

    def __init__(self, store: str, fd: int) -> None:
        self._store, self._fd, self._lock = store, fd, Lock()
        self.size_bytes = os.fstat(fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """1 to ``length`` bytes. raises: OSError, StoreUnavailable if the file has become shorter"""
        with self._lock:
            piece = os.pread(self._fd, length, offset)
        if not piece:
            raise StoreUnavailable(self._store, "a copy became shorter while it was read", retry=False)
        return piece

    def digest_some(self, digest: xxh3_128, offset: int, length: int) -> None:
        """Add these bytes to a digest, as far as the copy goes. raises: as ``read``"""
        end = min(offset + length, self.size_bytes)
        while offset < end:
            piece = self.read(offset, end - offset)
            digest.update(piece)
            offset += len(piece)

    def forget_cached(self) -> None:
        """Have the medium asked for what is read from now on. raises: OSError"""
        with self._lock:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self, system: FileSystem) -> None:
        """raises: SyncFailed"""
        with self._lock:
            synced(system.fsync, self._fd)

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                os.close(fd)


class FolderFiles:
    """root: must exist; mounted: and be a mount point; reserve_bytes: of free space, left alone"""

    def __init__(
        self, store: str, root: Path, system: FileSystem, *, mounted: bool, reserve_bytes: int
    ) -> None:
        self.store, self.root, self.mounted, self.reserve_bytes = store, root, mounted, reserve_bytes
        self._system = system
        self._failure = ""

    def check_key(self, key: str) -> None:
        """Does not block. raises: BadCopyKey"""
        if not copy_keys.is_copy_key(key):
            raise BadCopyKey(self.store, f"not a copy's key: {key[: copy_keys.MAX_KEY]!r}")

    def translated(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Call a function, with what the disk says put into our words. raises: StoreError"""
        try:
            return function(*arguments)
        except SyncFailed as error:
            # A kernel reports a failed write-back once and then forgets it: a later sync that succeeds proves nothing.
            self._failure = f"a sync failed: {error.strerror}"
            raise StoreUnavailable(self.store, self._failure, retry=False) from error
        except OSError as error:
            raise self._translated(error) from error

    def _translated(self, error: OSError) -> StoreError:
        what = error.strerror or str(error)
        if error.errno in OUT_OF_SPACE:
            return StoreFull(self.store, what)
        if error.errno in _DENIED:
            return StoreDenied(self.store, what)
        return StoreUnavailable(self.store, what)

    def begin(self, size_bytes: int) -> Arrival:
        """raises: OSError, StoreError"""
        self._check_writable()
        free = self.free_bytes()
        if free < size_bytes:
            raise StoreFull(self.store, f"{free} bytes are free")
        with suppress(FileExistsError):
            self._system.mkdir(self.root / INCOMING, 0o700)
        return Arrival(self._system, self.root / INCOMING / token_hex(16), size_bytes)

    def publish(self, arrival: Arrival, key: str, digest: bytes) -> None:
        """Make an arrival durable under its key, or find the same bytes there. raises: OSError, StoreError"""
        with arrival.lock:
            if arrival.written != arrival.size_bytes or arrival.fd < 0:
                raise StoreUnavailable(self.store, "the copy was given up")
            self._check_writable()
            synced(self._system.fsync, arrival.fd)
            final = self._path(key)
            for _ in range(10):  # whoever removes a study's last copy takes its folder away
                self._make_folders(key)
                try:
                    try:
                        self._place(arrival.path, final)
                    except FileExistsError:
                        self._same(key, arrival.size_bytes, digest)
                    sync_folder(self._system, final.parent)
                except (FileNotFoundError, CopyMissing):
                    continue
                return
        raise StoreUnavailable(self.store, "the copy's folder is removed again and again")

    def open(self, key: str) -> OpenCopy:
        """raises: OSError, StoreError"""
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(key) from None
        return OpenCopy(self.store, fd)

    def size(self, key: str) -> int:
        """raises: OSError, StoreError"""
        try:
            return self._path(key).lstat().st_size
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(key) from None

    def remove(self, keys: tuple[str, ...]) -> None:
        """raises: OSError, StoreError"""
        self._check_writable()
        folders: set[Path] = set()
        for key in keys:
            path = self._path(key)
            folders.add(path.parent)
            with suppress(FileNotFoundError, NotADirectoryError):
                self._system.unlink(path)
        for folder in folders:
            # Synced also when all were gone: whoever took them away may have died before this.
            with suppress(FileNotFoundError, NotADirectoryError):
                sync_folder(self._system, folder)
            with suppress(OSError):
                folder.rmdir()

    def walk(self, after: str) -> Iterator[str]:
        """Keys greater than ``after``, ascending. raises: OSError, StoreError"""
        self._check_mounted()
        after_folder, _, after_name = after.partition("/")
        for shard in _names(self.root):
            if len(shard) != 2 or shard < after_folder[:2]:
                continue
            for folder in _names(self.root / shard):
                if folder < after_folder or folder[:2] != shard:
                    continue
                for name in _names(self.root / shard / folder):
                    key = f"{folder}/{name}"
                    if (folder != after_folder or name > after_name) and copy_keys.is_copy_key(key):
                        yield key

    def sweep(self, older_than_s: float) -> int:
        """raises: OSError, StoreError"""
        self._check_writable()
        before = time.time() - older_than_s
        swept = 0
        for name in _names(self.root / INCOMING):
            path = self.root / INCOMING / name
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime < before:
                    self._system.unlink(path)
                    swept += 1
        return swept

    def free_bytes(self) -> int:
        """raises: OSError, StoreError"""
        self._check_mounted()
        found = self._system.statvfs(self.root)
        return max(0, found.f_bavail * found.f_frsize - self.reserve_bytes)

    def _path(self, key: str) -> Path:
        parts = copy_keys.parts(key)
        if parts is None:
            raise BadCopyKey(self.store, "not a copy's key")
        folder, name = parts
        return self.root / folder[:2] / folder / name

    def _make_folders(self, key: str) -> None:
        folder = self._path(key).parent
        # Also those that are there: whoever made them may have died before its sync.
        for path in (folder.parent, folder):
            make_durable_folder(self._system, path.parent, path.name)

    def _place(self, temporary: Path, final: Path) -> None:
        """raises: FileExistsError, FileNotFoundError if the folder has gone, OSError"""
        try:
            os.link(temporary, final)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # A file system without links. Between the look and the rename another put may come: of the same bytes, as
            # the key is made of their digest.
            if final.exists():
                raise FileExistsError(errno.EEXIST, "there is one") from error
            self._system.rename(temporary, final)

    def _same(self, key: str, size_bytes: int, digest: bytes) -> None:
        """Make sure that what lies under a key is this, and durable. raises: CopyDiffers, CopyMissing, OSError"""
        existing = self.open(key)
        try:
            found = xxh3_128()
            if existing.size_bytes == size_bytes:
                existing.digest_some(found, 0, size_bytes)
            if existing.size_bytes != size_bytes or found.digest() != digest:
                raise CopyDiffers(self.store, f"other bytes are stored as {key}")
            existing.sync(self._system)
        finally:
            existing.close()

    def _missing(self, key: str) -> StoreError:
        self._check_mounted()
        return CopyMissing(self.store, f"no copy {key}")

    def _check_writable(self) -> None:
        if self._failure:
            raise StoreUnavailable(self.store, f"read-only until restart: {self._failure}", retry=False)
        self._check_mounted()

    def _check_mounted(self) -> None:
        """Nothing is missing, and nothing is to be written, because a disk is not there at the moment."""
        if not self.root.is_dir() or (self.mounted and not self.root.is_mount()):
            raise StoreUnavailable(self.store, "its folder is not there, or nothing is mounted on it")


def _names(folder: Path) -> list[str]:
    """What lies in a folder, ascending; nothing if it is not one. raises: OSError"""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
