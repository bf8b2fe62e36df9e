"""HTTP/1.1 on one wire: plain requests are served here and now, all others by ``Fallback``, on the same connection."""

from __future__ import annotations

from typing import Any, Final, cast

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState

from pacs_actors.operations import logs
from web.http.loggable import loggable
from web.serving.exchange import Exchange
from web.serving.fallback import Fallback
from web.serving.head import MOST_BYTES, Head, has_doubtful_line, read_head
from web.serving.life import LINGER_S, Life
from web.serving.wire import Wire

# What a websocket client may send: pongs and a close, later small requests. More is an attack.
_WEBSOCKET_BURST_BYTES: Final = 16384
_WEBSOCKET_BYTES_S: Final = 1024
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Http1:
    def __init__(
        self,
        app: ASGIFramework,
        wrapped: AppWrapper,
        config: Config,
        context: WorkerContext,
        wire: Wire,
        life: Life,
        tasks: TaskGroup,
    ) -> None:
        self._app, self._wire, self._life = app, wire, life
        secure = wire.scheme == "https"
        self._fallback = Fallback(
            wrapped, config, context, tasks, ConnectionState({}), secure, wire.client, wire.server, self._send_event
        )  # fmt: skip
        self._begun = b""  # of a head that is not complete
        self._receiving, self._ended = trio.CancelScope(), False
        self._websocket_since: float | None = None
        self._websocket_bytes = 0

    async def run(self) -> None:
        """Returns when the client has left, or nothing more is to be said."""
        with self._receiving:
            while data := await self._wire.receive():
                if not self._within_allowance(len(data)):
                    self._wire.abort()
                    return
                if not self._ended:
                    await self._serve(data)
        if not self._ended:
            await self._fallback.handle(RawData(b""))
        self._life.peer_left()
        await self._fallback.handle(Closed())

    async def close(self) -> None:
        """End it: there is no request under way."""
        await self._fallback.handle(Closed())
        await self._wire.finish()
        self._wire.abort()

    async def _serve(self, data: bytes) -> None:
        while data and not self._ended:
            if not self._fallback.at_rest:
                await self._fallback.handle(RawData(data))
                return
            data, self._begun = self._begun + data, b""
            end = data.find(b"\r\n\r\n")
            if has_doubtful_line(data, end if end >= 0 else MOST_BYTES):
                await self._wire.send(_BAD_REQUEST)
                await self._end_sending()
                return
            if end < 0 and len(data) <= MOST_BYTES:
                self._begun = data
                return
            head = read_head(data)
            if head is None:
                await self._fallback.handle(RawData(data))
                return
            data = await self._exchange(head, data[head.size_bytes :])

    async def _exchange(self, head: Head, ahead: bytes) -> bytes:
        """Serve one request; what has come behind it."""
        self._life.begin()
        exchange = Exchange(self._wire, self._life, head, ahead)
        try:
            await self._app(cast(Any, exchange.scope), cast(Any, exchange.receive), exchange.send)
        except Exception as crash:
            logs.error("application_crashed", crash, path=loggable(exchange.scope["path"]))
        if not exchange.complete and not exchange.broken:
            await exchange.fail()
        if not exchange.complete or exchange.broken:
            self._wire.abort()
            return b""
        self._life.end()
        if exchange.closes or self._life.draining:
            await self._end_sending()
            return b""
        return exchange.left

    def _within_allowance(self, received_bytes: int) -> bool:
        if not self._fallback.is_websocket:
            return True
        now = trio.current_time()
        if self._websocket_since is None:
            self._websocket_since = now
        self._websocket_bytes += received_bytes
        allowed = _WEBSOCKET_BURST_BYTES + _WEBSOCKET_BYTES_S * (now - self._websocket_since)
        return self._websocket_bytes <= allowed

    async def _send_event(self, event: Event) -> None:
        """What hypercorn's protocol has for us: bytes, the end, or whether a request is under way."""
        if isinstance(event, RawData):
            if event.data and not await self._wire.send(event.data):
                await self._fallback.handle(Closed())
        elif isinstance(event, Closed):
            await self._end_sending()
            await self._fallback.handle(Closed())
        elif isinstance(event, Updated):
            self._life.end() if event.idle else self._life.begin()

    async def _end_sending(self) -> None:
        """Say that no more comes, and read on a while: closing on unread bytes revokes our answer."""
        self._ended = True
        self._receiving.deadline = min(self._receiving.deadline, trio.current_time() + LINGER_S)
        await self._wire.finish()
