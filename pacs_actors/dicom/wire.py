"""A connected socket as a stream of bytes: non-blocking, with a deadline on every wait, plain or TLS.

Trio's own streams copy each piece they receive; here bytes land where the caller wants them.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from protocols.errors import PacsError

_QUICK_ACKNOWLEDGEMENT: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)  # Linux
_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024  # what a read counts for besides its bytes: a few bytes can be many fragments
_BOTH_WAIT_S: Final = 0.01
_MOST_BUFFERS: Final = 512  # of one sendmsg; IOV_MAX is 1024


_Ready = Callable[[socket.socket], Awaitable[None]]


class PeerGone(PacsError):
    """The connection ended, closed or reset, where more was expected."""


class PeerSilent(PacsError):
    """Nothing came, or nothing was taken, within the time allowed."""


class Wire:
    """One connection.

    patience_s:  longest wait for the peer, in either direction; changed as the association goes on
    """

    def __init__(self, sock: socket.socket, *, patience_s: float) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.patience_s = sock, patience_s
        self.received_bytes = self.sent_bytes = 0
        self._since_checkpoint = 0
        self._vectored = not isinstance(sock, ssl.SSLSocket)
        self._readable: _Ready = trio.lowlevel.wait_readable
        self._writable: _Ready = trio.lowlevel.wait_writable
        if not self._vectored:  # TLS may want either direction for both
            self._readable, self._writable = _shared_readable, _shared_writable
        self._sendable: _Ready = self._writable
        self._receivable: _Ready = self._readable

    @property
    def holds_back(self) -> bool:
        """TLS decrypts whole records: bytes may be here although the socket is not readable."""
        return not self._vectored

    async def handshake(self) -> None:
        """TLS only. Raises PeerGone if the peers cannot agree (the certificate, the version)."""
        if not isinstance(self.sock, ssl.SSLSocket):
            return
        while True:
            try:
                self.sock.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self._wait(trio.lowlevel.wait_readable)
            except ssl.SSLWantWriteError:
                await self._wait(trio.lowlevel.wait_writable)
            except OSError as error:
                raise PeerGone(f"TLS handshake: {error.__class__.__name__}") from error

    def peer_certificate_names(self) -> tuple[str, ...]:
        """Common name and DNS names of the peer's verified certificate; empty without one."""
        if not isinstance(self.sock, ssl.SSLSocket):
            return ()
        certificate = self.sock.getpeercert() or {}
        names: list[str] = []
        for relative in certificate.get("subject", ()):
            names += [str(pair[1]) for pair in relative if pair[0] == "commonName"]
        names += [str(pair[1]) for pair in certificate.get("subjectAltName", ()) if pair[0] == "DNS"]
        return tuple(names)

    def receive_nowait(self, view: memoryview) -> int:
        """What is there already; -1 if nothing is, 0 at the end of the stream."""
        self._receivable = self._readable
        try:
            got = self.sock.recv_into(view)
        except (BlockingIOError, ssl.SSLWantReadError):
            return -1
        except ssl.SSLWantWriteError:  # TLS has something to say itself before it goes on
            self._receivable = self._writable
            return -1
        except (OSError, ssl.SSLError):
            return 0
        self.received_bytes += got
        self._since_checkpoint += got + _READ_BYTES
        return got

    async def receive_into(self, view: memoryview) -> int:
        """At least one byte, at most ``len(view)``; 0 at the end of the stream. Raises PeerSilent."""
        await self.give_way()
        while (got := self.receive_nowait(view)) < 0:
            await self.wait_readable()
        return got

    async def give_way(self) -> None:
        """Let the other tasks run once in a while: a peer that always has bytes ready must not keep the loop from them."""
        if self._since_checkpoint > _CHECKPOINT_BYTES:
            self._since_checkpoint = 0
            await trio.lowlevel.checkpoint()

    async def wait_readable(self) -> None:
        """Until there may be something to receive, after ``receive_nowait`` had nothing. Raises PeerSilent."""
        self._since_checkpoint = 0
        await self._wait(self._receivable)

    async def until_readable(self) -> None:
        """As ``wait_readable``, for those who have a deadline of their own."""
        self._since_checkpoint = 0
        await self._receivable(self.sock)

    async def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        """All of them, in order. Raises PeerGone or PeerSilent."""
        if not self._vectored:
            for buffer in buffers:
                await self._send_one(memoryview(buffer))
            return
        for first in range(0, len(buffers), _MOST_BUFFERS):
            await self._send_vector(buffers[first : first + _MOST_BUFFERS])

    def send_nowait(self, buffers: Sequence[bytes | memoryview]) -> int:
        """What is taken without waiting, in bytes; 0 when ``until_sendable`` has to be awaited. Raises PeerGone."""
        try:
            sent = self.sock.sendmsg(buffers) if self._vectored else self.sock.send(buffers[0])
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._sendable = self._writable
            return 0
        except ssl.SSLWantReadError:
            self._sendable = self._readable
            return 0
        except OSError as error:
            raise PeerGone(f"sending: {error.strerror}") from error
        self.sent_bytes += sent
        return sent

    async def sendable_within(self, limit_s: float) -> bool:
        """As ``until_sendable``, but False after ``limit_s``."""
        with trio.move_on_after(limit_s):
            await self._sendable(self.sock)
            return True
        return False

    async def until_sendable(self) -> None:
        """After ``send_nowait`` has taken nothing. Raises PeerSilent."""
        await self._wait(self._sendable)

    async def _send_vector(self, buffers: Sequence[bytes | memoryview]) -> None:
        total = sum(map(len, buffers))
        sent = 0
        while True:
            try:
                sent = self.sock.sendmsg(buffers)
                break
            except BlockingIOError:
                await self._wait(self._writable)
            except OSError as error:
                raise PeerGone(f"sending: {error.strerror}") from error
        self.sent_bytes += sent
        if sent == total:
            return
        for buffer in buffers:
            if sent >= len(buffer):
                sent -= len(buffer)
                continue
            await self._send_one(memoryview(buffer)[sent:])
            sent = 0

    async def _send_one(self, view: memoryview) -> None:
        while view:
            try:
                sent = self.sock.send(view)
            except (BlockingIOError, ssl.SSLWantWriteError):
                await self._wait(self._writable)
            except ssl.SSLWantReadError:
                await self._wait(self._readable)
            except OSError as error:
                raise PeerGone(f"sending: {error.strerror}") from error
            else:
                self.sent_bytes += sent
                view = view[sent:]

    async def _wait(self, ready: _Ready) -> None:
        with trio.move_on_after(self.patience_s) as patience:
            await ready(self.sock)
        if patience.cancelled_caught:
            raise PeerSilent(f"silent for {self.patience_s:g} s")

    def acknowledge_at_once(self) -> None:
        """Many peers write a message in two pieces and wait for our acknowledgement of the first (Nagle).

        Without this each of their messages takes the 40 ms of a delayed acknowledgement. What we send ends it.
        """
        if _QUICK_ACKNOWLEDGEMENT is not None:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGEMENT, 1)

    async def close(self, *, linger_s: float = 0.0) -> None:
        """Close; with ``linger_s`` wait that long for the peer to close first, so that our last PDU is not lost to a reset."""
        if linger_s > 0:
            with contextlib.suppress(OSError, PeerSilent), trio.move_on_after(linger_s):
                self.sock.shutdown(socket.SHUT_WR)
                scrap = memoryview(bytearray(65536))
                drained = 0
                while (got := await self.receive_into(scrap)) > 0 and drained < 1 << 26:
                    drained += got
        self.close_now()

    def close_now(self, *, reset: bool = False) -> None:
        with contextlib.suppress(OSError):
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            trio.lowlevel.notify_closing(self.sock)
        with contextlib.suppress(OSError):
            self.sock.close()


async def _shared_readable(sock: socket.socket) -> None:
    """Sender and receiver may wait for the same, and Trio lets only one do so."""
    try:
        await trio.lowlevel.wait_readable(sock)
    except trio.BusyResourceError:
        await trio.sleep(_BOTH_WAIT_S)


async def _shared_writable(sock: socket.socket) -> None:
    """Likewise."""
    try:
        await trio.lowlevel.wait_writable(sock)
    except trio.BusyResourceError:
        await trio.sleep(_BOTH_WAIT_S)


def _wrapped(plain: socket.socket, tls: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """The socket is closed if it cannot be wrapped. Raises PeerGone if the peer is gone already."""
    try:
        return tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except OSError as error:
        plain.close()
        raise PeerGone(f"TLS: {error.__class__.__name__}") from error
    except BaseException:
        plain.close()
        raise


async def connect(host: str, port: int, *, within_s: float, tls: ssl.SSLContext | None = None) -> Wire:
    """Connect to a peer. Raises PeerGone if it cannot be reached, PeerSilent if it does not answer in time."""
    with trio.move_on_after(within_s) as patience:
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError as error:
            raise PeerGone(f"cannot connect to {host}:{port}: {error}") from error
        # Trio's socket object wraps a plain one, which we take over.
        plain = socket.socket(fileno=stream.socket.detach())
        plain.setblocking(False)
        wire = Wire(_wrapped(plain, tls, host) if tls else plain, patience_s=within_s)
        try:
            await wire.handshake()
        except BaseException:
            wire.close_now()
            raise
        return wire
    assert patience.cancelled_caught
    raise PeerSilent(f"no answer from {host}:{port} within {within_s:g} s")
