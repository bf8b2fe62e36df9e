"""A wire whose TLS wants the other direction first, and sockets that cannot be wrapped."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any, cast

import pytest
import trio
import trio.testing

from pacs_actors.dicom.wire import PeerGone, PeerSilent, Wire, connect


class Renegotiating(socket.socket):
    """As a TLS socket in the middle of a key update: nothing is received until something could be sent."""

    wants = 0

    def recv_into(self, *arguments: Any) -> int:
        if self.wants:
            self.wants -= 1
            raise ssl.SSLWantWriteError
        return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        if self.wants:
            self.wants -= 1
            raise ssl.SSLWantReadError
        return super().send(*arguments)

    def fill(self) -> None:
        """Until nothing more can be sent."""
        self.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                super().send(bytes(1 << 16))


@pytest.fixture
def pair() -> Iterator[tuple[Renegotiating, socket.socket]]:
    ours, theirs = socket.socketpair()
    with Renegotiating(fileno=ours.detach()) as sock, theirs:
        yield sock, theirs


async def test_receiving_that_wants_to_send_first_is_not_the_end(
    pair: tuple[Renegotiating, socket.socket],
) -> None:
    sock, peer = pair
    wire = Wire(sock, patience_s=5)
    peer.send(b"here")
    sock.wants = 3
    view = memoryview(bytearray(10))
    assert wire.receive_nowait(view) == -1
    assert await wire.receive_into(view) == 4


async def test_receiving_that_wants_to_send_waits_until_that_is_possible(
    pair: tuple[Renegotiating, socket.socket],
) -> None:
    sock, peer = pair
    wire = Wire(sock, patience_s=30)
    sock.fill()
    peer.send(b"here")
    sock.wants = 1
    got: list[int] = []

    async def receive() -> None:
        got.append(await wire.receive_into(memoryview(bytearray(10))))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            assert got == []
            peer.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    peer.recv(1 << 16)
    assert got == [4]


async def test_receiving_that_can_never_send_ends_at_its_deadline(
    pair: tuple[Renegotiating, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    sock, _ = pair
    wire = Wire(sock, patience_s=30)
    sock.fill()
    sock.wants = 1
    with pytest.raises(PeerSilent):
        await wire.receive_into(memoryview(bytearray(10)))


async def test_sender_and_receiver_may_want_the_same_direction(
    pair: tuple[Renegotiating, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, peer = pair
    monkeypatch.setattr(ssl, "SSLSocket", Renegotiating)
    wire = Wire(sock, patience_s=5)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.wait_readable)
            nursery.start_soon(wire.wait_readable)
            await trio.testing.wait_all_tasks_blocked()
            sock.wants = 1
            await wire.send([b"there"])
            assert peer.recv(10) == b"there"
            sock.fill()
            sock.wants = 1
            nursery.start_soon(wire.receive_into, memoryview(bytearray(10)))
            nursery.start_soon(wire.send, [b"more"])
            await trio.sleep(0.05)
            peer.send(b"!")
            peer.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    peer.recv(1 << 16)


class Unwrappable:
    """Stands in for a TLS context: the peer is gone, or the name is none."""

    def __init__(self, error: Exception) -> None:
        self.error, self.shown = error, cast(Any, None)

    def wrap_socket(self, sock: socket.socket, **_: Any) -> ssl.SSLSocket:
        self.shown = sock
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(107, "gone"), PeerGone), (ValueError("name"), ValueError)]
)
async def test_socket_that_cannot_be_wrapped_is_closed(error: Exception, raised: type[Exception]) -> None:
    tls = Unwrappable(error)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(raised):
            await connect("127.0.0.1", server.getsockname()[1], within_s=5, tls=cast(ssl.SSLContext, tls))
        assert tls.shown.fileno() == -1
