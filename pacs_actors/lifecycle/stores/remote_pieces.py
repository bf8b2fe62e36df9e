"""Reading a copy from a remote store: windows of one part, the next one asked for while one is handed on."""

from __future__ import annotations

from typing import Final

from pacs_actors.lifecycle.stores.asyncio_thread import Pending
from pacs_actors.lifecycle.stores.errors import StoreUnavailable
from pacs_actors.lifecycle.stores.interface import PIECE_BYTES
from pacs_actors.lifecycle.stores.remote import PreconditionFailed, RangeBeyondEnd, RemoteClient, Window

_FIRST_WINDOW_BYTES: Final = 2 * 1024 * 1024
"""The first one is smaller: most objects fit, and of others the first bytes come sooner."""


class RemotePieces:
    """See ``interface.Pieces``. name: of the object; offset, length: which part of it, None to the end"""

    def __init__(self, client: RemoteClient, name: str, offset: int, length: int | None) -> None:
        self.size_bytes = 0
        self._client, self._name = client, name
        self._asked = self._given = offset
        self._end = None if length is None else offset + length
        self._etag = ""
        self._content = memoryview(b"")
        self._next: Pending[Window] | None = None

    async def open(self) -> None:
        """Ask for the first window. raises: CopyMissing, StoreError"""
        if self._end == self._asked:
            self.size_bytes = (await self._client.head(self._name)).size_bytes
            return
        try:
            window = await self._client.window(self._name, self._asked, self._length(_FIRST_WINDOW_BYTES))
        except RangeBeyondEnd:
            self.size_bytes = (await self._client.head(self._name)).size_bytes
            if self._asked < self.size_bytes:
                raise StoreUnavailable(
                    self._client.store, "refuses a range that is there", retry=False
                ) from None
            self._end = self._asked
            return
        self.size_bytes, self._etag = window.size_bytes, window.etag
        self._end = window.size_bytes if self._end is None else min(self._end, window.size_bytes)
        self._take(window)

    def close(self) -> None:
        if self._next is not None:
            self._next.drop()

    def __aiter__(self) -> RemotePieces:
        return self

    async def __anext__(self) -> bytes:
        if not self._content:
            if self._end is None or self._given >= self._end:
                raise StopAsyncIteration
            self._take(await self._next_window())
        piece = bytes(self._content[:PIECE_BYTES])
        self._content = self._content[PIECE_BYTES:]
        self._given += len(piece)
        return piece

    def _take(self, window: Window) -> None:
        self._content = memoryview(window.content)
        self._asked += len(window.content)
        if self._end is not None and self._asked < self._end:
            self._next = self._client.prefetch(self._name, self._asked, self._length(), self._etag)

    async def _next_window(self) -> Window:
        pending, self._next = self._next, None
        try:
            if pending is not None:
                try:
                    return await self._client.prefetched(pending)
                except StoreUnavailable as failure:
                    if not failure.retry:
                        raise
            return await self._client.window(self._name, self._asked, self._length(), self._etag)
        except (PreconditionFailed, RangeBeyondEnd):
            raise StoreUnavailable(
                self._client.store, "a copy changed while it was read", retry=False
            ) from None

    def _length(self, most: int | None = None) -> int:
        most = self._client.settings.part_bytes if most is None else most
        return most if self._end is None else min(most, self._end - self._asked)
