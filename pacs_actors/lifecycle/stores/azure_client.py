"""One container of Azure Blob Storage, a method a request. Trio on the outside; azure-storage-blob on a thread of its own.

What the service acknowledges is held against what was sent: it is given the MD5 of each body (RFC 1864), and what it tells of
that in return must be the same.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.storage.blob import BlobBlock, ContentSettings, StandardBlobTier
from azure.storage.blob.aio import ContainerClient
from msgspec import Struct

from config.stores import LifecycleStoreSettings, is_shared_access
from pacs_actors.lifecycle.stores.azure_failures import translated
from pacs_actors.lifecycle.stores.errors import CopyMissing, StoreError, StoreUnavailable
from pacs_actors.lifecycle.stores.remote import Head, RemoteClient, Window
from pacs_actors.lifecycle.stores.sources import Block

_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_DIGEST: Final = "xxh3_128"  # a C# identifier, as names of metadata must be
_OCTETS: Final = "application/octet-stream"


class Page(Struct, frozen=True):
    """after: where the service goes on; empty if there is no more"""

    names: list[str]
    after: str


class AzureClient(RemoteClient):
    """See ``remote.RemoteClient``."""

    def __init__(self, store: str, settings: LifecycleStoreSettings) -> None:
        super().__init__(store, settings)
        self._container: Any = None
        self._tier = StandardBlobTier(settings.storage_class) if settings.storage_class else None

    async def put(self, name: str, block: Block, digest: bytes) -> str:
        """Store a blob in one request; the MD5 that the service tells of it, hexadecimal, or empty.

        raises: PreconditionFailed if there is one
        """

        async def unit() -> str:
            told: list[Any] = []
            await self._container.upload_blob(
                name,
                block.content,
                length=len(block.content),
                overwrite=False,
                headers={"Content-MD5": b64encode(block.md5).decode()},
                content_settings=ContentSettings(content_type=_OCTETS, content_md5=bytearray(block.md5)),
                metadata={_DIGEST: digest.hex()},
                standard_blob_tier=self._tier,
                raw_response_hook=told.append,
            )
            return _md5_told(told)

        return await self._ask(unit)

    async def put_block(self, name: str, block_id: str, block: Block) -> None:
        """A part of a blob to be. The service drops it when nobody makes a blob of it for a week."""

        async def unit() -> None:
            told: list[Any] = []
            await self._container.get_blob_client(name).stage_block(
                block_id,
                block.content,
                length=len(block.content),
                headers={"Content-MD5": b64encode(block.md5).decode()},
                raw_response_hook=told.append,
            )
            if _md5_told(told) not in ("", block.md5.hex()):
                raise StoreUnavailable(self.store, "acknowledged other bytes than were sent")

        await self._ask(unit)

    async def commit(self, name: str, block_ids: list[str], digest: bytes) -> None:
        """Make a blob of blocks. raises: PreconditionFailed if there is one, BlocksGone"""

        async def unit() -> None:
            await self._container.get_blob_client(name).commit_block_list(
                [BlobBlock(each) for each in block_ids],
                content_settings=ContentSettings(content_type=_OCTETS),
                metadata={_DIGEST: digest.hex()},
                standard_blob_tier=self._tier,
                match_condition=MatchConditions.IfMissing,
            )

        await self._ask(unit)

    async def head(self, name: str) -> Head:
        async def unit() -> Head:
            found = await self._container.get_blob_client(name).get_blob_properties()
            md5 = found.content_settings.content_md5
            return Head(
                size_bytes=int(found.size),
                etag=str(found.etag),
                digest=str((found.metadata or {}).get(_DIGEST, "")),
                md5=bytes(md5).hex() if md5 else "",
            )

        async with self._readers:
            return await self._ask(unit)

    async def listing(self, prefix: str, start: str, after: str, most: int) -> Page:
        """Names that begin with ``prefix``, ascending.

        start:  from this one on; a service that does not know that begins at the first
        after:  of the page before, or empty
        """

        async def unit() -> Page:
            pages = self._container.list_blob_names(
                name_starts_with=prefix or None,
                results_per_page=most,
                **({"start_from": start} if start else {}),
            ).by_page(after or None)
            names = [str(name) async for name in await anext(pages)]
            return Page(names=names, after=pages.continuation_token or "")

        async with self._readers:
            return await self._ask(unit)

    async def remove(self, names: list[str]) -> None:
        at_once = self.settings.connections
        for start in range(0, len(names), at_once):
            await self._remove_some(names[start : start + at_once])

    async def _remove_some(self, names: list[str]) -> None:
        async def unit() -> None:
            ended = await asyncio.gather(*(self._remove_one(name) for name in names), return_exceptions=True)
            for failure in ended:
                if failure is not None:
                    raise failure

        await self._ask(unit)

    def _failure(self, error: Exception) -> StoreError | None:
        return translated(self.store, error)

    # On the asyncio thread.

    async def _connect(self) -> None:
        settings = self.settings
        account, secret = settings.access_key, settings.secret_key or ""
        made = ContainerClient(
            settings.endpoint or f"https://{account}.blob.core.windows.net",
            settings.bucket or "",
            AzureSasCredential(secret.removeprefix("?"))
            if is_shared_access(secret)
            else AzureNamedKeyCredential(account or "", secret),
            # We ask again ourselves: with our deadlines, and one part at a time.
            retry_total=0,
            connection_timeout=settings.request_timeout_s,
            read_timeout=settings.request_timeout_s,
            connection_verify=settings.ca or True,
            max_single_put_size=settings.part_bytes,
            max_single_get_size=settings.part_bytes,
            max_chunk_get_size=settings.part_bytes,
        )
        self._container = await self._held.enter_async_context(made)

    async def _remove_one(self, name: str) -> None:
        try:
            await self._container.delete_blob(name, delete_snapshots="include")
        except Exception as error:
            if not isinstance(translated(self.store, error), CopyMissing):
                raise

    def _window_unit(self, name: str, offset: int, length: int, etag: str) -> Callable[[], Awaitable[Window]]:
        async def unit() -> Window:
            told: list[Any] = []
            asked = 0

            def once(_: object) -> None:
                # The library would ask again when a body is cut off, whatever its settings say.
                nonlocal asked
                asked += 1
                if asked > 1:
                    raise StoreUnavailable(self.store, "an answer was cut off")

            got = await self._container.download_blob(
                name,
                offset=offset,
                length=length,
                max_concurrency=1,
                raw_request_hook=once,
                raw_response_hook=told.append,
                **({"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}),
            )
            headers = told[-1].http_response.headers
            match = _RANGE.fullmatch(str(headers.get("Content-Range", "")))
            first, last, size_bytes = (int(number) for number in match.groups()) if match else (0, 0, -1)
            if first != offset or last != min(offset + length, size_bytes) - 1:
                raise StoreUnavailable(self.store, "answered another range than was asked for", retry=False)
            content: bytes = await got.readall()
            if len(content) != min(length, size_bytes - offset):
                raise StoreUnavailable(self.store, "an answer was cut off")
            return Window(content=content, size_bytes=size_bytes, etag=str(headers.get("ETag", "")))

        return unit


def _md5_told(told: list[Any]) -> str:
    """Hexadecimal; empty if the last answer has none."""
    return b64decode(str(told[-1].http_response.headers.get("Content-MD5", ""))).hex()
