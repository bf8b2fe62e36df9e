"""A thread with an asyncio loop, for libraries that need one: units of work from Trio run there as a whole.

A unit gets and gives values that nobody changes meanwhile. Whoever waits for one may leave at any time: the unit is
cancelled over there and its result dropped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

import outcome
import trio
import uvloop

from pacs_actors import cores
from pacs_actors.operations import logs
from protocols.errors import Unavailable

T = TypeVar("T")


class Pending(Generic[T]):
    """A unit on its way. One task may wait for it, once; whoever does not want it any more drops it."""

    __slots__ = ("_seam", "dropped", "ended", "result", "task", "unit", "waiter")

    def __init__(
        self, seam: AsyncioThread, unit: Callable[[], Awaitable[T]], ended: Callable[[], object] | None
    ) -> None:
        self._seam, self.unit, self.ended = seam, unit, ended
        self.task: asyncio.Task[T] | None = None
        self.waiter: trio.lowlevel.Task | None = None
        self.result: outcome.Outcome[T] | None = None
        self.dropped = False

    async def wait(self) -> T:
        """raises: what the unit raises; Unavailable if the thread has stopped"""
        if self.result is None:
            self.waiter = trio.lowlevel.current_task()
            return await trio.lowlevel.wait_task_rescheduled(self._leave)  # type: ignore[no-any-return]
        await trio.lowlevel.checkpoint()
        return self.result.unwrap()

    def drop(self) -> None:
        """Cancel it if it runs, forget it if it has ended."""
        self.waiter, self.dropped = None, True
        if self.result is None:
            self._seam.cancel(self)

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self.drop()
        return trio.lowlevel.Abort.SUCCEEDED


class AsyncioThread:
    """An async context manager in Trio. name: of the thread, as tools show it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name=name, daemon=True)
        self._open = False

    async def __aenter__(self) -> AsyncioThread:
        self._token = trio.lowlevel.current_trio_token()
        self._stopping = asyncio.Event()
        with cores.roaming():
            self._thread.start()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What still runs is cancelled, and ends before this returns."""
        self._open = False
        self._loop.call_soon_threadsafe(self._stopping.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join)

    def start(
        self, unit: Callable[[], Awaitable[T]], ended: Callable[[], object] | None = None
    ) -> Pending[T]:
        """Begin a unit. ended: called on Trio's thread when nothing of it runs any more. raises: Unavailable"""
        if not self._open:
            raise Unavailable(f"{self.name}: stopped")
        pending = Pending(self, unit, ended)
        self._loop.call_soon_threadsafe(self._begin, pending)
        return pending

    async def run(self, unit: Callable[[], Awaitable[T]]) -> T:
        """raises: what the unit raises; Unavailable if the thread has stopped"""
        return await self.start(unit).wait()

    def cancel(self, pending: Pending[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nothing runs any more
            self._loop.call_soon_threadsafe(self._cancel, pending)

    # On the asyncio thread.

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(partial(_log_stray, self.name))
        try:
            self._loop.run_until_complete(self._stopping.wait())
            stray = asyncio.all_tasks(self._loop)
            for task in stray:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*stray, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def _begin(self, pending: Pending[Any]) -> None:
        pending.task = self._loop.create_task(_whole(pending.unit))
        # Not a handler around the unit: a task that is cancelled before it begins runs none.
        pending.task.add_done_callback(partial(self._hand_over, pending))

    def _cancel(self, pending: Pending[Any]) -> None:
        if pending.task is not None:
            pending.task.cancel()

    def _hand_over(self, pending: Pending[Any], task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        result: outcome.Outcome[Any]
        if task.cancelled():  # dropped, or the thread stops
            result = outcome.Error(Unavailable(f"{self.name}: stopped"))
        elif error is not None:
            result = outcome.Error(error)
        else:
            result = outcome.Value(task.result())
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(_deliver, pending, result)


async def _whole(unit: Callable[[], Awaitable[T]]) -> T:
    return await unit()


def _deliver(pending: Pending[Any], result: outcome.Outcome[Any]) -> None:
    """On Trio's thread."""
    if pending.ended is not None:
        pending.ended()
    if pending.dropped:
        return
    pending.result = result
    if pending.waiter is not None:
        waiter, pending.waiter = pending.waiter, None
        trio.lowlevel.reschedule(waiter, result)


def _log_stray(name: str, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A stray failure on the loop is an event for the log, never the end of the thread."""
    logs.error("asyncio_loop", context.get("exception"), loop=name, message=str(context.get("message", "")))
