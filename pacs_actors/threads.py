"""Native threads for calls that block: disk writes, fsync, header scans.

Receives calls from Trio tasks, runs them on a fixed set of threads, sends results back. Owns those threads.
The threads live as long as the pool, and one wake-up of the Trio loop brings every result that is ready,
which makes a call cheaper than ``trio.to_thread``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Generic, TypeVar, TypeVarTuple

import outcome
import trio
from msgspec import Struct

from pacs_actors import cores
from pacs_actors.operations import logs
from protocols.errors import Misuse

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class PoolStatistics(Struct, frozen=True):
    """A reading of one pool.

    threads:  native threads
    busy:     of them at work
    waiting:  calls that no thread has taken yet
    """

    threads: int
    busy: int
    waiting: int


class _Call(Generic[T]):
    """One call on its way to a thread and back."""

    __slots__ = ("abandon", "abandoned", "claim", "done", "result", "task", "work")

    def __init__(
        self,
        work: Callable[[], T],
        task: trio.lowlevel.Task | None,
        abandon: Callable[[T], object] | None,
    ) -> None:
        self.work, self.task, self.abandon = work, task, abandon
        self.done: Callable[[outcome.Outcome[T]], object] | None = None
        self.claim = (
            Lock()
        )  # whoever gets it first decides: the thread starts the call, or the asker withdraws it
        self.abandoned = False
        self.result: outcome.Outcome[T] | None = None


class NativePool:
    """Persistent native threads behind an awaitable ``run``.

    Use as an async context manager. Leaving it lets queued calls finish, then joins the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        """threads: how many, at least 1; name: of the threads, as tools show it."""
        if threads < 1:
            raise Misuse(f"a pool of {threads} threads")
        self.name = name
        self._calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._done: deque[_Call[Any]] = deque()
        self._waking = False
        self._outstanding = 0
        self._alive = 0
        self._open = False
        self._ended = trio.Event()
        self._threads = [Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]

    async def __aenter__(self) -> NativePool:
        self._token = trio.lowlevel.current_trio_token()
        with cores.roaming():
            for thread in self._threads:
                thread.start()
                self._alive += 1
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for _ in self._threads:
            self._calls.put(None)
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        for thread in self._threads:
            thread.join()

    @property
    def statistics(self) -> PoolStatistics:
        waiting = self._calls.qsize()
        busy = min(len(self._threads), max(0, self._outstanding - waiting))
        return PoolStatistics(len(self._threads), busy, waiting)

    async def run(
        self,
        function: Callable[[*Arguments], T],
        *arguments: *Arguments,
        abandon: Callable[[T], object] | None = None,
    ) -> T:
        """Run ``function(*arguments)`` on a native thread and return what it returns.

        A cancelled call that no thread has taken is withdrawn. One that has begun is waited for, because it
        may be using the caller's buffers; its result is returned and the cancellation comes at the next
        checkpoint. With ``abandon`` the caller leaves at once instead, and a result that comes later is
        given to ``abandon`` on a native thread.

        raises: whatever the function raises; Misuse if the pool is not open
        """
        if not self._open:
            raise Misuse(f"{self.name} is not open")
        call = _Call(lambda: function(*arguments), trio.lowlevel.current_task(), abandon)

        def withdraw(_: object) -> trio.lowlevel.Abort:
            if call.claim.acquire(blocking=False):
                self._outstanding -= 1
                return trio.lowlevel.Abort.SUCCEEDED
            if abandon is None:
                return trio.lowlevel.Abort.FAILED
            call.abandoned = True
            return trio.lowlevel.Abort.SUCCEEDED

        self._outstanding += 1
        self._calls.put(call)
        result: T = await trio.lowlevel.wait_task_rescheduled(withdraw)
        return result

    def start(
        self,
        function: Callable[[*Arguments], T],
        *arguments: *Arguments,
        done: Callable[[outcome.Outcome[T]], object],
    ) -> None:
        """Run ``function(*arguments)`` on a native thread without a task that waits; it cannot be withdrawn.

        done:    gets the outcome, on Trio's thread, and must not raise
        raises:  Misuse if the pool is not open
        """
        if not self._open:
            raise Misuse(f"{self.name} is not open")
        call: _Call[T] = _Call(lambda: function(*arguments), None, None)
        call.done = done
        self._outstanding += 1
        self._calls.put(call)

    def submit(self, function: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
        """Run ``function(*arguments)`` on a native thread with nobody waiting; a failure is logged.

        For clean-up from places that must not wait, such as a cancelled task. Runs before the pool closes,
        and in the caller's thread once it has.
        """
        call: _Call[object] = _Call(lambda: function(*arguments), None, None)
        if self._open:
            self._outstanding += 1
            self._calls.put(call)
        else:
            call.result = outcome.capture(call.work)
            self._report(call)

    def _work(self) -> None:
        """A thread's life: take, run, put among the results, wake the loop if nobody has yet."""
        while (call := self._calls.get()) is not None:
            if call.claim.acquire(blocking=False):
                call.result = outcome.capture(call.work)
                self._done.append(call)
                self._wake(self._deliver)
            # An idle thread would otherwise hold its last result, and the buffers it refers to, alive.
            del call
        self._soon(self._thread_ended)

    def _wake(self, deliver: Callable[[], None]) -> None:
        # The flag falls before the results are taken: whoever finds it raised is sure to be seen by the
        # coming delivery.
        if not self._waking:
            self._waking = True
            self._soon(deliver)

    def _soon(self, function: Callable[[], None]) -> None:
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            logs.debug("pool_outlived_loop", pool=self.name)

    def _thread_ended(self) -> None:
        self._deliver()
        self._alive -= 1
        if not self._alive:
            self._ended.set()

    def _deliver(self) -> None:
        """On the Trio thread: hand every result that is ready to its asker."""
        self._waking = False
        while self._done:
            call = self._done.popleft()
            self._outstanding -= 1
            if call.done is not None and call.result is not None:
                call.done(call.result)
            elif call.task is not None and call.result is not None and not call.abandoned:
                trio.lowlevel.reschedule(call.task, call.result)
            else:
                self._clean_up(call)

    def _clean_up(self, call: _Call[Any]) -> None:
        if call.abandon is not None and isinstance(call.result, outcome.Value):
            self.submit(call.abandon, call.result.value)
        else:
            self._report(call)

    def _report(self, call: _Call[Any]) -> None:
        if isinstance(call.result, outcome.Error):
            logs.error("unattended_call_failed", exception=call.result.error, pool=self.name)
