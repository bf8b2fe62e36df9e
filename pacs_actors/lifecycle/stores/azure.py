"""A tier store in a container of Azure Blob Storage.

Copies are block blobs: up to one part in one request, larger ones in blocks of which a few are on their way at a time, made a
blob by one last request. Reading and memory are as with S3. Blocks that never become a blob are seen by nobody, and the
service drops them after a week.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Final

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores import copy_keys
from pacs_actors.lifecycle.stores.azure_client import AzureClient
from pacs_actors.lifecycle.stores.azure_failures import BlocksGone
from pacs_actors.lifecycle.stores.errors import CopyMissing, StoreUnavailable
from pacs_actors.lifecycle.stores.interface import PAGE_KEYS
from pacs_actors.lifecycle.stores.remote import PreconditionFailed
from pacs_actors.lifecycle.stores.remote_store import RemoteStore
from pacs_actors.lifecycle.stores.sources import Block, SourceReader

_MOST_BLOCKS: Final = 50_000


class AzureStore(RemoteStore[AzureClient]):
    """See ``interface.TierStore``. settings: of kind azure"""

    def __init__(self, name: str, settings: LifecycleStoreSettings) -> None:
        super().__init__(name, settings, AzureClient(name, settings))

    async def keys(self, after: str = "") -> AsyncIterator[list[str]]:
        prefix = self.settings.prefix
        start, at = (self._object_name(after) if after else ""), ""
        while True:
            page = await self._client.listing(prefix, start, at, PAGE_KEYS)
            ours = [name.removeprefix(prefix) for name in page.names if name > start]
            if found := [key for key in ours if copy_keys.is_copy_key(key)]:
                yield found
            if not page.after:
                return
            if page.after == at:
                raise StoreUnavailable(self.name, "lists the same names again", retry=False)
            at = page.after

    async def sweep(self, older_than_s: float) -> int:
        """Nothing: the service drops blocks itself, and to drop them sooner an empty blob would have to take their place."""
        return 0

    async def _put_whole(self, name: str, reader: SourceReader) -> bytes:
        async with self._parts:
            block = await reader.read(reader.source.size_bytes)
            digest = await reader.finish()
            try:
                told = await self._client.put(name, block, digest)
            except PreconditionFailed:
                await self._same(name, len(block.content), digest, block.md5)
                return digest
        if told not in ("", block.md5.hex()):
            await self._client.remove([name])
            raise StoreUnavailable(self.name, "acknowledged other bytes than were sent")
        await self._confirmed(name, len(block.content), digest)
        return digest

    async def _put_parts(self, name: str, reader: SourceReader) -> bytes:
        source = reader.source
        expected = await self._digest_before(source)
        # Of its own for each put: two that write the same key at once must not mix their blocks.
        ours = secrets.token_hex(8)

        async def send(number: int, block: Block) -> str:
            block_id = f"{ours}{number:08d}"
            await self._client.put_block(name, block_id, block)
            return block_id

        block_ids, digest = await self._send_parts(reader, _MOST_BLOCKS, send)
        if expected is not None and digest != expected:
            raise StoreUnavailable(self.name, "the source changed while it was read", retry=False)
        try:
            await self._client.commit(name, block_ids, digest)
        except PreconditionFailed:
            # The answer to an earlier attempt was lost, or another writer was quicker.
            await self._same(name, source.size_bytes, digest)
        except BlocksGone:
            try:
                await self._same(name, source.size_bytes, digest)
            except CopyMissing:
                raise StoreUnavailable(self.name, "dropped blocks before they became a blob") from None
        await self._confirmed(name, source.size_bytes, digest)
        return digest
