"""The socket of one connection. Whoever stops reading what we send is closed; nothing here waits for ever.

A send that makes no progress within the deadline closes the connection, for half a message must never be followed by another.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Final

import trio
from hypercorn.utils import parse_socket_addr

from pacs_actors.operations import logs
from web.http.answer import FilePart

RECEIVE_BYTES: Final = 65536
_SEND_BUFFER_BYTES: Final = 1024 * 1024

Piece = bytes | FilePart


class Wire:
    """A TCP connection without TLS; one task receives, several may send.

    sock:             a connected socket, which the wire owns from now on
    write_deadline_s: longest time in which the peer may read nothing while we have something to send
    raises: OSError when the peer has left already
    """

    scheme = "http"
    sends_files = True

    def __init__(self, sock: socket.socket, write_deadline_s: float) -> None:
        sock.setblocking(False)
        self._sock, self.write_deadline_s = sock, write_deadline_s
        self._sending = trio.Lock()
        self._waiting: trio.CancelScope | None = None  # of the send that the peer keeps waiting
        self.closed = False
        # A peer that has vanished acknowledges nothing, yet small writes fit the kernel's buffer for long.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(write_deadline_s * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel would begin with less than an image, and each time that it is full costs a wait.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.client: tuple[str, int] | None = parse_socket_addr(sock.family, sock.getpeername())
        self.server: tuple[str, int] | None = parse_socket_addr(sock.family, sock.getsockname())

    def hurry(self, write_deadline_s: float) -> None:
        """From now on the peer may read nothing for so long only; a send that waits already included."""
        self.write_deadline_s = min(self.write_deadline_s, write_deadline_s)
        if self._waiting is not None:
            latest = trio.current_time() + self.write_deadline_s
            self._waiting.deadline = min(self._waiting.deadline, latest)

    async def receive(self, most_bytes: int = RECEIVE_BYTES) -> bytes:
        """What has come; b"" when the peer has ended, or the wire is closed. Cancelled, it has taken nothing."""
        return await self._take(most_bytes)

    async def send(self, *pieces: Piece) -> bool:
        """Send all of it, or close. False if it is closed."""
        if not self._sending.locked() and len(pieces) == 1 and isinstance(pieces[0], bytes):
            pieces = self._at_once(pieces[0])  # mostly that is all
        if not pieces or self.closed:
            return not self.closed
        return await self._patiently(pieces)

    async def finish(self) -> None:
        """Say that nothing more comes."""
        with contextlib.suppress(OSError):  # they are gone already
            self._sock.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Close at once. Whoever sends or receives wakes up."""
        if not self.closed:
            self.closed = True
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def peer_has_left(self) -> bool:
        """Whether there is nothing but an end to receive; looks without taking."""
        try:
            return self.closed or self._sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def _take(self, most_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.closed:
            try:
                data = self._sock.recv(most_bytes)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_readable(self._sock)
                except trio.ClosedResourceError:
                    break
            except OSError:
                break
            else:
                # A peer that always has more must leave room for others; what was taken must not be lost to a cancellation.
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
        return b""

    def _at_once(self, data: bytes) -> tuple[bytes, ...]:
        """What the kernel does not take of it now."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return (data,)
        except OSError:
            self.abort()
            return ()
        return (data[sent:],) if sent < len(data) else ()

    async def _patiently(self, pieces: Sequence[Piece]) -> bool:
        complete = False
        with trio.CancelScope(shield=True) as scope:
            async with self._sending:
                with contextlib.suppress(OSError, trio.ClosedResourceError):
                    await self._send_each(pieces, scope)
                    complete = True
                    scope.deadline = float("inf")
        if not complete:
            self.abort()
        return complete

    async def _send_each(self, pieces: Sequence[Piece], scope: trio.CancelScope) -> None:
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
        while left:
            try:
                sent = self._sock.sendmsg(left, [], flags)
            except BlockingIOError:
                await self._writable(scope)
            else:
                left = _behind(left, sent)

    async def _send_file(self, part: FilePart, scope: trio.CancelScope) -> None:
        """From the kernel's memory to the socket."""
        at, end = part.offset, part.offset + part.length
        await trio.lowlevel.checkpoint()
        pushed = False
        while at < end:
            try:
                sent = os.sendfile(self._sock.fileno(), part.fd, at, end - at)
            except BlockingIOError:
                # The kernel keeps back what does not fill a segment, for more is to come: without this it waits 0.2 s.
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if pushed:
                    await self._writable(scope)
                pushed = not pushed  # mostly it was just that, and there is room again
                continue
            if not sent:
                logs.error("object_short", missing_bytes=end - at)
                raise OSError("the file ends before it should")
            at += sent

    async def _writable(self, scope: trio.CancelScope) -> None:
        scope.deadline = trio.current_time() + self.write_deadline_s
        self._waiting = scope
        try:
            await trio.lowlevel.wait_writable(self._sock)
        finally:
            self._waiting = None


def _behind(pieces: list[memoryview], sent: int) -> list[memoryview]:
    """What is left when so many bytes have gone."""
    for number, piece in enumerate(pieces):
        if sent < len(piece):
            return [piece[sent:], *pieces[number + 1 :]]
        sent -= len(piece)
    return []
