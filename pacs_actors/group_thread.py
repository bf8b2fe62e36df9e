"""One native thread for work that costs as much for many as for one, such as a sync of the disk.

Receives work from Trio tasks, serves together what waits, sends results back. What comes while a group is served is the next
group, so groups grow with the load and a lone caller waits for nobody. The thread is woken once for all that the loop had for it
when it came to rest: sooner, the two would only take Python's lock from each other. One wake-up of the Trio loop brings the
results of a whole group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Generic, TypeVar

import outcome
import trio
from trio.abc import Instrument

from pacs_actors.operations import logs
from pacs_actors.threads import PoolStatistics
from protocols.errors import Misuse

W = TypeVar("W")
R = TypeVar("R")


class _Call(Generic[W, R]):
    """``claim``: whoever gets it first decides: the thread takes the work, or the asker withdraws it."""

    __slots__ = ("claim", "done", "result", "work")

    def __init__(self, work: W, done: Callable[[outcome.Outcome[R]], object]) -> None:
        self.work, self.done = work, done
        self.claim = Lock()
        self.result: outcome.Outcome[R] | None = None


class GroupThread(Generic[W, R], Instrument):
    """Use as an async context manager. Leaving it lets what waits be served, then joins the thread.

    serve:  on the thread: an outcome for each of up to ``most`` pieces of work, in their order
    name:   of the thread, as tools show it
    """

    def __init__(
        self, serve: Callable[[Sequence[W]], Sequence[outcome.Outcome[R]]], most: int, name: str
    ) -> None:
        self._serve, self._most, self.name = serve, most, name
        self._gathered: list[_Call[W, R]] = []  # since the loop last came to rest
        self._waiting: SimpleQueue[list[_Call[W, R]] | None] = SimpleQueue()
        self._taken: deque[_Call[W, R]] = deque()  # the thread's own
        self._done: deque[_Call[W, R]] = deque()
        self._outstanding = self._at_work = 0
        self._open = False
        self._ended = trio.Event()
        self._thread = Thread(target=self._work, name=name, daemon=True)

    async def __aenter__(self) -> GroupThread[W, R]:
        self._token = trio.lowlevel.current_trio_token()
        self._thread.start()
        trio.lowlevel.add_instrument(self)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        trio.lowlevel.remove_instrument(self)
        self.before_io_wait(0)
        self._waiting.put(None)
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        self._thread.join()

    @property
    def statistics(self) -> PoolStatistics:
        at_work = self._at_work
        return PoolStatistics(1, int(at_work > 0), max(0, self._outstanding - at_work))

    async def run(self, work: W) -> R:
        """Have the work done; its result.

        A cancelled call that the thread has not taken is withdrawn. One that it has taken is waited for, because the thread
        may be using the caller's buffers; the cancellation comes at the next checkpoint.

        raises: what the outcome holds; Misuse if the thread does not run
        """
        call = self._put(work, partial(trio.lowlevel.reschedule, trio.lowlevel.current_task()))

        def withdraw(_: object) -> trio.lowlevel.Abort:
            if call.claim.acquire(blocking=False):
                self._outstanding -= 1
                return trio.lowlevel.Abort.SUCCEEDED
            return trio.lowlevel.Abort.FAILED

        result: R = await trio.lowlevel.wait_task_rescheduled(withdraw)
        return result

    def start(self, work: W, done: Callable[[outcome.Outcome[R]], object]) -> None:
        """Have the work done without a task that waits for it, which spares its switches; it cannot be withdrawn.

        done:    gets the outcome, on Trio's thread, and must not raise
        raises:  Misuse if the thread does not run
        """
        self._put(work, done)

    def _put(self, work: W, done: Callable[[outcome.Outcome[R]], object]) -> _Call[W, R]:
        if not self._open:
            raise Misuse(f"{self.name} is not open")
        call: _Call[W, R] = _Call(work, done)
        self._outstanding += 1
        self._gathered.append(call)
        return call

    def before_io_wait(self, timeout: float) -> None:
        """Trio is about to ask the kernel: every task has had its turn."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._waiting.put(gathered)

    def _work(self) -> None:
        """The thread's life: take what waits, serve it, wake the loop."""
        closing = False
        while not closing:
            group, closing = self._take()
            self._at_work = len(group)
            if group:
                self._answer(group)
                self._at_work = 0
                self._soon(self._deliver)
            # An idle thread would otherwise hold its last group, and the buffers it refers to, alive.
            del group
        self._soon(self._end)

    def _take(self) -> tuple[list[_Call[W, R]], bool]:
        """Wait for work; as much of it as makes a group, and whether it was the last."""
        group: list[_Call[W, R]] = []
        try:
            while len(group) < self._most:
                if not self._taken:
                    gathered = self._waiting.get(block=not group)
                    if gathered is None:
                        return group, True
                    self._taken.extend(gathered)
                call = self._taken.popleft()
                if call.claim.acquire(blocking=False):
                    group.append(call)
        except Empty:
            pass
        return group, False

    def _answer(self, group: list[_Call[W, R]]) -> None:
        try:
            results = self._serve([call.work for call in group])
            for call, result in zip(group, results, strict=True):
                call.result = result
        except BaseException as bug:
            for call in group:
                call.result = outcome.Error(bug)
        self._done.extend(group)

    def _soon(self, function: Callable[[], None]) -> None:
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            logs.debug("pool_outlived_loop", pool=self.name)

    def _deliver(self) -> None:
        """On the Trio thread: hand every result that is ready to its asker."""
        while self._done:
            call = self._done.popleft()
            self._outstanding -= 1
            if call.result is not None:
                call.done(call.result)

    def _end(self) -> None:
        self._deliver()
        self._ended.set()
