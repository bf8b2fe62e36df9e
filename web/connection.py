"""One HTTP connection: hypercorn's HTTP/1.1 and websocket protocol over a socket that never waits for ever.

hypercorn's own TCP server sends under a shield without a deadline, so one client that stops reading would
hold up the shutdown of a worker. Here a send that makes no progress within the deadline closes that
connection, and ``abort`` ends any. HTTP/2 over plain TCP is not offered, and websockets are never
compressed: that would cost memory and time per client, and an inflated message could not be bounded before
it is inflated.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIReceiveCallable, ASGISendCallable, ConnectionState, Scope
from hypercorn.utils import parse_socket_addr

from pacs_actors.operations import logs
from web.http.answer import FILES, FilePart

_RECEIVE_BYTES: Final = 65536
_SEND_BUFFER_BYTES: Final = 1024 * 1024
# What a websocket client may send: pongs and a close, later small requests. More is an attack.
_WEBSOCKET_BURST_BYTES: Final = 16384
_WEBSOCKET_BYTES_S: Final = 1024
_LINGER_S: Final = 1.0
_AFTERLIFE_S: Final = 5.0


@dataclass(frozen=True)
class RawPieces(Event):
    """Bytes, and parts of files, to send right behind each other."""

    pieces: tuple[bytes | FilePart, ...]


class _Sized:
    """A part of a file where h11 wants to know no more than how long it is."""

    def __init__(self, part: FilePart) -> None:
        self.part = part

    def __len__(self) -> int:
        return self.part.length


class Http1(H11Protocol):
    """HTTP/1.1 and websockets, without upgrades to HTTP/2 and without compressed websockets.

    The head of a response waits for what follows it, so that a small answer is one send and one packet.
    """

    _head = b""

    @property
    def is_websocket(self) -> bool:
        return isinstance(self.stream, WSStream)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Take every request as HTTP/1.1, as RFC 9110 section 7.8 allows."""

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response) and event.status_code >= 200:
            headers = [*event.headers, *self.config.response_headers("h11")]
            if self.keep_alive_requests >= self.config.keep_alive_max_requests:
                headers.append((b"connection", b"close"))
            self._head = self._made(h11.Response(headers=headers, status_code=event.status_code))
        elif isinstance(event, Body):
            await self._send_with_head(self._made(h11.Data(data=event.data)))
        elif isinstance(event, EndBody):
            await self._send_with_head(self._made(h11.EndOfMessage()))
        else:
            await super().stream_send(event)

    def _made(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
        """An event as bytes; none to a client that has broken the protocol meanwhile."""
        try:
            made: bytes = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return b""
        return made

    async def send_pieces(self, pieces: Iterable[bytes | FilePart]) -> None:
        """Some more of a response's body."""
        made: list[bytes | FilePart] = []
        for piece in pieces:
            data: Any = piece if isinstance(piece, bytes) else _Sized(piece)
            try:
                written = cast(h11.Connection, self.connection).send_with_data_passthrough(
                    h11.Data(data=data)
                )
            except h11.LocalProtocolError:
                if self.connection.their_state != h11.ERROR:
                    raise
                return
            made += [each.part if isinstance(each, _Sized) else each for each in written or ()]
        head, self._head = self._head, b""
        await self.send(RawPieces((head, *made) if head else tuple(made)))

    async def _send_with_head(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if pieces := tuple(piece for piece in (head, data) if piece):
            await self.send(RawPieces(pieces))

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                headers=headers,
                target=request.target,
                http_version=request.http_version,
            )
        )


class Connection:
    """Serves one accepted stream until it is closed.

    write_deadline_s:  longest time in which the peer may read nothing while we have something to send
    """

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        write_deadline_s: float,
    ) -> None:
        self._app, self._config, self._context = app, config, context
        self._stream, self._write_deadline_s = stream, write_deadline_s
        self._sending = trio.Lock()
        self._idle, self._patience, self._idle_watch = True, trio.CancelScope(), trio.CancelScope()
        self._life, self._receiving = trio.CancelScope(), trio.CancelScope()
        self._ended = False
        self._websocket_since: float | None = None
        self._websocket_bytes = 0

    async def run(self) -> None:
        """Returns when the connection is closed; the peer's misbehaviour is not an error."""
        sock = self._stream.socket
        try:
            # A peer that has vanished acknowledges nothing, yet small writes fit the kernel's buffer for
            # long.
            patience_ms = int(self._write_deadline_s * 1000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)
            # The kernel would begin with less than an image, and each time that it is full costs a wait.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            with self._life:
                await self._serve(client, server)
        except OSError:
            pass
        finally:
            self.abort()

    async def _serve(self, client: tuple[str, int] | None, server: tuple[str, int] | None) -> None:
        async with TaskGroup() as self._tasks:
            self._protocol = Http1(
                cast(AppWrapper, self._serve_app),
                self._config,
                self._context,
                self._tasks,
                ConnectionState({}),
                False,
                client,
                server,
                self._send_event,
            )
            self._set_idle(True)
            self._tasks.spawn(self._end_when_idle)
            with self._receiving:
                await self._receive()
            # An application that neither listens nor ends although its client has left is cancelled.
            self._life.deadline = trio.current_time() + _AFTERLIFE_S
            await self._protocol.handle(Closed())
            self._idle_watch.cancel()

    def abort(self) -> None:
        """Close at once. Whoever sends or receives on it wakes up."""
        self._stream.socket.close()

    async def _receive(self) -> None:
        while True:
            try:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            if not self._within_allowance(len(data)):
                self.abort()
                break
            if not self._ended:
                await self._protocol.handle(RawData(bytes(data)))
            if not data:
                break

    def _within_allowance(self, received_bytes: int) -> bool:
        if not self._protocol.is_websocket:
            return True
        now = trio.current_time()
        if self._websocket_since is None:
            self._websocket_since = now
        self._websocket_bytes += received_bytes
        allowed = _WEBSOCKET_BURST_BYTES + _WEBSOCKET_BYTES_S * (now - self._websocket_since)
        return self._websocket_bytes <= allowed

    async def _send_event(self, event: Event) -> None:
        """What hypercorn's protocol has for us: bytes, the end, or whether a request is under way."""
        if isinstance(event, RawPieces):
            await self._send(*event.pieces)
        elif isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            self._end_sending()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated):
            self._set_idle(event.idle)

    async def _serve_app(
        self, scope: Scope, receive: ASGIReceiveCallable, send: Any, *others: Callable[..., Any]
    ) -> None:
        """The application, which is offered to send parts of files."""
        if scope["type"] == "http":
            scope["extensions"][FILES] = {}
            send = partial(self._send_message, send)
        await self._app(scope, receive, send, *others)

    async def _send_message(self, send: ASGISendCallable, message: Any) -> None:
        if FILES not in message:
            await send(message)
        elif self._protocol.stream is not None:  # the client is still there
            await self._protocol.send_pieces(message[FILES])

    async def _send(self, *pieces: bytes | FilePart) -> None:
        """Send all of it, or close the connection: half a frame must never be followed by another."""
        complete = False
        with trio.CancelScope(shield=True) as scope:
            async with self._sending:
                with contextlib.suppress(OSError, trio.ClosedResourceError):
                    await self._send_each(pieces, scope)
                    complete = True
                    scope.deadline = float("inf")
        if not complete:
            self.abort()
            await self._protocol.handle(Closed())

    async def _send_each(self, pieces: Iterable[bytes | FilePart], scope: trio.CancelScope) -> None:
        """raises: OSError, trio.ClosedResourceError"""
        memory: list[memoryview] = []
        for piece in pieces:
            if isinstance(piece, bytes):
                memory.append(memoryview(piece))
            else:
                await self._send_memory(memory, scope, socket.MSG_MORE)
                memory = []
                await self._send_file(piece, scope)
        await self._send_memory(memory, scope)

    async def _send_memory(self, left: list[memoryview], scope: trio.CancelScope, flags: int = 0) -> None:
        sock = self._stream.socket
        while left:
            scope.deadline = trio.current_time() + self._write_deadline_s
            single = len(left) == 1
            left = _behind(
                left, await (sock.send(left[0], flags) if single else sock.sendmsg(left, [], flags))
            )

    async def _send_file(self, part: FilePart, scope: trio.CancelScope) -> None:
        """From the kernel's memory to the socket."""
        sock, at, end = self._stream.socket, part.offset, part.offset + part.length
        scope.deadline = trio.current_time() + self._write_deadline_s
        await trio.lowlevel.checkpoint()
        while at < end:
            try:
                sent = os.sendfile(sock.fileno(), part.fd, at, end - at)
            except BlockingIOError:
                # The kernel keeps back what does not fill a segment, for more is to come: without this it waits 0.2 s.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await trio.lowlevel.wait_writable(sock)
                continue
            if not sent:
                logs.error("object_short", missing_bytes=end - at)
                raise OSError("the file ends before it should")
            at += sent
            scope.deadline = trio.current_time() + self._write_deadline_s

    def _end_sending(self) -> None:
        """Say that no more comes, and read on a while: closing on unread bytes revokes our answer."""
        self._ended = True
        self._receiving.deadline = min(self._receiving.deadline, trio.current_time() + _LINGER_S)
        with contextlib.suppress(OSError):  # they are gone already
            self._stream.socket.shutdown(socket.SHUT_WR)

    def _set_idle(self, idle: bool) -> None:
        self._idle = idle
        patience_s = self._config.keep_alive_timeout if idle else float("inf")
        self._patience.deadline = trio.current_time() + patience_s

    async def _end_when_idle(self) -> None:
        """Also bounds how long a client may take over the head of a request."""
        with self._idle_watch:
            while True:
                # Every request moves its deadline. It may run out just when a request comes: then there is another.
                with self._patience:
                    await self._context.terminated.wait()
                if self._idle:
                    with trio.CancelScope(shield=True):
                        await self._protocol.handle(Closed())
                        self.abort()
                    return
                if self._context.terminated.is_set():
                    return  # the request that is under way is the last
                self._patience = trio.CancelScope()


def _behind(pieces: list[memoryview], sent: int) -> list[memoryview]:
    """What is left when so many bytes have gone."""
    for number, piece in enumerate(pieces):
        if sent < len(piece):
            return [piece[sent:], *pieces[number + 1 :]]
        sent -= len(piece)
    return []
