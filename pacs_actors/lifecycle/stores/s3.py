"""A tier store in a bucket of an S3-compatible server.

Copies up to one part go in one request, larger ones in parts of which a few are on their way at a time; both are read in
windows of one part, the next one asked for while one is handed on. So memory is bounded by connections times part size for
what is put, and two windows for each copy that is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import trio

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores import copy_keys
from pacs_actors.lifecycle.stores.errors import StoreError, StoreUnavailable
from pacs_actors.lifecycle.stores.interface import PAGE_KEYS
from pacs_actors.lifecycle.stores.remote import PreconditionFailed
from pacs_actors.lifecycle.stores.remote_store import RemoteStore
from pacs_actors.lifecycle.stores.s3_client import S3Client, contradicts
from pacs_actors.lifecycle.stores.s3_failures import NoSuchUpload, NotImplementedThere
from pacs_actors.lifecycle.stores.sources import Block, SourceReader

_MOST_PARTS: Final = 10_000


class S3Store(RemoteStore[S3Client]):
    """See ``interface.TierStore``. settings: of kind s3"""

    def __init__(self, name: str, settings: LifecycleStoreSettings) -> None:
        super().__init__(name, settings, S3Client(name, settings))
        self._server_knows_only_new = True

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

    async def _put_parts(self, name: str, reader: SourceReader) -> bytes:
        source = reader.source
        digest = await self._digest_before(source)
        upload = await self._client.begin_upload(name, digest)
        try:

            async def send(number: int, block: Block) -> tuple[str, bytes]:
                return await self._client.put_part(name, upload, number + 1, block), block.md5

            blocks, found = await self._send_parts(reader, _MOST_PARTS, send)
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
