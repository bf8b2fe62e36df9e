"""The last studies: asked for seldom, however many look, and still shown when the index is away."""

from __future__ import annotations

import time
from typing import Final

import trio

from pacs_actors.operations import logs
from protocols.errors import PacsError
from protocols.messages.status import StudySummary
from web.status import StatusSource

_WITHIN_S: Final = 3.0


class RecentStudies:
    """Keeps the last answer.

    rows:   newest first
    as_of:  wall clock of the answer, seconds since 1970; 0 before the first one
    """

    def __init__(self, source: StatusSource, every_s: float = 2.0) -> None:
        self._source, self._every_s = source, every_s
        self._asking = trio.Lock()
        self._next_at = -float("inf")
        self._answering = True
        self.rows: tuple[StudySummary, ...] = ()
        self.as_of = 0.0

    async def refresh(self) -> None:
        """Ask again unless that was done less than ``every_s`` ago; 3 s at most, never a PacsError."""
        async with self._asking:  # viewers that come meanwhile share this answer
            if trio.current_time() < self._next_at:
                return
            answered = False
            try:
                with trio.move_on_after(_WITHIN_S):
                    self.rows = await self._source.last_studies()
                    self.as_of = time.time()
                    answered = True
            except PacsError:
                pass  # the page shows how old the list is
            if answered != self._answering:
                logs.event("last_studies_answered" if answered else "last_studies_unanswered")
            self._answering = answered
            self._next_at = trio.current_time() + self._every_s
