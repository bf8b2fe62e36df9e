"""HTTP/2 over TLS, by h2 as the client: requests, flow control, and what a client may cost (RFC 9113)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h2.connection
import h2.events
import h2.exceptions
import pytest
import trio
import trio.testing
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
)

from tests.system.certificates import Authority, Certificate
from tests.web.serving import Site, site
from tests.web.tls_client import AUTHORITY, speaking
from web.serving import http2

SECONDS = 10


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Answers are gathered by stream; ``ended`` has the code of a GOAWAY, -1 for a connection that broke off."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.frames = h2.connection.H2Connection(
            H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        )
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.done: set[int] = set()
        self.resets: dict[int, int] = {}
        self.pings = 0
        self.ended: int | None = None
        self.takes = True

    async def start(self) -> None:
        self.frames.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        if data := self.frames.data_to_send():
            await self.stream.send_all(data)

    async def ask(
        self,
        path: str,
        *headers: tuple[str, str],
        method: str = "GET",
        body: bytes | None = None,
        ends: bool = True,
    ) -> int:
        number = self.frames.get_next_available_stream_id()
        fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", AUTHORITY),
            (":path", path),
            *headers,
        ]
        self.frames.send_headers(number, fields, end_stream=body is None and ends)
        if body is not None:
            self.frames.send_data(number, body, end_stream=ends)
        await self.flush()
        return number

    async def hear(self) -> None:
        """Take what comes next."""
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self.ended = -1 if self.ended is None else self.ended
            return
        for event in self.frames.receive_data(bytes(data)):
            match event:
                case h2.events.ResponseReceived():
                    self.heads[event.stream_id] = dict(event.headers)
                    self.bodies[event.stream_id] = b""
                case h2.events.DataReceived():
                    self.bodies[event.stream_id] += event.data
                    if self.takes and event.flow_controlled_length:
                        self.frames.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    self.done.add(event.stream_id)
                case h2.events.StreamReset():
                    self.resets[event.stream_id] = event.error_code
                case h2.events.PingAckReceived():
                    self.pings += 1
                case h2.events.ConnectionTerminated():
                    self.ended = int(event.error_code)
        try:
            await self.flush()
        except trio.BrokenResourceError:
            self.ended = -1 if self.ended is None else self.ended

    async def until(self, condition: Any) -> None:
        with trio.fail_after(SECONDS):
            while not condition() and self.ended is None:
                await self.hear()

    async def reply(self, number: int) -> Reply:
        await self.until(lambda: number in self.done or number in self.resets)
        assert number in self.done, (self.resets, self.ended)
        head = self.heads[number]
        return Reply(int(head[":status"]), head, self.bodies[number])

    async def get(self, path: str, *headers: tuple[str, str], **more: Any) -> Reply:
        return await self.reply(await self.ask(path, *headers, **more))


@pytest.fixture
def opened(authority: Authority, certificate: Certificate) -> Any:
    """A site with TLS, and a client of it."""

    @asynccontextmanager
    async def open_it(**options: Any) -> AsyncIterator[tuple[Site, Client]]:
        facts = {"hosts": [AUTHORITY], "tls_certificate": certificate.certificate, "tls_key": certificate.key}
        async with (
            site(**{**facts, **options}) as here,
            speaking(here, authority, "h2", "http/1.1") as stream,
        ):
            assert stream.selected_alpn_protocol() == "h2"
            client = Client(stream)
            await client.start()
            yield here, client

    return open_it


async def mirror(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body that came, and in headers what the scope says."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    said = [(b"x-" + name, value) for name, value in scope["headers"]]
    headers = [*said, (b"x-scheme", scope["scheme"].encode()), (b"x-version", scope["http_version"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def blob(size: int) -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at in range(0, size, 100_000):
            await send(
                {"type": "http.response.body", "body": b"b" * min(100_000, size - at), "more_body": True}
            )
        await send({"type": "http.response.body", "body": b""})

    return answer


class Waiting:
    """An application that waits; counts those who do."""

    def __init__(self) -> None:
        self.now, self.most, self.go = 0, 0, trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.go.wait()
        finally:
            self.now -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"waited"})


# -- what is served -----------------------------------------------------------------------------------------------------------


async def test_requests_and_answers_go_through(opened: Any) -> None:
    async with opened(bare={"/mirror": mirror}) as (_, client):
        health = await client.get("/healthz")
        assert (health.status, health.body) == (200, b'{"status":"alive"}')
        assert health.headers["strict-transport-security"].startswith("max-age=")
        said = await client.get(
            "/mirror?x=y", ("cookie", "a=1"), ("cookie", "b=2"), method="POST", body=b"hello"
        )
        assert said.body == b"hello"
        assert said.headers["x-host"] == AUTHORITY
        assert said.headers["x-cookie"] == "a=1; b=2"
        assert (said.headers["x-scheme"], said.headers["x-version"]) == ("https", "2")
        assert "date" in said.headers


async def test_files_that_are_compressed_already_are_served_so(opened: Any, tmp_path: Path) -> None:
    folder = tmp_path / "panel"
    folder.mkdir()
    for name, content in {
        "index.html": b"page",
        "big.js": b"j" * 900_000,
        "big.js.br": b"compressed" * 50_000,
    }.items():
        (folder / name).write_bytes(content)
    async with opened(static=tmp_path) as (_, client):
        small = await client.get("/big.js", ("accept-encoding", "gzip, br"))
        assert (small.headers["content-encoding"], small.headers["content-type"]) == (
            "br",
            "text/javascript; charset=utf-8",
        )
        assert small.body == b"compressed" * 50_000
        assert (await client.get("/big.js")).body == b"j" * 900_000
        head = await client.get("/big.js", method="HEAD")
        assert (head.headers["content-length"], head.body) == ("900000", b"")
        assert (await client.get("/big.js", ("if-none-match", head.headers["etag"]))).status == 304


async def test_many_requests_at_once_do_not_wait_for_each_other(opened: Any) -> None:
    waiting = Waiting()
    async with opened(bare={"/wait": waiting, "/mirror": mirror}) as (_, client):
        held = [await client.ask("/wait") for _ in range(5)]
        assert (await client.get("/mirror", method="POST", body=b"passes")).body == b"passes"
        waiting.go.set()
        assert [(await client.reply(number)).body for number in held] == [b"waited"] * 5


async def test_large_bodies_pass_in_both_directions(opened: Any) -> None:
    size = 3_000_000
    async with opened(bare={"/mirror": mirror, "/blob": blob(size)}) as (_, client):
        numbers = [await client.ask("/blob") for _ in range(3)]
        for number in numbers:
            assert len((await client.reply(number)).body) == size
        number = await client.ask("/mirror", method="POST", ends=False)
        left = size
        while left:
            room = min(
                client.frames.local_flow_control_window(number), left, client.frames.max_outbound_frame_size
            )
            if not room:
                await client.hear()
                continue
            left -= room
            client.frames.send_data(number, bytes(room), end_stream=not left)
            await client.flush()
        assert len((await client.reply(number)).body) == size


async def test_an_upload_that_nobody_reads_holds_up_nobody_and_takes_bounded_memory(opened: Any) -> None:
    waiting = Waiting()
    async with opened(bare={"/wait": waiting}) as (_, client):
        number = await client.ask("/wait", method="POST", ends=False)
        await client.get("/healthz")  # by now the client knows the windows
        sent = 0
        while room := min(
            client.frames.local_flow_control_window(number), client.frames.max_outbound_frame_size
        ):
            client.frames.send_data(number, bytes(room))
            sent += room
            await client.flush()
        assert sent <= http2.STREAM_WINDOW_BYTES
        assert (await client.get("/healthz")).status == 200
        waiting.go.set()
        assert (await client.reply(number)).body == b"waited"
        await client.until(lambda: client.frames.outbound_flow_control_window >= http2.STREAM_WINDOW_BYTES)
        assert (await client.get("/healthz")).status == 200


async def test_a_request_refused_before_its_body_came_leaves_the_connection(opened: Any) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    async with opened(bare={"/refuse": refuse}) as (_, client):
        number = await client.ask("/refuse", method="POST", body=b"some", ends=False)
        assert (await client.reply(number)).status == 401
        await client.until(lambda: number in client.resets)
        assert client.resets[number] == ErrorCodes.NO_ERROR
        late = DataFrame(number, bytes(1000)).serialize()
        await client.stream.send_all(late)
        assert (await client.get("/healthz")).status == 200


async def test_an_application_that_crashes_is_500_and_one_that_breaks_off_is_reset(opened: Any) -> None:
    async def crash(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("bug")

    async def break_off(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async with opened(bare={"/crash": crash, "/break": break_off}) as (_, client):
        assert (await client.get("/crash")).status == 500
        number = await client.ask("/break")
        await client.until(lambda: number in client.resets)
        assert client.resets[number] == ErrorCodes.INTERNAL_ERROR
        assert (await client.get("/healthz")).status == 200


# -- what is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/\xff"), ("GET", "/a b"), ("GET", "*"), ("GET", "http://evil.example/"), ("OPTIONS", "*")],
)
async def test_a_target_that_is_no_path_is_reset(opened: Any, method: str, path: str) -> None:
    async with opened() as (_, client):
        number = await client.ask(path, method=method)
        await client.until(lambda: number in client.resets)
        assert number in client.resets
        assert (await client.get("/healthz")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("x-evil", "a\r\nb: c")],
        [("x-evil", "a\0")],
        [("transfer-encoding", "chunked")],
        [("connection", "close")],
        [("X-Upper", "case")],
        [("host", "evil.example")],
        [("content-length", "5")],
        [(":path", "/other")],
    ],
)
async def test_malformed_requests_never_reach_the_application(
    opened: Any, headers: list[tuple[str, str]]
) -> None:
    reached = trio.Event()

    async def note(scope: Any, receive: Any, send: Any) -> None:
        reached.set()

    async with opened(bare={"/note": note}) as (_, client):
        client.frames.config.normalize_outbound_headers = False
        number = await client.ask("/note", *headers)
        await client.until(lambda: number in client.resets)
        assert client.ended is not None or number in client.resets
        assert not reached.is_set()


async def test_connect_is_not_served(opened: Any) -> None:
    async with opened() as (_, client):
        number = client.frames.get_next_available_stream_id()
        client.frames.send_headers(number, [(":method", "CONNECT"), (":authority", "evil.example:443")])
        await client.flush()
        await client.until(lambda: number in client.resets)
        assert number in client.resets or client.ended is not None


async def test_websockets_are_left_to_http1(opened: Any) -> None:
    async with opened() as (_, client):
        await client.get("/healthz")
        assert client.frames.remote_settings.enable_connect_protocol == 0


async def test_more_streams_at_once_than_allowed_are_refused(opened: Any) -> None:
    waiting = Waiting()
    async with opened(bare={"/wait": waiting}) as (_, client):
        await client.get("/healthz")
        assert client.frames.remote_settings.max_concurrent_streams == http2.MOST_STREAMS
        for _ in range(http2.MOST_STREAMS):
            await client.ask("/wait")
        with pytest.raises(h2.exceptions.TooManyStreamsError):
            await client.ask("/wait")
        waiting.go.set()


async def test_streams_that_are_reset_at_once_never_have_more_applications_than_streams(opened: Any) -> None:
    """CVE-2023-44487: h2 forgets a stream that is reset; its application runs on for a while."""
    waiting = Waiting()
    async with opened(bare={"/wait": waiting}) as (here, client):
        await client.get("/healthz")
        with trio.fail_after(SECONDS):
            while client.ended is None:
                with trio.move_on_after(0.001):
                    await client.hear()
                try:
                    for _ in range(50):
                        client.frames.reset_stream(await client.ask("/wait"))
                    await client.flush()
                except (trio.BrokenResourceError, h2.exceptions.ProtocolError):
                    break
        await client.until(lambda: False)
        assert client.ended in (ErrorCodes.ENHANCE_YOUR_CALM, -1)
        assert waiting.most <= http2.MOST_STREAMS
        assert (await here_is_well(here)) is True


async def here_is_well(here: Site) -> bool:
    """The server takes other connections."""
    async with await here.connect():
        return True


PING = PingFrame(0, b"12345678").serialize()
SETTINGS = SettingsFrame(0, settings={1: 4096}).serialize()
PRIORITY = PriorityFrame(1, depends_on=0, stream_weight=1).serialize()
UNKNOWN = b"\0\0\0\xaa\0\0\0\0\0"


@pytest.mark.parametrize(
    "flood", [PING, SETTINGS, PRIORITY, UNKNOWN], ids=["ping", "settings", "priority", "unknown"]
)
async def test_a_flood_of_frames_for_nothing_ends_the_connection(
    opened: Any, flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "OVERHEAD_ALLOWANCE_BYTES", 20_000)
    await _flooded(opened, flood)


async def test_a_flood_of_empty_pieces_of_a_body_ends_the_connection(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "OVERHEAD_ALLOWANCE_BYTES", 20_000)
    await _flooded(opened, DataFrame(1).serialize(), upload=True)


async def _flooded(opened: Any, flood: bytes, *, upload: bool = False) -> None:
    async with opened(bare={"/mirror": mirror}) as (_, client):
        if upload:
            await client.ask("/mirror", method="POST", ends=False)
        sent = 0
        with trio.fail_after(SECONDS):
            while client.ended is None and sent < 2_000_000:
                try:
                    await client.stream.send_all(flood * 200)
                except trio.BrokenResourceError:
                    break
                sent += 200 * len(flood)
                with trio.move_on_after(0.001):
                    await client.hear()
            await client.until(lambda: False)
        assert client.ended in (ErrorCodes.ENHANCE_YOUR_CALM, -1)
        assert sent < 2_000_000


async def test_a_header_that_is_continued_without_end_ends_the_connection(opened: Any) -> None:
    async with opened() as (_, client):
        await client.get("/healthz")
        await client.stream.send_all(HeadersFrame(3, b"", flags=["END_STREAM"]).serialize())
        piece = ContinuationFrame(3, b"").serialize()
        with trio.fail_after(SECONDS):
            for _ in range(200):
                try:
                    await client.stream.send_all(piece)
                except trio.BrokenResourceError:
                    break
        await client.until(lambda: False)
        assert client.ended is not None


async def test_headers_larger_than_announced_end_the_connection(opened: Any) -> None:
    async with opened() as (_, client):
        await client.get("/healthz")
        assert client.frames.remote_settings.max_header_list_size == http2.MOST_HEADER_BYTES
        # 100 bytes on the wire each: an indexed field that is large when decoded
        large = [("x-large", "v" * 4000)] * 20
        await client.ask("/healthz", *large)
        await client.until(lambda: False)
        assert client.ended is not None


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(100), b"\xff" * 100])
async def test_what_is_no_http2_is_closed(
    authority: Authority, certificate: Certificate, garbage: bytes
) -> None:
    async with (
        site(tls_certificate=certificate.certificate, tls_key=certificate.key) as here,
        speaking(here, authority, "h2") as stream,
    ):
        await stream.send_all(garbage)
        with trio.fail_after(SECONDS):
            try:
                while await stream.receive_some(65536):
                    continue
            except trio.BrokenResourceError:
                return


# -- slow and leaving clients -------------------------------------------------------------------------------------------------


async def test_a_stream_whose_client_makes_no_room_is_reset_and_others_go_on(opened: Any) -> None:
    async with opened(bare={"/blob": blob(300_000)}, write_deadline_s=0.2) as (_, client):
        client.takes = False
        number = await client.ask("/blob")
        await client.until(lambda: number in client.resets)
        assert client.resets[number] == ErrorCodes.CANCEL
        client.frames.increment_flow_control_window(1_000_000)
        await client.flush()
        assert (await client.get("/healthz")).status == 200


async def test_a_client_that_reads_nothing_is_closed(opened: Any) -> None:
    async with opened(bare={"/blob": blob(50_000_000)}, write_deadline_s=0.3) as (here, client):
        client.frames.increment_flow_control_window(2**30)
        client.frames.update_settings({4: 2**30})
        await client.ask("/blob")
        server = here.app
        assert server is not None
        with trio.fail_after(SECONDS):  # now without reading, until the kernel says that it is over
            while True:
                try:
                    await client.stream.send_all(PING)
                except trio.BrokenResourceError:
                    break
                await trio.sleep(0.02)


async def test_an_application_hears_of_a_reset(opened: Any) -> None:
    heard = trio.Event()

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        heard.set()

    async with opened(bare={"/listen": listen}) as (_, client):
        number = await client.ask("/listen")
        await client.get("/healthz")
        client.frames.reset_stream(number)
        await client.flush()
        with trio.fail_after(SECONDS):
            await heard.wait()
        assert (await client.get("/healthz")).status == 200


async def test_requests_under_way_end_and_then_the_connection_says_goodbye_when_the_server_drains(
    opened: Any,
) -> None:
    waiting = Waiting()
    async with opened(bare={"/wait": waiting}) as (here, client):
        number = await client.ask("/wait")
        await client.get("/healthz")
        here.shutdown.set()
        await trio.testing.wait_all_tasks_blocked()
        waiting.go.set()
        assert (await client.reply(number)).body == b"waited"
        await client.until(lambda: False)
        assert client.ended == ErrorCodes.NO_ERROR
