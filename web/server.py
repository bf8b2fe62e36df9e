"""The web server of one worker: accepts from the listening socket that all inherit, and ends when it is told to.

Requests under way are given the time that ``Shutdown`` allows, as long as their clients go on reading.

hypercorn's ``serve`` would do, but for two things: it cannot close a client that stopped reading, and it
has no cap on connections. So this is its accept loop again, around ``Connection``.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from config.settings import WebSettings
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from pacs_actors.renewed_tls import RenewedTls
from web.app import WebApp
from web.connection import Connection
from web.serving.tls_wire import TlsWire
from web.serving.wire import Wire
from web.tls import web_tls

STUCK_S: Final = 5.0
"""While the server drains, a client that reads nothing for so long is closed."""
_GRACE_S: Final = 1.2


class Shutdown:
    """deadline: when the last request is closed, on Trio's clock; known once it is set"""

    def __init__(self) -> None:
        self._asked = trio.Event()
        self.deadline = float("inf")

    def set(self, within_s: float = _GRACE_S) -> None:
        """Drain; requests under way have so long."""
        self.deadline = min(self.deadline, trio.current_time() + within_s)
        self._asked.set()

    async def wait(self) -> None:
        await self._asked.wait()


def http_settings() -> Config:
    """hypercorn's settings, where its defaults do not serve."""
    config = Config()
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.keep_alive_timeout = 15.0  # also the longest time that a request's head may take
    config.max_app_queue_size = 32
    config.h11_max_incomplete_size = 16384
    config.websocket_max_message_size = 4096
    return config


class Server:
    """Accepts and serves connections; ``run`` is a restartable actor.

    listening:  the inherited socket or its file descriptor; it stays open, for others accept from it too
    shutdown:   set it to drain: requests under way end, live views are sent away, what is stuck is closed
    """

    def __init__(
        self, app: WebApp, listening: socket.socket | int, settings: WebSettings, shutdown: Shutdown
    ) -> None:
        self._app, self._settings, self._shutdown = app, settings, shutdown
        self._fd = listening if isinstance(listening, int) else listening.fileno()
        self._config = http_settings()
        self._context = WorkerContext(None)
        self._open: set[Connection] = set()
        self._left = trio.Event()
        self._tls: RenewedTls | None = None

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        settings = self._settings
        if settings.tls_certificate and settings.tls_key:
            self._tls = web_tls(settings.tls_certificate, settings.tls_key)
        sock = socket.socket(fileno=os.dup(self._fd))
        sock.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        async with listener, trio.open_nursery() as actors:
            await actors.start(self._app.live.run)
            async with trio.open_nursery() as connections:
                try:
                    async with trio.open_nursery() as accepting:
                        await accepting.start(self._accept, listener, connections)
                        task_status.started()
                        await self._shutdown.wait()
                        accepting.cancel_scope.cancel()
                    await self._drain()
                finally:
                    for connection in self._open:  # its sends are shielded: only this ends them
                        connection.abort()
                    connections.cancel_scope.cancel()
            actors.cancel_scope.cancel()

    async def _accept(
        self, listener: trio.SocketListener, connections: trio.Nursery, *, task_status: Ready
    ) -> None:
        task_status.started()
        await trio.serve_listeners(self._serve, [listener], handler_nursery=connections)

    async def _serve(self, stream: trio.SocketStream) -> None:
        if len(self._open) >= self._settings.max_connections:
            await trio.aclose_forcefully(stream)
            return
        sock = socket.socket(fileno=stream.socket.detach())
        try:
            connection = Connection(self._app, self._config, self._context, self._wire(sock))
        except OSError:  # it has gone already
            sock.close()
            return
        self._open.add(connection)
        try:
            await connection.run()
        except Exception as crash:  # one client's trouble is not another's
            logs.error("http_connection_crashed", crash)
        finally:
            self._open.discard(connection)
            self._left.set()

    def _wire(self, sock: socket.socket) -> Wire:
        """raises: OSError"""
        deadline_s = self._settings.write_deadline_s
        if self._tls is None:
            return Wire(sock, deadline_s)
        return TlsWire(sock, deadline_s, self._tls())

    async def _drain(self) -> None:
        self._app.live.close()
        await self._context.terminated.set()  # connections without a request close
        for connection in self._open:
            connection.hurry(STUCK_S)
        with trio.move_on_at(self._shutdown.deadline):
            while self._open:
                self._left = trio.Event()
                await self._left.wait()


async def serve(
    app: WebApp,
    listening: socket.socket | int,
    settings: WebSettings,
    *,
    shutdown: Shutdown,
    task_status: Ready = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` until ``shutdown`` is set, then as long as it allows."""
    await Server(app, listening, settings, shutdown).run(task_status=task_status)
