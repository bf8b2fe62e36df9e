"""A connection's socket, plain and with TLS: what was received must reach somebody."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.system.certificates import Authority, Certificate
from tests.web.tls_client import AUTHORITY
from web.serving.tls_wire import TlsWire
from web.serving.wire import Wire

DEADLINE_S = 10.0
ROUNDS = 30


@asynccontextmanager
async def ends(
    authority: Authority, certificate: Certificate, *, secure: bool
) -> AsyncIterator[tuple[Wire, trio.abc.Stream]]:
    """Our end and the client's end of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = await trio.open_tcp_stream(*listener.getsockname())
        accepted, _ = listener.accept()
    if not secure:
        yield Wire(accepted, DEADLINE_S), plain
        return
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.certificate, certificate.key)
    wire = TlsWire(accepted, DEADLINE_S, server)
    client = trio.SSLStream(
        plain, ssl.create_default_context(cafile=authority.file), server_hostname=AUTHORITY
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        assert await wire.shake_hands() == "http/1.1"
    yield wire, client


@pytest.mark.parametrize("secure", [False, True])
async def test_a_receiver_that_is_cancelled_takes_nothing_along(
    authority: Authority, certificate: Certificate, secure: bool
) -> None:
    """Who waits for the client's end is cancelled when the answer is complete, just as the next request arrives."""
    received = b""

    async def receive() -> None:
        nonlocal received
        received += await wire.receive()

    with trio.fail_after(DEADLINE_S):
        async with ends(authority, certificate, secure=secure) as (wire, client):
            for each in range(ROUNDS):
                await client.send_all(b"%02d " % each)
                await trio.sleep(0.002)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(receive)
                    if each % 2:
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
            while len(received) < 3 * ROUNDS:
                await receive()
    assert received == b"".join(b"%02d " % each for each in range(ROUNDS))
    wire.abort()
