"""TLS in process: versions, protocols, websockets, the end of a connection, and certificates that are renewed."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket

from config.checks import problems, warnings
from config.settings import Settings, WebSettings
from protocols.errors import ConfigError
from tests.system.certificates import Authority, Certificate
from tests.web.serving import Site, next_message, site
from tests.web.tls_client import AUTHORITY, speaking
from web.tls import web_tls

CLOSE = b"GET /healthz HTTP/1.1\r\nHost: pacs.example\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def secure(certificate: Certificate, **options: Any) -> AsyncIterator[Site]:
    facts = {"hosts": [AUTHORITY], "tls_certificate": certificate.certificate, "tls_key": certificate.key}
    async with site(**{**facts, **options}) as here:
        yield here


async def everything(stream: Any) -> bytes:
    with trio.fail_after(10):
        return b"".join([bytes(data) async for data in stream])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_current_versions_are_spoken(
    authority: Authority, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    async with secure(certificate) as here, speaking(here, authority, version=version) as stream:
        await stream.send_all(CLOSE)
        assert b"alive" in await everything(stream)


async def test_the_newest_version_is_preferred(authority: Authority, certificate: Certificate) -> None:
    async with secure(certificate) as here, speaking(here, authority) as stream:
        assert stream.version() == "TLSv1.3"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_versions_are_refused(
    authority: Authority, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    async with secure(certificate) as here:
        with pytest.raises(trio.BrokenResourceError) as refused:
            async with speaking(here, authority, version=version):
                pass
        assert "version" in str(refused.value.__cause__).lower()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None), (("spdy/1",), None)],
)
async def test_the_protocol_is_agreed_on(
    authority: Authority, certificate: Certificate, offered: tuple[str, ...], chosen: str | None
) -> None:
    async with secure(certificate) as here, speaking(here, authority, *offered) as stream:
        assert stream.selected_alpn_protocol() == chosen
        if chosen != "h2":
            await stream.send_all(CLOSE)
            assert b"alive" in await everything(stream)


async def test_the_end_of_an_answer_is_said_and_is_no_breaking_off(
    authority: Authority, certificate: Certificate
) -> None:
    async with secure(certificate) as here:
        client = ssl.create_default_context(cafile=authority.file)

        def ask() -> bytes:
            with (
                socket.create_connection(("127.0.0.1", here.port), timeout=10) as plain,
                client.wrap_socket(plain, server_hostname=AUTHORITY, suppress_ragged_eofs=False) as stream,
            ):
                stream.sendall(CLOSE)
                return b"".join(iter(lambda: stream.recv(65536), b""))

        assert b"alive" in await trio.to_thread.run_sync(ask)


async def test_large_bodies_pass_in_both_directions(authority: Authority, certificate: Certificate) -> None:
    size = 5_000_000

    async def mirror(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with secure(certificate, bare={"/mirror": mirror}) as here, speaking(here, authority) as stream:
        head = (
            b"POST /mirror HTTP/1.1\r\nHost: pacs.example\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % size
        )
        sent = os.urandom(size)
        await stream.send_all(head + sent)
        answer = await everything(stream)
        assert answer.partition(b"\r\n\r\n")[2] == sent


async def test_a_client_that_stops_reading_is_closed(authority: Authority, certificate: Certificate) -> None:
    ended = trio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        finally:
            ended.set()

    async with (
        secure(certificate, bare={"/endless": endless}, write_deadline_s=0.2) as here,
        speaking(here, authority) as stream,
    ):
        await stream.send_all(b"GET /endless HTTP/1.1\r\nHost: pacs.example\r\n\r\n")
        with trio.fail_after(10):
            await ended.wait()


async def test_websockets_work_over_tls(authority: Authority, certificate: Certificate) -> None:
    context = ssl.create_default_context(cafile=authority.file)
    context.check_hostname = False
    async with (
        secure(certificate) as here,
        open_websocket("127.0.0.1", here.port, "/api/v1/live", use_ssl=context) as connection,
    ):
        await connection.send_message('{"subscribe":["system"]}')
        assert (await next_message(connection))["kind"] == "snapshot"


@pytest.mark.parametrize("origin", ["https://127.0.0.1:{}", "http://127.0.0.1:{}", "https://evil.example"])
async def test_a_page_of_our_own_origin_only_may_watch(
    authority: Authority, certificate: Certificate, origin: str
) -> None:
    request = (
        "GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1:{0}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {1}\r\n\r\n"
    )
    async with secure(certificate) as here, speaking(here, authority) as stream:
        await stream.send_all(request.format(here.port, origin.format(here.port)).encode())
        with trio.fail_after(5):
            status = bytes(await stream.receive_some(12))
    assert status == (b"HTTP/1.1 101" if origin.startswith("https://127") else b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "said", [CLOSE, b"\x16\x03\x01\x02\x00" + b"x" * 512, b"\x80\x2e\x01\x00\x02" + bytes(60)]
)
async def test_what_is_no_tls_is_closed_and_nothing_is_answered(
    certificate: Certificate, said: bytes
) -> None:
    async with secure(certificate) as here:
        answer = await here.raw(said)
        assert not answer.startswith(b"HTTP")
        assert len(answer) < 16  # an alert at most


async def test_a_handshake_that_does_not_come_is_cut_off(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.serving.tls_wire._HANDSHAKE_S", 0.1)
    async with secure(certificate) as here:
        assert await here.raw(b"\x16\x03\x01") == b""


async def test_shutdown_does_not_wait_for_handshakes(certificate: Certificate) -> None:
    async with secure(certificate) as here:
        stream = await here.connect()
        await stream.send_all(b"\x16\x03\x01")
        began = trio.current_time()
        here.shutdown.set()
    assert trio.current_time() - began <= 2.0
    await trio.aclose_forcefully(stream)


# -- certificates -------------------------------------------------------------------------------------------------------------


async def test_a_renewed_certificate_is_taken_by_itself_and_half_of_one_is_not(
    authority: Authority, certificate: Certificate, tmp_path: Path
) -> None:
    used = Certificate(str(tmp_path / "used.crt"), str(tmp_path / "used.key"))
    versions = itertools.count(1)

    def place(source: str, target: str) -> None:
        shutil.copy(source, target)
        os.utime(target, ns=(0, next(versions)))

    place(certificate.certificate, used.certificate)
    place(certificate.key, used.key)
    kept = web_tls(used.certificate, used.key, looks_every_s=0)
    first = kept()
    assert kept() is first
    renewed = authority.issue("renewed.example")
    place(renewed.certificate, used.certificate)
    assert kept() is first, "its key is not there yet"
    place(renewed.key, used.key)
    second = kept()
    assert second is not first
    assert kept() is second
    Path(used.certificate).unlink()
    assert kept() is second


async def test_a_certificate_that_cannot_be_used_is_said_at_the_start(
    authority: Authority, certificate: Certificate, tmp_path: Path
) -> None:
    other = authority.issue("other.example")
    with pytest.raises(ConfigError, match=r"web\.tls_certificate"):
        web_tls(certificate.certificate, other.key)
    with pytest.raises(ConfigError, match=r"web\.tls_certificate"):
        web_tls(str(tmp_path / "absent"), certificate.key)


async def test_an_encrypted_key_is_an_error_and_no_question_on_the_terminal(
    certificate: Certificate, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(certificate.key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError):
        web_tls(certificate.certificate, str(locked))


def test_certificate_and_key_belong_together(certificate: Certificate) -> None:
    assert not list(
        problems(Settings(web=WebSettings(tls_certificate=certificate.certificate, tls_key=certificate.key)))
    )
    for wrong in (
        WebSettings(tls_certificate=certificate.certificate),
        WebSettings(tls_key=certificate.key),
        WebSettings(tls_certificate="absent", tls_key=certificate.key),
    ):
        assert any("web.tls_" in problem for problem in problems(Settings(web=wrong)))


def test_open_to_the_network_without_tls_is_warned_of(certificate: Certificate) -> None:
    tls = {"tls_certificate": certificate.certificate, "tls_key": certificate.key}
    assert any("web.host" in one for one in warnings(Settings(web=WebSettings(host="0.0.0.0"))))
    assert not any("web.host" in one for one in warnings(Settings(web=WebSettings(host="0.0.0.0", **tls))))
