"""What tier stores behind a network have in common: reading, comparing, confirming, and sending a large copy in parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import trio
from xxhash import xxh3_128

from config.stores import LifecycleStoreSettings
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.stores import copy_keys
from pacs_actors.lifecycle.stores.errors import BadCopyKey, CopyDiffers, CopyMissing, StoreUnavailable
from pacs_actors.lifecycle.stores.interface import PAGE_KEYS, Source, StoredCopy
from pacs_actors.lifecycle.stores.remote import Head, RemoteClient
from pacs_actors.lifecycle.stores.remote_pieces import RemotePieces
from pacs_actors.lifecycle.stores.sources import Block, SourceReader, digest_of
from pacs_actors.threads import NativePool
from protocols.errors import Misuse

C = TypeVar("C", bound=RemoteClient)
R = TypeVar("R")

_THREADS: Final = 2


class RemoteStore(ABC, Generic[C]):
    """See ``interface.TierStore``. client: not entered yet; this enters it"""

    def __init__(self, name: str, settings: LifecycleStoreSettings, client: C) -> None:
        if settings.bucket is None:
            raise Misuse(f"store {name} has no bucket")
        self.name, self.settings = name, settings
        self._client = client
        self._threads = NativePool(_THREADS, f"{settings.kind}-{name}-source")
        self._parts = trio.Semaphore(settings.connections)

    async def __aenter__(self) -> Self:
        await self._threads.__aenter__()
        try:
            await self._client.__aenter__()
        except BaseException:
            await self._threads.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)
        await self._threads.__aexit__(kind, error, trace)

    async def put(self, key: str, source: Source) -> StoredCopy:
        name = self._object_name(key)
        reader = SourceReader(self.name, source, self._threads, md5=True)
        if source.size_bytes <= self.settings.part_bytes:
            digest = await self._put_whole(name, reader)
        elif await self._is_there(name):
            digest = await self._already_there(name, reader)
        else:
            digest = await self._put_parts(name, reader)
        return StoredCopy(key=key, size_bytes=source.size_bytes, digest=digest)

    @asynccontextmanager
    async def get(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[RemotePieces]:
        if offset < 0 or (length is not None and length < 0):
            raise Misuse(f"{length} bytes from {offset} on")
        pieces = RemotePieces(self._client, self._object_name(key), offset, length)
        try:
            await pieces.open()
            yield pieces
        finally:
            pieces.close()

    async def size(self, key: str) -> int:
        return (await self._head(self._object_name(key))).size_bytes

    async def confirm(self, copy: StoredCopy) -> bool:
        head = await self._head(self._object_name(copy.key))
        return head.size_bytes == copy.size_bytes and head.digest == copy.digest.hex()

    async def verify(self, copy: StoredCopy) -> bool:
        return await self._read_back(copy.key) == (copy.size_bytes, copy.digest)

    async def remove(self, *keys: str) -> None:
        names = [self._object_name(key) for key in keys]
        for start in range(0, len(names), PAGE_KEYS):
            await self._client.remove(names[start : start + PAGE_KEYS])

    async def free_bytes(self) -> int | None:
        return None

    @abstractmethod
    async def _put_whole(self, name: str, reader: SourceReader) -> bytes:
        """Store what fits into a part, in one request; its digest."""

    @abstractmethod
    async def _put_parts(self, name: str, reader: SourceReader) -> bytes:
        """Store what does not, where nothing was a moment ago; its digest."""

    def _object_name(self, key: str) -> str:
        if not copy_keys.is_copy_key(key):
            raise BadCopyKey(self.name, f"not a copy's key: {key[: copy_keys.MAX_KEY]!r}")
        return self.settings.prefix + key

    async def _head(self, name: str) -> Head:
        """raises: CopyMissing"""
        try:
            return await self._client.head(name)
        except CopyMissing:
            # The answer to HEAD has no body to tell a missing object from a missing bucket: nothing is lost in that case.
            await self._client.window(name, 0, 1)
            return await self._client.head(name)

    async def _is_there(self, name: str) -> bool:
        try:
            await self._client.head(name)
        except CopyMissing:
            return False
        return True

    async def _digest_before(self, source: Source) -> bytes | None:
        """The digest of a source that is not read yet; None if nobody can tell."""
        if isinstance(source, ObjectFile):
            return await self._threads.run(digest_of, self.name, source)
        return source.digest

    async def _send_parts(
        self, reader: SourceReader, most_parts: int, send: Callable[[int, Block], Awaitable[R]]
    ) -> tuple[list[R], bytes]:
        """Send all of a source, several parts at a time: what ``send`` returned for each, and the digest of all.

        send: is given the number of the part, from 0 on
        """
        size_bytes = reader.source.size_bytes
        part_bytes = max(self.settings.part_bytes, -(-size_bytes // most_parts))
        sent: dict[int, R] = {}
        failure: Exception | None = None
        digest = b""

        async def send_one(number: int, block: Block) -> None:
            nonlocal failure
            try:
                sent[number] = await send(number, block)
            except Exception as error:
                failure = failure or error
                nursery.cancel_scope.cancel()
            finally:
                self._parts.release()

        async with trio.open_nursery() as nursery:
            try:
                for number, offset in enumerate(range(0, size_bytes, part_bytes)):
                    await self._parts.acquire()
                    try:
                        block = await reader.read(min(part_bytes, size_bytes - offset))
                    except BaseException:
                        self._parts.release()
                        raise
                    nursery.start_soon(send_one, number, block)
                    del block  # or one more than there are connections would be held
                digest = await reader.finish()
            except Exception as error:
                failure = failure or error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return [sent[number] for number in range(len(sent))], digest

    async def _confirmed(self, name: str, size_bytes: int, digest: bytes | None) -> None:
        """An answer alone is not believed: the copy must be there. raises: StoreUnavailable"""
        try:
            head = await self._client.head(name)
        except CopyMissing:
            raise StoreUnavailable(self.name, "acknowledged a copy that is not there") from None
        if head.size_bytes != size_bytes or (digest is not None and head.digest != digest.hex()):
            raise StoreUnavailable(self.name, "acknowledged a copy and has another one")

    async def _already_there(self, name: str, reader: SourceReader) -> bytes:
        """Compare a large source with what lies under its key. raises: CopyDiffers"""
        left = reader.source.size_bytes
        while left:
            left -= len((await reader.read(min(left, self.settings.part_bytes))).content)
        digest = await reader.finish()
        await self._same(name, reader.source.size_bytes, digest)
        return digest

    async def _same(self, name: str, size_bytes: int, digest: bytes, md5: bytes = b"") -> None:
        """raises: CopyDiffers"""
        head = await self._client.head(name)
        same = head.size_bytes == size_bytes
        if same and head.digest:
            same = head.digest == digest.hex() and (not head.md5 or not md5 or head.md5 == md5.hex())
        elif same:
            same = await self._read_back(name.removeprefix(self.settings.prefix)) == (size_bytes, digest)
        if not same:
            raise CopyDiffers(self.name, f"other bytes are stored as {name}")

    async def _read_back(self, key: str) -> tuple[int, bytes]:
        """Size and digest of what lies there. raises: CopyMissing"""
        digest, size_bytes = xxh3_128(), 0
        async with self.get(key) as pieces:
            async for piece in pieces:
                digest.update(piece)
                size_bytes += len(piece)
        return size_bytes, digest.digest()
