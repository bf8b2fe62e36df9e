"""Whether a worker process is alive: it starts in time, and then its loop turns. Reads the shared page; kills nobody.

Time is what the worker was given, not what a clock says. A machine that has more to do than it can must not lose workers that
are merely slow: that would cost it their associations, and two seconds of processor time for each that it starts instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from pacs_actors.node_page import ACCEPTING, DRAINING, NodePage

_LOOKS: Final = 10  # within each patience
_LONGEST_START: Final = 8  # times the patience with the first start
_LONGEST_WAIT: Final = 8  # times a patience, however little the worker is given: its peers wait, too


class _Silence:
    """counted_s: without what the worker waited for a processor; whole_s: with it"""

    def __init__(self) -> None:
        self.counted_s = self.whole_s = 0.0

    def add(self, passed_s: float, waited_s: float) -> None:
        self.counted_s += max(0.0, passed_s - waited_s)
        self.whole_s += passed_s

    def exceeds(self, patience_s: float) -> bool:
        return self.counted_s > patience_s or self.whole_s > _LONGEST_WAIT * patience_s


class LifeSigns:
    """A worker slot's, over all lives of its worker.

    frozen_after_s:  longest silence of a worker that accepts
    start_within_s:  how long a start may take until the worker accepts. Each start that takes longer gets twice as long
                     the next time, up to eight times: a disk may be slow, not dead

    Both in seconds in which the worker could have run; eight times as long in any case.
    """

    def __init__(self, page: NodePage, slot: int, *, frozen_after_s: float, start_within_s: float) -> None:
        self.page, self.slot = page, slot
        self.frozen_after_s, self.start_within_s = frozen_after_s, start_within_s
        self._patience = 1

    async def until_lost(self, waited_s: Callable[[], float]) -> str:
        """Watch one life of the worker from its beginning; returns what is wrong with it. Draining has its own deadline.

        waited_s: how long it waited for a processor since that was last asked
        """
        start, silence = _Silence(), _Silence()
        seen = self.page.heartbeat(self.slot)
        look_every_s = min(self.frozen_after_s, self.start_within_s) / _LOOKS
        while True:
            before = trio.current_time()
            await trio.sleep(look_every_s)
            # While we were kept from looking, by the load or because the machine itself stood still, so was the worker.
            passed_s = min(trio.current_time() - before, 2 * look_every_s)
            waited = waited_s()
            start.add(passed_s, waited)
            silence.add(passed_s, waited)
            state, beat = self.page.state(self.slot), self.page.heartbeat(self.slot)
            if beat != seen or state != ACCEPTING:
                seen, silence = beat, _Silence()
            if state == ACCEPTING:
                self._patience = 1
                if silence.exceeds(self.frozen_after_s):
                    return "frozen"
            elif state != DRAINING and start.exceeds(self.start_within_s * self._patience):
                self._patience = min(2 * self._patience, _LONGEST_START)
                return "start_hung"
