"""One connection: finds out what it speaks, and watches over it while that is served.

HTTP/1.1 with websockets; over TLS also HTTP/2. hypercorn's own TCP server sends under a shield without a deadline, so one client
that stops reading would hold up the shutdown of a worker: here nothing outlasts ``abort`` and the wire's deadline.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework

from web.serving.http1 import Http1
from web.serving.http2 import Http2
from web.serving.life import Life
from web.serving.tls_wire import TlsWire
from web.serving.wire import Wire

_LOOKS_EVERY_S: Final = 5.0


class _Speaker(Protocol):
    async def run(self) -> None:
        """Serve until the client has left, or nothing more is to be said."""

    async def close(self) -> None:
        """End it: there is no request under way."""


class Connection:
    """Serves one accepted connection until it is closed."""

    def __init__(self, app: ASGIFramework, config: Config, context: WorkerContext, wire: Wire) -> None:
        self._app, self._config, self._context, self._wire = app, config, context, wire
        self._life, self._watching = Life(context), trio.CancelScope()

    async def run(self) -> None:
        """Returns when the connection is closed; the peer's misbehaviour is not an error."""
        try:
            with self._life.scope:
                protocol = await self._wire.shake_hands() if isinstance(self._wire, TlsWire) else "http/1.1"
                if protocol is not None:
                    await self._speak(protocol)
        finally:
            self._wire.abort()

    def abort(self) -> None:
        """Close at once. Whoever sends or receives on it wakes up."""
        self._wire.abort()

    def hurry(self, write_deadline_s: float) -> None:
        """From now on a peer that reads nothing for so long is closed, if it was not sooner already."""
        self._wire.hurry(write_deadline_s)

    async def _speak(self, protocol: str) -> None:
        async with TaskGroup() as tasks:
            speaker: _Speaker = (
                Http2(self._app, self._wire, self._life, tasks)
                if protocol == "h2"
                else Http1(
                    self._app,
                    ASGIWrapper(self._app),
                    self._config,
                    self._context,
                    self._wire,
                    self._life,
                    tasks,
                )
            )
            self._life.end()
            tasks.spawn(self._watch, speaker)
            await speaker.run()
            self._watching.cancel()

    async def _watch(self, speaker: _Speaker) -> None:
        """Ends it when it is idle for too long, which also bounds how long the head of a request may take, or while draining."""
        patience_s = self._config.keep_alive_timeout
        with self._watching:
            while True:
                now, idle_since = trio.current_time(), self._life.idle_since
                if idle_since is None and self._life.draining:
                    return  # the request that is under way is the last
                if idle_since is not None and (self._life.draining or now >= idle_since + patience_s):
                    with trio.CancelScope(shield=True):
                        await speaker.close()
                    return
                ends = float("inf") if idle_since is None else idle_since + patience_s
                with trio.move_on_at(min(ends, now + min(_LOOKS_EVERY_S, patience_s))):
                    await self._context.terminated.wait()
                if self._life.idle_since is None and self._wire.peer_has_left():
                    self._life.peer_left()
