"""A tier store in a bucket of an S3-compatible server.

Copies up to one part go in one request, larger ones in parts of which a few are on their way at a time; both are read in
windows of one part, the next one asked for while one is handed on. So memory is bounded by connections times part size for
what is put, and two windows for each copy that is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final

import trio
from xxhash import xxh3_128

from config.stores import LifecycleStoreSettings
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.stores import copy_keys
from pacs_actors.lifecycle.stores.errors import (
    BadCopyKey,
    CopyDiffers,
    CopyMissing,
    StoreError,
    StoreUnavailable,
)
from pacs_actors.lifecycle.stores.interface import PAGE_KEYS, Source, StoredCopy
from pacs_actors.lifecycle.stores.s3_client import Head, S3Client, contradicts
from pacs_actors.lifecycle.stores.s3_failures import (
    NoSuchUpload,
    NotImplementedThere,
    PreconditionFailed,
)
from pacs_actors.lifecycle.stores.s3_pieces import S3Pieces
from pacs_actors.lifecycle.stores.sources import Block, SourceReader, digest_of
from pacs_actors.threads import NativePool
from protocols.errors import Misuse

_MOST_PARTS: Final = 10_000
_THREADS: Final = 2


class S3Store:
    """See ``interface.TierStore``. settings: of kind s3"""

    def __init__(self, name: str, settings: LifecycleStoreSettings) -> None:
        if settings.bucket is None:
            raise Misuse(f"store {name} has no bucket")
        self.name, self.settings = name, settings
        self._client = S3Client(name, settings)
        self._threads = NativePool(_THREADS, f"s3-{name}-source")
        self._parts = trio.Semaphore(settings.connections)
        self._server_knows_only_new = True

    async def __aenter__(self) -> S3Store:
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
        else:
            digest = await self._put_parts(name, reader)
        return StoredCopy(key=key, size_bytes=source.size_bytes, digest=digest)

    @asynccontextmanager
    async def get(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[S3Pieces]:
        if offset < 0 or (length is not None and length < 0):
            raise Misuse(f"{length} bytes from {offset} on")
        pieces = S3Pieces(self._client, self._object_name(key), offset, length)
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

    async def keys(self, after: str = "") -> AsyncIterator[list[str]]:
        prefix = self.settings.prefix
        at = self._object_name(after) if after else ""
        while True:
            page = await self._client.listing(prefix, at, PAGE_KEYS)
            ours = [name.removeprefix(prefix) for name in page.names]
            if found := [key for key in ours if copy_keys.is_copy_key(key)]:
                yield found
            if not page.after:
                return
            if page.after <= at:
                raise StoreUnavailable(self.name, "lists the same names again", retry=False)
            at = page.after

    async def sweep(self, older_than_s: float) -> int:
        """Multipart uploads that have not ended; at most a thousand at a time, which are the first in the order of keys."""
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        swept = 0
        for name, upload, begun in await self._client.uploads(self.settings.prefix):
            if begun < before and copy_keys.is_copy_key(name.removeprefix(self.settings.prefix)):
                with suppress(NoSuchUpload):
                    await self._client.abort_upload(name, upload)
                    swept += 1
        return swept

    async def free_bytes(self) -> int | None:
        return None

    async def _head(self, name: str) -> Head:
        """raises: CopyMissing"""
        try:
            return await self._client.head(name)
        except CopyMissing:
            # The answer to HEAD has no body to tell a missing object from a missing bucket: nothing is lost in that case.
            await self._client.window(name, 0, 1)
            return await self._client.head(name)

    def _object_name(self, key: str) -> str:
        if not copy_keys.is_copy_key(key):
            raise BadCopyKey(self.name, f"not a copy's key: {key[: copy_keys.MAX_KEY]!r}")
        return self.settings.prefix + key

    async def _put_whole(self, name: str, reader: SourceReader) -> bytes:
        async with self._parts:
            block = await reader.read(reader.source.size_bytes)
            digest = await reader.finish()
            try:
                etag = await self._put_new(name, block, digest)
            except PreconditionFailed:
                await self._same(name, len(block.content), digest, block.md5)
                return digest
        if contradicts(etag, block.md5.hex()):
            await self._client.remove([name])
            raise StoreUnavailable(self.name, "acknowledged other bytes than were sent")
        await self._confirmed(name, len(block.content), digest)
        return digest

    async def _put_new(self, name: str, block: Block, digest: bytes) -> str:
        if self._server_knows_only_new:
            try:
                return await self._client.put(name, block, digest, only_new=True)
            except NotImplementedThere:
                self._server_knows_only_new = False
        if await self._is_there(name):
            raise PreconditionFailed(self.name, "there is one")
        return await self._client.put(name, block, digest, only_new=False)

    async def _is_there(self, name: str) -> bool:
        try:
            await self._client.head(name)
        except CopyMissing:
            return False
        return True

    async def _put_parts(self, name: str, reader: SourceReader) -> bytes:
        source = reader.source
        digest = (
            await self._threads.run(digest_of, self.name, source)
            if isinstance(source, ObjectFile)
            else source.digest
        )
        if await self._is_there(name):
            return await self._already_there(name, reader)
        upload = await self._client.begin_upload(name, digest)
        try:
            blocks, found = await self._upload(name, upload, reader)
            if digest is not None and found != digest:
                raise StoreUnavailable(self.name, "the source changed while it was read", retry=False)
            await self._finish(name, upload, source.size_bytes, blocks)
        except BaseException:
            # Parts cost money and are not seen: not left behind if the server can be told in time, else swept one day.
            with trio.move_on_after(self.settings.request_timeout_s, shield=True), suppress(StoreError):
                await self._client.abort_upload(name, upload)
            raise
        await self._confirmed(name, source.size_bytes, digest)
        return found

    async def _upload(
        self, name: str, upload: str, reader: SourceReader
    ) -> tuple[list[tuple[str, bytes]], bytes]:
        """Send all parts, several at a time: (ETag, MD5) of each, and the digest of all."""
        size_bytes = reader.source.size_bytes
        part_bytes = max(self.settings.part_bytes, -(-size_bytes // _MOST_PARTS))
        offsets = range(0, size_bytes, part_bytes)
        sent: list[tuple[str, bytes]] = [("", b"")] * len(offsets)
        failure: Exception | None = None
        digest = b""

        async def send(number: int, block: Block) -> None:
            nonlocal failure
            try:
                sent[number] = (await self._client.put_part(name, upload, number + 1, block), block.md5)
            except Exception as error:
                failure = failure or error
                nursery.cancel_scope.cancel()
            finally:
                self._parts.release()

        async with trio.open_nursery() as nursery:
            try:
                for number, offset in enumerate(offsets):
                    await self._parts.acquire()
                    try:
                        block = await reader.read(min(part_bytes, size_bytes - offset))
                    except BaseException:
                        self._parts.release()
                        raise
                    nursery.start_soon(send, number, block)
                    del block  # or one more than there are connections would be held
                digest = await reader.finish()
            except Exception as error:
                failure = failure or error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return sent, digest

    async def _finish(self, name: str, upload: str, size_bytes: int, blocks: list[tuple[str, bytes]]) -> None:
        """End an upload whose parts are all there."""
        md5 = hashlib.md5(b"".join(md5 for _, md5 in blocks), usedforsecurity=False).hexdigest()
        expected = f"{md5}-{len(blocks)}"
        try:
            etag = await self._client.end_upload(name, upload, [etag for etag, _ in blocks])
        except NoSuchUpload:
            # The answer to an earlier attempt was lost, or the upload was swept.
            head = await self._client.head(name)
            if head.size_bytes != size_bytes:
                raise StoreUnavailable(self.name, "a multipart upload ended before we ended it") from None
            etag = head.etag
        if etag.endswith(f"-{len(blocks)}") and etag != expected and self.settings.encryption != "aws:kms":
            await self._client.remove([name])
            raise StoreUnavailable(self.name, "acknowledged other bytes than were sent")

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
            same = head.digest == digest.hex() and not (md5 and contradicts(head.etag, md5.hex()))
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
