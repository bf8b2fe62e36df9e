"""How long a connection lives: whether it has requests under way, and what is left to them once the client has gone."""

from __future__ import annotations

from typing import Final

import trio
from hypercorn.trio.worker_context import WorkerContext

AFTERLIFE_S: Final = 5.0
LINGER_S: Final = 1.0


class Life:
    """scope: of all that the connection does

    idle_since: since when there is no request under way, on Trio's clock; None while there is one
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self.scope = trio.CancelScope()
        self.idle_since: float | None = trio.current_time()

    def begin(self) -> None:
        self.idle_since = None

    def end(self) -> None:
        self.idle_since = trio.current_time()

    @property
    def draining(self) -> bool:
        """Requests under way are the last."""
        return self._context.terminated.is_set()

    def peer_left(self) -> None:
        """An application that neither listens nor ends although its client has left is cancelled."""
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + AFTERLIFE_S)
