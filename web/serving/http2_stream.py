"""One request on an HTTP/2 connection, and its answer, as ASGI has them.

The body waits here until the application takes it; only then may the client send more (flow control, RFC 9113 section 5.2). So
one upload that waits does not hold up the connection, and what may wait is bounded by the windows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import trio

from web.serving.exchange import BadAnswer

_CONNECTION_ONLY = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"proxy-connection"}
)


class Frames(Protocol):
    """What a stream needs of its connection. All of them do nothing when the stream is closed already."""

    def acknowledge(self, number: int, size_bytes: int) -> None: ...
    async def send_head(self, number: int, headers: list[tuple[bytes, bytes]], *, ends: bool) -> None: ...
    async def send_body(self, stream: Stream, data: bytes, *, ends: bool) -> None: ...


class Stream:
    """number: the stream's identifier. over: nothing more can be sent or received on it"""

    def __init__(self, number: int, scope: dict[str, Any], frames: Frames, date: Callable[[], bytes]) -> None:
        self.number, self.scope, self._frames, self._date = number, scope, frames, date
        self.life = trio.CancelScope()
        self.over = self.complete = False
        self.body_complete = False
        self._body, self._owed_bytes, self._told = bytearray(), 0, False
        self._news = trio.Event()
        self._status, self._headers = 0, list[tuple[bytes, bytes]]()
        self._head_sent = False

    # -- from the connection --------------------------------------------------------------------------------------------------
    def fed(self, data: bytes, flow_bytes: int) -> None:
        """flow_bytes: what it has taken of the window, padding included"""
        self._body += data
        self._owed_bytes += flow_bytes
        self.wake()

    def ended(self) -> None:
        self.body_complete = True
        self.wake()

    def gone(self) -> None:
        """The client has left or reset it."""
        self.over = True
        self.wake()

    def wake(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    async def news(self) -> None:
        """Until something has happened to this stream: its window, its body, its end."""
        await self._news.wait()

    # -- from the application -------------------------------------------------------------------------------------------------
    async def receive(self) -> dict[str, Any]:
        while not self.over and not self.complete:
            if self._body:
                body, self._body = bytes(self._body), bytearray()
                self.settle()
                self._told = self.body_complete
                return {"type": "http.request", "body": body, "more_body": not self.body_complete}
            if self.body_complete and not self._told:
                self._told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.news()
        return {"type": "http.disconnect"}

    def settle(self) -> None:
        """Let the client send as much again as has been taken."""
        owed, self._owed_bytes = self._owed_bytes, 0
        if owed:
            self._frames.acknowledge(self.number, owed)

    async def send(self, message: Any) -> None:
        """raises: BadAnswer"""
        kind = message["type"]
        if kind == "http.response.start" and not self._status:
            self._status, self._headers = message["status"], list(message.get("headers", ()))
        elif kind == "http.response.body" and self._status and not self.complete:
            await self._send_body(bytes(message.get("body", b"")), more=message.get("more_body", False))
        else:
            raise BadAnswer(f"unexpected {kind}")

    async def fail(self) -> None:
        """500, unless an answer has begun."""
        if not self._head_sent:
            self._status, self._headers = 500, [(b"content-length", b"0")]
            await self._send_body(b"", more=False)

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if self.over:
            await trio.lowlevel.checkpoint()
            return
        if self.scope["method"] == "HEAD" or self._status in (204, 304):
            body = b""
        if not self._head_sent:
            self._head_sent = True
            ends = not more and not body
            await self._frames.send_head(self.number, self._answer_head(), ends=ends)
            if ends:
                self.complete = True
        if not self.complete and (body or not more):
            await self._frames.send_body(self, body, ends=not more)
            self.complete = not more
        if self.complete:
            self.wake()

    def _answer_head(self) -> list[tuple[bytes, bytes]]:
        given = [(name.lower(), value) for name, value in self._headers]
        kept = [(name, value) for name, value in given if name not in _CONNECTION_ONLY]
        return [(b":status", b"%d" % self._status), *kept, (b"date", self._date())]
