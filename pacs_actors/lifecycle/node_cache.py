"""Node cache: copies of objects that lie on other nodes, in ``DIR/cache/objects``, for whoever serves them here.

All workers of the node share the folder. A copy gets its name when all of it is on the disk and has the object's digest, so what
has a name is whole. What has not been asked for longest goes when the folder is too large; whoever has a file open keeps it.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from xxhash import xxh3_128

from pacs_actors.archive.cache_limit import CacheLimit
from pacs_actors.archive.objects.keys import CACHE_FOLDER, ObjectMissing, cache_key, parse_key, place_of
from pacs_actors.operations import logs
from pacs_actors.threads import NativePool
from protocols.dataset.part10 import PREAMBLE_BYTES
from protocols.errors import CannotUnderstand, OutOfResources

_USED_EVERY_S: Final = 60.0
_HALF: Final = ".half"
_ABANDONED_S: Final = 3600.0


class NodeCache:
    """limit_bytes: what the folder may take; a little more for a moment
    free_bytes:  what the disk has left for us
    brought, evicted: copies, by this process
    """

    def __init__(
        self, root: Path, limit_bytes: int, threads: NativePool, free_bytes: Callable[[], int]
    ) -> None:
        self._root, self._threads, self._free_bytes = root, threads, free_bytes
        self._limit = CacheLimit(limit_bytes)
        self.brought = self.evicted = 0

    async def find(self, key: str) -> str | None:
        """The key of the copy of another node's object; None: there is none. raises: ObjectMissing if ``key`` is no object's"""
        copy = cache_key(key)
        return copy if await self._threads.run(self._use, self._root / place_of(copy).path) else None

    async def take(self, key: str, size_bytes: int, digest: bytes, data: AsyncIterator[bytes]) -> str:
        """Keep a copy; its key.

        digest: xxh3-128 of the object from byte 128 on
        raises: CannotUnderstand if the bytes are not the object's; OutOfResources; what ``data`` raises
        """
        if self._free_bytes() < size_bytes:
            raise OutOfResources("no space left for copies of other nodes' objects")
        copy = cache_key(key)
        path = self._root / place_of(copy).path
        half = path.with_name(f"{token_hex(8)}{_HALF}")
        hashed, at = xxh3_128(), 0
        try:
            fd = await self._threads.run(_create, half)
            try:
                async for piece in data:
                    hashed.update(piece[max(0, PREAMBLE_BYTES - at) :])
                    await self._threads.run(_write, fd, piece)
                    at += len(piece)
                if at != size_bytes or hashed.digest() != digest:
                    raise CannotUnderstand("a copy with another digest")
                await self._threads.run(os.fdatasync, fd)
            finally:
                os.close(fd)
            await self._threads.run(half.rename, path)
        except OSError as error:
            raise OutOfResources(
                f"a copy of another node's object cannot be kept: {error.strerror}"
            ) from error
        finally:
            with suppress(OSError):
                half.unlink()
        self.brought += 1
        if self._limit.wrote(size_bytes):
            await self._threads.run(self.evict)
        return copy

    async def keys(self) -> list[str]:
        """The objects of which there are copies."""
        return await self._threads.run(lambda: [key for key, _, _, _ in self._files()])

    async def remove(self, keys: Iterable[str]) -> None:
        """Copies of these objects are not wanted any more. raises: ObjectMissing if one is no key of an object"""
        paths = [self._root / place_of(cache_key(key)).path for key in keys]

        def unlink() -> None:
            for path in paths:
                with suppress(OSError):
                    path.unlink()

        await self._threads.run(unlink)

    # -- on native threads ------------------------------------------------------------------------------------------------------
    def evict(self) -> None:
        """Remove what was not used for longest until the folder is small enough."""
        self.evicted += self._limit.evict((used, size, path) for _, used, size, path in self._files())

    def _files(self) -> Iterator[tuple[str, int, int, str]]:
        """(object's key, last used, bytes on the disk, path) of each copy."""
        for shard in (self._root / CACHE_FOLDER).glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError), os.scandir(shard) as entries:
                for entry in entries:
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        key = _object_of(entry.name)
                        if key is not None:
                            yield key, status.st_mtime_ns, status.st_blocks * 512, entry.path
                        elif time.time() - status.st_mtime > _ABANDONED_S:  # of a process that died
                            Path(entry.path).unlink()

    def _use(self, path: Path) -> bool:
        try:
            if time.time() - path.stat().st_mtime > _USED_EVERY_S:
                os.utime(path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                logs.warning("cached_copy_unreadable", why=error.strerror)
            return False
        return True


def _object_of(name: str) -> str | None:
    """The key of the object that a file is a copy of."""
    slot, _, rest = name.removesuffix(".dcm").partition("-")
    batch, _, bare = rest.partition("-")
    for key in (f"{slot}/{batch}/{bare}.dcm", f"{slot}/{batch}/{bare}"):
        with suppress(ObjectMissing):
            parse_key(key)
            return key if cache_key(key).endswith(f"/{name}") else None
    return None


def _create(path: Path) -> int:
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
