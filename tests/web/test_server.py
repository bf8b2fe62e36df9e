"""The server: stuck clients, limits, shutdown."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from trio_websocket import ConnectionClosed, wrap_client_stream

from config.settings import WebSettings
from tests.fakes.live import fake_live
from tests.fakes.node_status import FakeStatus, association
from tests.fakes.people import ADMINISTRATOR, FixedAuthenticator
from tests.web.serving import Answer, next_message, site
from web import server as server_module
from web.app import WebApp, create_app
from web.connection import Connection
from web.server import Shutdown, http_settings, serve
from web.serving.http1 import Http1
from web.serving.wire import Wire

EVERYBODY = FixedAuthenticator(strangers=ADMINISTRATOR)
UPGRADE = (
    b"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_SAID = b'{"subscribe":["associations"]}'
# Masked by nothing (RFC 6455 section 5.3)
SUBSCRIBE = bytes((0x81, 0x80 | len(_SAID))) + bytes(4) + _SAID
BUSY = ("associations",)
PADDING = "x" * 400


async def begin_to_watch(stream: trio.SocketStream) -> None:
    """Open a live view on a plain socket, subscribe, and read nothing of it."""
    await stream.send_all(UPGRADE)
    head = b""
    with trio.fail_after(5):
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive_some(1)
    await stream.send_all(SUBSCRIBE)


def busy_node() -> FakeStatus:
    """A node whose every change is large, so that a client that does not read is soon stuck."""
    source = FakeStatus()

    class Busy(FakeStatus):
        def node(self):
            many = tuple(
                association(f"AE{number}", doing=f"{self.calls} {PADDING}", place=number)
                for number in range(400)
            )
            self.change_worker(0, associations=many)
            return super().node()

    return Busy(source.value)


async def test_a_client_that_stops_reading_is_closed_and_others_notice_nothing():
    async with site(busy_node(), write_deadline_s=0.3, client_queue=2) as here:
        stuck = await here.connect(receive_buffer=4096)
        await begin_to_watch(stuck)
        async with here.watch(topics=BUSY, max_message_size=2**24) as connection:
            number = (await next_message(connection))["n"]
            with trio.fail_after(10):
                while here.app.live.clients > 1:
                    number += 1
                    message = await next_message(connection)
                    assert (message["n"], message["kind"]) == (number, "change")
            await next_message(connection)
        await trio.aclose_forcefully(stuck)


async def test_a_slow_reader_is_resynchronised_and_never_sees_a_gap():
    async with (
        site(busy_node(), client_queue=1, write_deadline_s=30) as here,
        trio.open_nursery() as nursery,
    ):
        stream = await here.connect(receive_buffer=4096)
        connection = await wrap_client_stream(
            nursery, stream, "127.0.0.1", "/api/v1/live", message_queue_size=0, max_message_size=2**24
        )
        await connection.send_message(_SAID.decode())
        message = await next_message(connection)
        resynchronised = 0
        with trio.fail_after(20):
            while resynchronised < 2:
                behind = here.source.calls + 40
                while here.source.calls < behind:  # let the server get ahead without reading
                    await trio.sleep(0.01)
                for _ in range(400):
                    before, message = message["n"], await next_message(connection)
                    if message["kind"] == "snapshot":
                        assert message["resync"] is True
                        assert message["n"] > before
                        resynchronised += 1
                        break
                    assert message["n"] == before + 1
        await connection.aclose()


@pytest.mark.parametrize("watches", [True, False])
async def test_shutdown_takes_two_seconds_even_with_a_stuck_client(watches):
    async def big(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})

    async with site(busy_node(), {"/big": big}, write_deadline_s=60) as here:
        stuck = await here.connect(receive_buffer=4096)
        if watches:
            await begin_to_watch(stuck)
        else:
            await stuck.send_all(b"GET /big HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        async with here.watch(topics=BUSY, max_message_size=2**24) as connection:
            watched = await next_message(connection)
            while watched["n"] < 20:  # meanwhile the stuck one's buffers are full
                watched = await next_message(connection)
            began = trio.current_time()
            here.shutdown.set()
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await connection.get_message()
            assert closed.value.reason.code == 1001
    assert trio.current_time() - began <= 2.0
    await trio.aclose_forcefully(stuck)


async def test_a_slow_download_has_the_time_that_is_left_and_a_stuck_one_has_not(monkeypatch):
    """The slow one goes on for longer than the stuck one is given, which has read nothing since the beginning."""
    monkeypatch.setattr(server_module, "STUCK_S", 0.3)
    size, ended = 6 << 20, []

    async def big(scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for left in range(size >> 18, 0, -1):
                await send({"type": "http.response.body", "body": bytes(1 << 18), "more_body": left > 1})
        finally:
            ended.append(scope["query_string"])

    async with site(bare={"/big": big}, write_deadline_s=60) as here:
        slow, stuck = await here.connect(receive_buffer=4096), await here.connect(receive_buffer=4096)
        for stream, name in ((slow, b"slow"), (stuck, b"stuck")):
            await stream.send_all(b"GET /big?%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % name)
        received = len(await slow.receive_some(65536))
        here.shutdown.set(within_s=60)
        with trio.fail_after(30):
            while not ended:
                received += len(await slow.receive_some(16384))
                await trio.sleep(0.01)
            assert ended == [b"stuck"] and received < size
            async for data in slow:
                received += len(data)
        assert received > size, "with its head and the lengths of its chunks"
        await trio.aclose_forcefully(stuck)


async def test_a_request_under_way_is_answered_during_shutdown():
    asked, answer_now = trio.Event(), trio.Event()

    async def slow(scope, receive, send):
        asked.set()
        await answer_now.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    answers: list[Answer] = []
    async with site(bare={"/slow": slow}) as here, trio.open_nursery() as nursery:

        async def ask():
            answers.append(await here.get("/slow"))

        nursery.start_soon(ask)
        await asked.wait()
        here.shutdown.set()
        await trio.testing.wait_all_tasks_blocked()
        answer_now.set()
    assert answers[0].body == b"done"


async def test_idle_connections_do_not_delay_shutdown():
    async with site() as here:
        idle = [await here.connect() for _ in range(5)]
        await here.get("/healthz")
        began = trio.current_time()
        here.shutdown.set()
    assert trio.current_time() - began < 1.0
    for stream in idle:
        await trio.aclose_forcefully(stream)


async def test_cancelling_the_server_ends_it_at_once_with_a_stuck_client():
    source, settings = busy_node(), WebSettings(live_interval_s=0.01, write_deadline_s=60)
    app = create_app(source, settings, EVERYBODY, live=fake_live(source, settings))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with trio.open_nursery() as nursery:

            async def run(task_status):
                await serve(app, listening, settings, shutdown=Shutdown(), task_status=task_status)

            await nursery.start(run)
            stream = await trio.open_tcp_stream("127.0.0.1", listening.getsockname()[1])
            await begin_to_watch(stream)
            while source.calls < 20:
                await trio.sleep(0.01)
            began = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began < 1.0
        await trio.aclose_forcefully(stream)


async def test_the_inherited_socket_stays_open_for_the_other_workers():
    settings = msgspec.convert({"live_interval_s": 0.02}, WebSettings)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for _ in range(2):  # a worker, then the one that takes its place
            shutdown = Shutdown()
            async with trio.open_nursery() as nursery:

                async def run(task_status, shutdown=shutdown):
                    app = create_app(FakeStatus(), settings, EVERYBODY)
                    await serve(app, listening.fileno(), settings, shutdown=shutdown, task_status=task_status)

                await nursery.start(run)
                async with await trio.open_tcp_stream("127.0.0.1", listening.getsockname()[1]) as stream:
                    await stream.send_all(b"GET /healthz HTTP/1.0\r\n\r\n")
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
                shutdown.set()
            os.fstat(listening.fileno())


async def test_several_servers_accept_from_one_socket():
    settings = WebSettings()
    sources = [FakeStatus(), FakeStatus()]
    shutdown = Shutdown()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with trio.open_nursery() as nursery:
            for source in sources:

                async def run(task_status, source=source):
                    app = create_app(source, settings, EVERYBODY)
                    await serve(app, listening, settings, shutdown=shutdown, task_status=task_status)

                await nursery.start(run)
            for _ in range(20):
                async with await trio.open_tcp_stream("127.0.0.1", listening.getsockname()[1]) as stream:
                    await stream.send_all(b"GET /readyz HTTP/1.0\r\n\r\n")
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            shutdown.set()
    assert sum(source.calls for source in sources) == 20


async def test_connections_are_limited():
    async with site(max_connections=2) as here:
        first, second = await here.connect(), await here.connect()
        for stream in (first, second):  # both are being served
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await stream.receive_some()
        assert await here.raw(b"") == b""
        await first.aclose()
        with trio.fail_after(5):
            while not (await here.raw(b"GET /healthz HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200"):
                pass
        await second.aclose()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"\xff" + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
    ],
)
async def test_bad_requests_are_answered_and_closed(request_, status):
    async with site() as here:
        answer = Answer.parse(await here.raw(request_))
        assert answer.status == status
        assert (await here.get("/healthz")).status == 200


async def test_http2_is_not_offered_and_the_request_is_served_all_the_same():
    request = (
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
    )
    async with site() as here:
        assert Answer.parse(await here.raw(request)).status == 200


async def test_a_crash_of_one_connection_leaves_the_others(monkeypatch):
    async with (
        site(busy_node(), client_queue=1024) as here,
        here.watch(topics=BUSY, max_message_size=2**24) as connection,
    ):
        await next_message(connection)

        async def broken(self, head, ahead):
            raise RuntimeError("bug")

        with monkeypatch.context() as patch:
            patch.setattr(Http1, "_exchange", broken)
            assert await here.raw(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == b""
        await next_message(connection)


@asynccontextmanager
async def connection_to(app: WebApp, config: Config) -> AsyncIterator[trio.SocketStream]:
    """One connection with settings of its own."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def handle(stream: trio.SocketStream) -> None:
        wire = Wire(socket.socket(fileno=stream.socket.detach()), 5.0)
        await Connection(app, config, WorkerContext(None), wire).run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as stream:
            yield stream
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127", UPGRADE[:40]])
async def test_a_head_that_does_not_come_is_cut_off(sent):
    config = http_settings()
    config.keep_alive_timeout = 0.05
    async with connection_to(create_app(FakeStatus(), WebSettings(), EVERYBODY), config) as stream:
        await stream.send_all(sent)
        with trio.fail_after(2):
            assert await stream.receive_some() == b""


async def test_an_idle_connection_is_closed_after_its_last_answer():
    config = http_settings()
    config.keep_alive_timeout = 0.1
    async with connection_to(create_app(FakeStatus(), WebSettings(), EVERYBODY), config) as stream:
        for _ in range(2):
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while b"alive" not in answer:
                answer += await stream.receive_some()
        with trio.fail_after(2):
            assert await stream.receive_some() == b""


async def test_an_application_that_goes_on_without_its_client_is_cancelled(monkeypatch):
    monkeypatch.setattr("web.serving.life.AFTERLIFE_S", 0.05)
    monkeypatch.setattr("web.connection._LOOKS_EVERY_S", 0.05)
    cancelled = trio.Event()

    async def deaf(scope, receive, send):
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    app = create_app(FakeStatus(), WebSettings(), EVERYBODY, bare={"/": deaf})
    async with connection_to(app, http_settings()) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await stream.aclose()
        with trio.fail_after(5):
            await cancelled.wait()
