"""Whether a worker process is alive: it starts in time, and then its loop turns. Reads the shared page; kills nobody."""

from __future__ import annotations

import trio

from pacs_actors.node_page import ACCEPTING, DRAINING, NodePage

_LOOKS = 10  # within each patience
_LONGEST_START: int = 8  # times the patience with the first start


class LifeSigns:
    """A worker slot's, over all lives of its worker.

    frozen_after_s:  longest silence of a worker that accepts
    start_within_s:  how long a start may take until the worker accepts. Each start that takes longer gets twice as long
                     the next time, up to eight times: a disk may be slow, not dead
    """

    def __init__(self, page: NodePage, slot: int, *, frozen_after_s: float, start_within_s: float) -> None:
        self.page, self.slot = page, slot
        self.frozen_after_s, self.start_within_s = frozen_after_s, start_within_s
        self._patience = 1

    async def until_lost(self) -> str:
        """Watch one life of the worker from its beginning; returns what is wrong with it. Draining has its own deadline."""
        began = seen_at = trio.current_time()
        seen = self.page.heartbeat(self.slot)
        while True:
            await trio.sleep(min(self.frozen_after_s, self.start_within_s) / _LOOKS)
            now, state, beat = trio.current_time(), self.page.state(self.slot), self.page.heartbeat(self.slot)
            if state == ACCEPTING:
                self._patience = 1
                if beat == seen and now - seen_at > self.frozen_after_s:
                    return "frozen"
            elif state != DRAINING and now - began > self.start_within_s * self._patience:
                self._patience = min(2 * self._patience, _LONGEST_START)
                return "start_hung"
            if beat != seen or state != ACCEPTING:
                seen, seen_at = beat, now
