"""One plain HTTP/1.1 request and its answer, for an ASGI application that runs in the connection's own task.

The application's ``receive`` reads from the wire itself, and a small answer is one send: no queue, no task, no copy of the
body between.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, cast

import trio

from web.http.answer import FILES
from web.serving.head import Head
from web.serving.life import Life
from web.serving.scope import scope_of
from web.serving.wire import RECEIVE_BYTES, Piece, Wire

BODY_BYTES: Final = 512 * 1024
_REASONS: Final = {
    each.value: b"HTTP/1.1 %d %s\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus
}
_FAILED: Final = (b"content-length", b"0")
_MOST_AHEAD: Final = RECEIVE_BYTES


class BadAnswer(Exception):
    """The application's answer cannot be told in HTTP: our bug."""


class Exchange:
    """ahead: what has been received behind the request's head, which ``left`` gives back as far as it is the next request's

    closes: whether the connection ends with this answer: the client wants it, the server drains, or a body was not wanted
    """

    def __init__(self, wire: Wire, life: Life, head: Head, ahead: bytes) -> None:
        self._wire, self._life = wire, life
        self.scope = scope_of(wire, "1.1", head.method, head.target, head.headers)
        if wire.sends_files:
            self.scope["extensions"][FILES] = {}
        self._is_head = head.method == b"HEAD"
        self._to_come, self._body_told = head.length_bytes, False
        self.left = ahead
        self.closes = not head.keep_alive
        self.broken = False
        self._status, self._headers = 0, list[tuple[bytes, bytes]]()
        self._head_sent = self.complete = False
        self._chunked, self._length = False, -1
        self._over = trio.Event()

    # -- the request's body ---------------------------------------------------------------------------------------------------
    async def receive(self) -> dict[str, Any]:
        """``http.request`` while there is a body, then ``http.disconnect`` when the client has left or been answered."""
        if self._to_come:
            data = self.left or await self._wire.receive(BODY_BYTES)
            if not data:
                self._left()
                return {"type": "http.disconnect"}
            body, self.left = data[: self._to_come], data[self._to_come :]
            self._to_come -= len(body)
            self._body_told = not self._to_come
            return {"type": "http.request", "body": body, "more_body": not self._body_told}
        if not self._body_told:
            self._body_told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._until_left()
        return {"type": "http.disconnect"}

    async def _until_left(self) -> None:
        while not self.complete and not self.broken:
            if len(self.left) >= _MOST_AHEAD:  # requests that come meanwhile wait in the kernel
                await self._over.wait()
                return
            data = await self._wire.receive(_MOST_AHEAD)
            if not data:
                self._left()
            self.left += data

    def _left(self) -> None:
        self.broken = True
        self._life.peer_left()

    # -- the answer -----------------------------------------------------------------------------------------------------------
    async def send(self, message: Any) -> None:
        """raises: BadAnswer"""
        kind = message["type"]
        if kind == "http.response.start" and not self._status:
            self._status, self._headers = message["status"], list(message.get("headers", ()))
        elif kind == "http.response.body" and self._status and not self.complete:
            await self._send_body(message)
        else:
            raise BadAnswer(f"unexpected {kind}")

    async def fail(self) -> None:
        """500, unless an answer has begun."""
        if not self._head_sent:
            self._status, self._headers = 500, [_FAILED]
            await self._send_body({})

    async def _send_body(self, message: Any) -> None:
        more = message.get("more_body", False)
        pieces: tuple[Piece, ...] = message[FILES] if FILES in message else (bytes(message.get("body", b"")),)
        size = sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)
        bodiless = self._is_head or self._status in (204, 304)
        made: list[Piece] = []
        if not self._head_sent:
            made.append(self._answer_head(None if more else size, bodiless=bodiless))
        if not bodiless:
            made += self._framed(pieces, size, more=more)
        self._head_sent, self.complete = True, not more
        if self.complete:
            self._over.set()
        if FILES not in message:
            made = [b"".join(cast(list[bytes], made))]
        if not await self._wire.send(*made):
            self.broken = True
            self._life.scope.cancel()  # nobody is left to make an answer for

    def _framed(self, pieces: tuple[Piece, ...], size: int, *, more: bool) -> list[Piece]:
        if not self._chunked:
            self._length -= size
            if self._length < 0 or (self._length and not more):
                self.broken = True
                raise BadAnswer("the body is not as long as its header says")
            return [*pieces] if size else []
        end = b"" if more else b"0\r\n\r\n"
        return [b"%x\r\n" % size, *pieces, b"\r\n" + end] if size else [end]

    def _answer_head(self, size: int | None, *, bodiless: bool) -> bytes:
        """size: of the whole body if that is known. raises: BadAnswer"""
        lines = [_REASONS.get(self._status) or b"HTTP/1.1 %d \r\n" % self._status]
        given = None
        for name, value in self._headers:
            lines.append(b"%s: %s\r\n" % (name, value))
            if name == b"content-length":
                given = value
            elif name == b"connection" and value.lower() == b"close":
                self.closes = True
        if given is not None:
            self._length = int(given)
        elif not bodiless:
            self._chunked = size is None
            if size is not None:
                self._length = size
                lines.append(b"content-length: %d\r\n" % size)
            else:
                lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"date: %s\r\n" % http_date())
        if self.closes or self._to_come or self._life.draining:
            self.closes = True
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise BadAnswer("a header has a line break in it")
        return head + b"\r\n"


class _Clock:
    """The Date header's value, made once a second."""

    def __init__(self) -> None:
        self._second, self._value = 0, b""

    def __call__(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second, self._value = now, formatdate(now, usegmt=True).encode()
        return self._value


http_date: Final = _Clock()
