"""How much work something is, in a unit that a slow or busy machine changes as well."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from supervisors.run_queue import RunQueue


def work_of(call: Callable[[], object]) -> float:
    """CPU time of a call, in that of counting to a million in the same process: some 30 ms on a machine of today."""
    before = _count()
    began_s = time.process_time()
    call()
    took_s = time.process_time() - began_s
    return took_s / max(before, _count())


def _count() -> float:
    began_s = time.process_time()
    number = 0
    while number < 1_000_000:
        number += 1
    return time.process_time() - began_s


class TimeGiven:
    """Time in which some processes could have run: what a server promises in seconds is not about what else its machine has to do.

    pids:    of whoever has a part in it, besides this process; asked again each time
    seconds: since it was made, up to the last look, without what the one of them waited for a processor that waited longest. On a
             machine that does nothing else that is the time of the clock
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._queues: dict[int, RunQueue] = {}
        self._looked_at = time.monotonic()
        self.seconds = 0.0
        self.look()

    def look(self) -> None:
        """To be called often: between two looks, one process's waiting stands for that of all."""
        waited_s = 0.0
        for pid in {os.getpid(), *self._pids()}:
            if pid in self._queues:
                waited_s = max(waited_s, self._queues[pid].waited_s())
            else:
                self._queues[pid] = RunQueue(pid)
        now = time.monotonic()
        self.seconds += max(0.0, now - self._looked_at - waited_s)
        self._looked_at = now
