"""A real server on an ephemeral port of 127.0.0.1, and plain sockets to talk to it."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio
from hypercorn.typing import ASGIFramework
from trio_websocket import WebSocketConnection, open_websocket

from config.settings import WebSettings
from pacs_actors.people.rights import Principal
from tests.fakes.live import fake_live
from tests.fakes.node_status import FakeStatus
from tests.fakes.people import ADMINISTRATOR, FixedAuthenticator
from web.api.status import status_routes
from web.app import WebApp, create_app
from web.http.routes import Route
from web.server import Shutdown, serve
from web.viewer_door import Away

NOTHING_BUILT = Path(__file__).parent / "nothing-built"


class Site(NamedTuple):
    port: int
    source: FakeStatus
    app: WebApp
    shutdown: Shutdown
    people: FixedAuthenticator

    @asynccontextmanager
    async def watch(
        self, *, topics: Iterable[str] = ("system",), **options: Any
    ) -> AsyncIterator[WebSocketConnection]:
        """The live websocket, subscribed."""
        address = ("127.0.0.1", self.port, "/api/v1/live")
        async with open_websocket(*address, use_ssl=False, **options) as connection:
            if topics:
                await connection.send_message(json.dumps({"subscribe": list(topics)}))
            yield connection

    async def connect(self, receive_buffer: int | None = None) -> trio.SocketStream:
        sock = trio.socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect(("127.0.0.1", self.port))
        return trio.SocketStream(sock)

    async def raw(self, request: bytes) -> bytes:
        """Everything that comes until the server closes."""
        async with await self.connect() as stream:
            answer = b""
            with suppress(trio.BrokenResourceError):
                await stream.send_all(request)
            with trio.fail_after(5), suppress(trio.BrokenResourceError):
                async for data in stream:
                    answer += data
            return answer

    async def get(self, path: str, *headers: str, method: str = "GET") -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
        return Answer.parse(await self.raw("\r\n".join([*lines, "", ""]).encode()))


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def parse(cls, answer: bytes) -> Answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return cls(int(first.split()[1]), headers, body)

    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def site(
    source: FakeStatus | None = None,
    bare: Mapping[str, ASGIFramework] | None = None,
    static: Path = NOTHING_BUILT,
    strangers: Principal | None = ADMINISTRATOR,
    routes: Iterable[Route] = (),
    away: Away | None = None,
    **settings: object,
) -> AsyncIterator[Site]:
    """strangers: who comes without a token counts as; most tests are not about that"""
    source = source or FakeStatus()
    facts: dict[str, object] = {"live_interval_s": 0.02, "write_deadline_s": 5.0}
    chosen = msgspec.convert(facts | settings, WebSettings)
    people, shutdown = FixedAuthenticator(strangers), Shutdown()
    app = create_app(
        source, chosen, people, api=[*status_routes(source), *routes], bare=bare, static=static,
        live=fake_live(source, chosen), away=away,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with trio.open_nursery() as nursery:

            async def run(task_status: trio.TaskStatus[None]) -> None:
                await serve(app, listening, chosen, shutdown=shutdown, task_status=task_status)

            await nursery.start(run)
            yield Site(port, source, app, shutdown, people)
            shutdown.set()


async def next_message(connection: WebSocketConnection) -> dict[str, Any]:
    with trio.fail_after(30):  # hundreds of clients may share one loop
        message: dict[str, Any] = json.loads(await connection.get_message())
        return message
