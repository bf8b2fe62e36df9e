"""HTTP/2 on one wire (RFC 9113): h2 knows the frames; here are the streams' tasks, flow control, and what a client may cost.

h2 bounds the size of frames and of header lists, CONTINUATION frames and the streams that it has open; not what a client makes
us do for nothing. So here: streams whose application still runs count, however they were closed (CVE-2023-44487, CVE-2025-8671);
what is reset before it is answered has an allowance, and so have bytes that are no bodies (pings, settings, priorities, empty
frames: CVE-2019-9512 to 9518). Websockets stay on HTTP/1.1, and nothing is pushed.
"""

from __future__ import annotations

from typing import Any, Final, cast

import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import ASGIFramework

from pacs_actors.operations import logs
from web.http.loggable import loggable
from web.serving.exchange import http_date
from web.serving.http2_stream import Stream
from web.serving.life import AFTERLIFE_S, LINGER_S, Life
from web.serving.scope import scope_of
from web.serving.wire import Wire

MOST_STREAMS: Final = 100
MOST_HEADER_BYTES: Final = 32768
STREAM_WINDOW_BYTES: Final = 512 * 1024
CONNECTION_WINDOW_BYTES: Final = 1024 * 1024
RESET_ALLOWANCE: Final = 256
RESETS_S: Final = 16
OVERHEAD_ALLOWANCE_BYTES: Final = 1024 * 1024
_ANSWERED_BYTES: Final = 4096  # headers and the like that an answered request may have come with
_RUN_BYTES: Final = 256 * 1024  # of one stream, before another one's turn


class _Frames(H2Connection):
    """Keeps less of streams that are closed, and lets nobody announce more than it may."""

    MAX_CLOSED_STREAMS = 1024
    DEFAULT_MAX_HEADER_LIST_SIZE = MOST_HEADER_BYTES

    def __init__(self) -> None:
        super().__init__(H2Configuration(client_side=False, header_encoding=None))
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: MOST_HEADER_BYTES,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            },
        )


class Http2:
    def __init__(self, app: ASGIFramework, wire: Wire, life: Life, tasks: TaskGroup) -> None:
        self._app, self._wire, self._life, self._tasks = app, wire, life, tasks
        self._frames = _Frames()
        self._streams: dict[int, Stream] = {}
        self._running, self._answered, self._resets = 0, 0, 0
        self._received_bytes, self._useful_bytes = 0, 0
        self._began = trio.current_time()
        self._flushing = trio.Lock()
        self._over = False

    async def run(self) -> None:
        """Returns when the client has left, or has cost too much."""
        self._frames.initiate_connection()
        self._frames.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65535)
        await self._flush()
        while not self._over and (data := await self._wire.receive()):
            self._received_bytes += len(data)
            try:
                for event in self._frames.receive_data(data):
                    self._handle(event)
            except ProtocolError:  # h2 has written what is wrong
                self._over = True
            self._judge()
            await self._flush()
        for stream in list(self._streams.values()):
            self._leave(stream)
        self._life.peer_left()
        await self._wire.finish()
        with trio.move_on_after(LINGER_S):  # closing on unread bytes would revoke what we have said
            while await self._wire.receive():
                continue
        self._wire.abort()

    async def close(self) -> None:
        """End it: there is no request under way."""
        self._end(ErrorCodes.NO_ERROR)
        await self._flush()
        await self._wire.finish()
        self._wire.abort()

    # -- what comes -----------------------------------------------------------------------------------------------------------
    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._begin(event)
            case DataReceived():
                self._useful_bytes += len(event.data)
                stream = self._streams.get(event.stream_id)
                if stream is None:
                    self.acknowledge(event.stream_id, event.flow_controlled_length)
                else:
                    stream.fed(event.data, event.flow_controlled_length)
            case StreamEnded():
                if stream := self._streams.get(event.stream_id):
                    stream.ended()
            case StreamReset():
                if stream := self._streams.get(event.stream_id):
                    self._resets += not stream.complete
                    self._leave(stream)
            case WindowUpdated(stream_id=number) if number:
                if stream := self._streams.get(number):
                    stream.wake()
            case WindowUpdated() | RemoteSettingsChanged():
                for stream in self._streams.values():
                    stream.wake()
            case ConnectionTerminated():
                self._over = True

    def _leave(self, stream: Stream) -> None:
        stream.gone()
        stream.life.deadline = trio.current_time() + AFTERLIFE_S

    def _judge(self) -> None:
        """Has it cost more than it was for?"""
        resets = RESET_ALLOWANCE + self._answered + RESETS_S * (trio.current_time() - self._began)
        overhead = OVERHEAD_ALLOWANCE_BYTES + self._useful_bytes + _ANSWERED_BYTES * self._answered
        if not self._over and (self._resets > resets or self._received_bytes > overhead):
            logs.warning("http2_client_refused", resets=self._resets, received_bytes=self._received_bytes)
            self._over = True
            self._end(ErrorCodes.ENHANCE_YOUR_CALM)

    def _begin(self, event: RequestReceived) -> None:
        number, headers = event.stream_id, event.headers
        if self._running >= MOST_STREAMS or self._life.draining:
            self._resets += 1
            self._reset(number, ErrorCodes.REFUSED_STREAM)
            return
        scope = _scope(self._wire, headers)
        if scope is None or (event.stream_ended and _announces_body(headers)):
            self._reset(number, ErrorCodes.PROTOCOL_ERROR)
            return
        stream = self._streams[number] = Stream(number, scope, self, http_date)
        self._running += 1
        self._life.begin()
        self._tasks.spawn(self._serve, stream)

    async def _serve(self, stream: Stream) -> None:
        try:
            with stream.life:
                try:
                    await self._app(cast(Any, stream.scope), cast(Any, stream.receive), stream.send)
                except Exception as crash:
                    logs.error("application_crashed", crash, path=loggable(stream.scope["path"]))
                    await stream.fail()
            if not stream.complete:
                self._reset(stream.number, ErrorCodes.INTERNAL_ERROR)
            elif not stream.body_complete:  # nobody wants the rest of the request (RFC 9113 section 8.1)
                self._reset(stream.number, ErrorCodes.NO_ERROR)
            self._answered += stream.complete
            stream.settle()
            await self._flush()
        finally:
            self._streams.pop(stream.number, None)
            self._running -= 1
        if not self._running:
            if self._life.draining:
                await self.close()
            self._life.end()

    # -- what goes ------------------------------------------------------------------------------------------------------------
    def acknowledge(self, number: int, size_bytes: int) -> None:
        try:
            self._frames.acknowledge_received_data(size_bytes, number)
        except ProtocolError:  # the connection is over
            return

    async def send_head(self, number: int, headers: list[tuple[bytes, bytes]], *, ends: bool) -> None:
        try:
            self._frames.send_headers(number, headers, end_stream=ends)
        except ProtocolError:
            self._lost(number)
        if ends:
            await self._flush()

    async def send_body(self, stream: Stream, data: bytes, *, ends: bool) -> None:
        """Returns when all of it is on its way. A client that makes no room for it within the deadline loses the stream."""
        left = memoryview(data)
        while not stream.over:
            try:
                left = self._frame(stream.number, left, ends=ends)
            except ProtocolError:
                self._lost(stream.number)
            await self._flush()
            if not left or stream.over:
                break
            with trio.move_on_after(self._wire.write_deadline_s) as patience:
                await self._room(stream)
            if patience.cancelled_caught:
                self._reset(stream.number, ErrorCodes.CANCEL)
                self._lost(stream.number)
                await self._flush()

    def _frame(self, number: int, left: memoryview, *, ends: bool) -> memoryview:
        """Some frames of a body, as far as the windows reach; what is left. raises: ProtocolError"""
        run = min(self._frames.local_flow_control_window(number), _RUN_BYTES)
        while left and run > 0:
            size = min(run, self._frames.max_outbound_frame_size, len(left))
            self._frames.send_data(number, bytes(left[:size]), end_stream=ends and size == len(left))
            left, run = left[size:], run - size
            self._useful_bytes += size // 4  # for it the client may send updates of its windows
            ends = ends and bool(left)
        if ends and not left:
            self._frames.end_stream(number)
        return left

    async def _room(self, stream: Stream) -> None:
        await trio.lowlevel.checkpoint()
        while not stream.over and self._window(stream.number) <= 0:
            await stream.news()

    def _window(self, number: int) -> int:
        """1 for a stream that is closed: whoever waits for it is to find out."""
        try:
            return self._frames.local_flow_control_window(number)
        except ProtocolError:
            return 1

    def _lost(self, number: int) -> None:
        if stream := self._streams.get(number):
            self._leave(stream)

    def _reset(self, number: int, code: ErrorCodes) -> None:
        try:
            self._frames.reset_stream(number, code)
        except ProtocolError:  # closed already
            return

    def _end(self, code: ErrorCodes) -> None:
        try:
            self._frames.close_connection(code)
        except ProtocolError:
            return

    async def _flush(self) -> None:
        async with self._flushing:
            data = self._frames.data_to_send()
            if data:
                await self._wire.send(data)


def _scope(wire: Wire, headers: list[tuple[bytes, bytes]]) -> dict[str, Any] | None:
    """None for what is no request for us: CONNECT, a target that is no path, characters that no target has."""
    method = target = authority = b""
    plain: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name == b":method":
            method = value
        elif name == b":path":
            target = value
        elif name == b":authority":
            authority = value
        elif name != b"host" and not name.startswith(b":"):
            plain.append((name, value))
        elif name == b"host":
            authority = authority or value
    printable = all(0x21 <= character <= 0x7E for character in target + method)
    if not target.startswith(b"/") or not printable or method in (b"", b"CONNECT"):
        return None
    return scope_of(wire, "2", method, target, [(b"host", authority), *plain])


def _announces_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-length" and value.strip(b"0") for name, value in headers)
