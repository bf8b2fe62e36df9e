"""A proxy in front of a real S3 server that does to some requests what networks and overloaded servers do.

It forwards a request at a time, on a connection of its own each, byte by byte as it came, so that signatures hold.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import trio

Fault = Literal[
    "500", "503", "hang", "cut", "lost", "unanswered", "damaged request", "damaged answer", "refuse"
]
"""cut:         half of the answer's body, then the connection ends
hang:        nothing comes back
lost:        a PUT is answered as if it had been stored, and is not
unanswered:  the server does it, and the connection ends before the answer
damaged:     one byte of the body is another one, on the way there or back
refuse:      the connection ends before anything is forwarded
"""
Plan = Callable[[str, str], Fault | None]
"""``plan(method, target)`` for each request, in the order they come."""


class Misbehaving:
    """port: of the proxy; seen: what was asked, as "METHOD target" """

    def __init__(self, server_port: int) -> None:
        self.server_port, self.port = server_port, 0
        self.seen: list[str] = []
        self.plan: Plan = lambda method, target: None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def times(self, fault: Fault, number: int, pattern: str) -> None:
        """Do this to the first requests that match, and nothing to the others."""
        left = number

        def plan(method: str, target: str) -> Fault | None:
            nonlocal left
            if left and re.search(pattern, f"{method} {target}"):
                left -= 1
                return fault
            return None

        self.plan = plan

    def always(self, fault: Fault, pattern: str = "") -> None:
        self.times(fault, 10**9, pattern)

    def asked(self, pattern: str) -> int:
        return sum(re.search(pattern, each) is not None for each in self.seen)

    async def serve(self, client: trio.SocketStream) -> None:
        with_rest = bytearray()
        try:
            while (head := await _head(client, with_rest)) is not None:
                method, target, length = _parsed(head)
                if b"100-continue" in head.lower():
                    await client.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await _exactly(client, with_rest, length)
                self.seen.append(f"{method} {target}")
                fault = self.plan(method, target)
                if not await self._answer(client, head, body, fault):
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            pass
        finally:
            await trio.aclose_forcefully(client)

    async def _answer(self, client: trio.SocketStream, head: bytes, body: bytes, fault: Fault | None) -> bool:
        """Whether the connection goes on."""
        if fault in ("500", "503"):
            code = {"500": "InternalError", "503": "SlowDown"}[fault]
            answer = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            await client.send_all(
                f"HTTP/1.1 {fault} No\r\nContent-Type: application/xml\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
                + (b"" if head.startswith(b"HEAD") else answer)
            )
            return True
        if fault == "hang":
            await trio.sleep_forever()
        if fault == "refuse":
            return False
        if fault == "lost":
            await client.send_all(
                b'HTTP/1.1 200 OK\r\nETag: "' + _md5_of(head) + b'"\r\nContent-Length: 0\r\n\r\n'
            )
            return True
        if fault == "damaged request":
            body = _damaged(body)
        answer = await self._forward(head, body)
        start = answer.index(b"\r\n\r\n") + 4
        if fault == "unanswered":
            return False
        if fault == "cut":
            answer = answer[: start + (len(answer) - start) // 2]
        if fault == "damaged answer":
            answer = answer[:start] + _damaged(answer[start:])
        await client.send_all(answer)
        return False  # as was said to the server and to the client

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        server = await trio.open_tcp_stream("127.0.0.1", self.server_port)
        async with server:
            lines = [
                line
                for line in head.split(b"\r\n")
                if not line.lower().startswith((b"expect:", b"connection:"))
            ]
            await server.send_all(b"\r\n".join([*lines[:-2], b"Connection: close", b"", b""]) + body)
            return b"".join([piece async for piece in server])


@asynccontextmanager
async def misbehaving(server_port: int) -> AsyncIterator[Misbehaving]:
    proxy = Misbehaving(server_port)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        proxy.port = listener.socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()


async def _head(client: trio.SocketStream, rest: bytearray) -> bytes | None:
    while (end := rest.find(b"\r\n\r\n")) < 0:
        more = await client.receive_some(65536)
        if not more:
            return None
        rest += more
    head = bytes(rest[: end + 4])
    del rest[: end + 4]
    return head


async def _exactly(client: trio.SocketStream, rest: bytearray, length: int) -> bytes:
    while len(rest) < length:
        more = await client.receive_some(1024 * 1024)
        if not more:
            raise EOFError
        rest += more
    body = bytes(rest[:length])
    del rest[:length]
    return body


def _parsed(head: bytes) -> tuple[str, str, int]:
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
    return method, target, int(length[1]) if length else 0


def _md5_of(head: bytes) -> bytes:
    from base64 import b64decode

    found = re.search(rb"\r\ncontent-md5: *(\S+)", head, re.I)
    return b64decode(found[1]).hex().encode() if found else b""


def _damaged(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body
