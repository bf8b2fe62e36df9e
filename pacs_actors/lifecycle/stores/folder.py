"""A tier store in a folder: a second disk, or a mount of a network store.

Owns, under its folder: ``<two characters>/<folder of the key>/<name of the key>`` and ``incoming/<random>``, together with
other processes and machines. A copy is written to ``incoming``, synced, and linked to its place, so that it is never seen
in parts and never replaces another one. Disk calls run on native threads; a call that hangs because the mount does is left
to itself after the deadline.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar, TypeVarTuple

import trio
from xxhash import xxh3_128

from config.stores import LifecycleStoreSettings
from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.lifecycle.stores.errors import StoreUnavailable
from pacs_actors.lifecycle.stores.folder_files import Arrival, FolderFiles, OpenCopy
from pacs_actors.lifecycle.stores.interface import PAGE_KEYS, PIECE_BYTES, Source, StoredCopy
from pacs_actors.lifecycle.stores.sources import SourceReader
from pacs_actors.threads import NativePool
from protocols.errors import Misuse

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_BLOCK_BYTES: Final = 4 * 1024 * 1024
_THREADS: Final = 4
_READERS: Final = 2


class FolderStore:
    """See ``interface.TierStore``. settings: of kind folder; system: the system calls"""

    def __init__(
        self, name: str, settings: LifecycleStoreSettings, *, system: FileSystem | None = None
    ) -> None:
        if settings.path is None:
            raise Misuse(f"store {name} has no path")
        self.name, self.settings = name, settings
        self._files = FolderFiles(
            name,
            Path(settings.path),
            system or FileSystem(),
            mounted=settings.mounted,
            reserve_bytes=settings.reserve_bytes,
        )
        self._threads = NativePool(_THREADS, f"folder-{name}")
        # Sources are read beside: their disk is another one, and does not hang when the folder's does.
        self._readers = NativePool(_READERS, f"folder-{name}-source")

    async def __aenter__(self) -> FolderStore:
        await self._threads.__aenter__()
        await self._readers.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._readers.__aexit__(kind, error, trace)
        await self._threads.__aexit__(kind, error, trace)

    async def put(self, key: str, source: Source) -> StoredCopy:
        self._files.check_key(key)
        reader = SourceReader(self.name, source, self._readers)
        arrival = await self._run(self._files.begin, source.size_bytes, late=Arrival.drop)
        try:
            for offset in range(0, source.size_bytes, _BLOCK_BYTES):
                block = await reader.read(min(_BLOCK_BYTES, source.size_bytes - offset))
                await self._run(arrival.write, block.content)
            digest = await reader.finish()
            await self._run(self._files.publish, arrival, key, digest)
        finally:
            self._threads.submit(arrival.drop)
        return StoredCopy(key=key, size_bytes=source.size_bytes, digest=digest)

    @asynccontextmanager
    async def get(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[_FolderPieces]:
        if offset < 0 or (length is not None and length < 0):
            raise Misuse(f"{length} bytes from {offset} on")
        self._files.check_key(key)
        copy = await self._run(self._files.open, key, late=OpenCopy.close)
        try:
            end = copy.size_bytes if length is None else min(copy.size_bytes, offset + length)
            yield _FolderPieces(copy, offset, end, lambda at, length: self._run(copy.read, at, length))
        finally:
            self._threads.submit(copy.close)

    async def size(self, key: str) -> int:
        self._files.check_key(key)
        return await self._run(self._files.size, key)

    async def confirm(self, copy: StoredCopy) -> bool:
        return await self.size(copy.key) == copy.size_bytes

    async def verify(self, copy: StoredCopy) -> bool:
        self._files.check_key(copy.key)
        opened = await self._run(self._files.open, copy.key, late=OpenCopy.close)
        try:
            digest = xxh3_128()
            await self._run(opened.forget_cached)
            for offset in range(0, opened.size_bytes, _BLOCK_BYTES):
                await self._run(opened.digest_some, digest, offset, _BLOCK_BYTES)
            return opened.size_bytes == copy.size_bytes and digest.digest() == copy.digest
        finally:
            self._threads.submit(opened.close)

    async def remove(self, *keys: str) -> None:
        for key in keys:
            self._files.check_key(key)
        for start in range(0, len(keys), PAGE_KEYS):
            await self._run(self._files.remove, keys[start : start + PAGE_KEYS])

    async def keys(self, after: str = "") -> AsyncIterator[list[str]]:
        if after:
            self._files.check_key(after)
        walk = self._files.walk(after)
        while page := await self._run(_some, walk):
            yield page

    async def sweep(self, older_than_s: float) -> int:
        return await self._run(self._files.sweep, older_than_s)

    async def free_bytes(self) -> int | None:
        return await self._run(self._files.free_bytes)

    async def _run(
        self,
        function: Callable[[*Arguments], T],
        *arguments: *Arguments,
        late: Callable[[T], object] = lambda _: None,
    ) -> T:
        """Call the disk within the deadline. late: takes what it returns when nobody waits any more"""
        with trio.move_on_after(self.settings.request_timeout_s):
            return await self._threads.run(lambda: self._files.translated(function, *arguments), abandon=late)
        raise StoreUnavailable(self.name, f"the disk did not answer in {self.settings.request_timeout_s:g} s")


def _some(walk: Iterator[str]) -> list[str]:
    return list(islice(walk, PAGE_KEYS))


class _FolderPieces:
    """See ``interface.Pieces``."""

    def __init__(
        self, copy: OpenCopy, offset: int, end: int, read: Callable[[int, int], Awaitable[bytes]]
    ) -> None:
        self.size_bytes = copy.size_bytes
        self._offset, self._end, self._read = offset, end, read

    def __aiter__(self) -> _FolderPieces:
        return self

    async def __anext__(self) -> bytes:
        if self._offset >= self._end:
            raise StopAsyncIteration
        piece = await self._read(self._offset, min(PIECE_BYTES, self._end - self._offset))
        self._offset += len(piece)
        return piece
