"""The one seam to PostgreSQL: units of work from Trio, run by asyncpg on a thread of its own.

``Database`` owns a thread with a uvloop event loop and a fixed set of held connections. A unit of work is one
coroutine function of a connection; the whole unit runs over there, so that a cancelled caller cannot leak a
connection and a crossing is paid once a unit, not once a statement. Submissions and results wake the other
side only when it may be asleep.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

import asyncpg
import trio
import uvloop
from msgspec import Struct

from config.settings import DatabaseSettings
from pacs_actors import cores
from pacs_actors.connections import SERVER_SETTINGS, Connections, Job, Unit
from pacs_actors.operations import logs
from protocols.errors import Unavailable

__all__ = ["SERVER_SETTINGS", "Database", "DatabaseStatistics", "Unit"]

T = TypeVar("T")


class DatabaseStatistics(Struct, frozen=True):
    """connections: of them open now; waiting: units without a connection yet; the rest count since the
    start.
    """

    connections: int
    in_use: int
    waiting: int
    units: int
    waits: int
    cancelled: int
    connects: int
    failures: int


class Database:
    """dsn: ``postgresql://…``; enter it as an async context manager in Trio. Entering does not wait for
    PostgreSQL.
    """

    def __init__(self, dsn: str, settings: DatabaseSettings) -> None:
        self.settings = settings
        self._connections = Connections(dsn, settings.connections, settings.call_timeout_s, self._finish)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="database", daemon=True)
        self._submitted: deque[Job[Any]] = deque()
        self._finished: deque[Job[Any]] = deque()
        self._loop_woken = self._trio_woken = False
        self._open = False

    async def __aenter__(self) -> Database:
        self._token = trio.lowlevel.current_trio_token()
        self._open = True
        with cores.roaming():
            self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open = False
        with trio.CancelScope(shield=True):
            self._loop.call_soon_threadsafe(self._connections.stop)
            # Bounded: every connection gets little time to close.
            await trio.to_thread.run_sync(self._thread.join)

    async def run(self, unit: Unit[T], *, within_s: float | None = None, urgent: bool = False) -> T:
        """Run one unit of work on one connection and return its result.

        The unit may use only asyncio and the connection. When the caller is cancelled or the deadline passes,
        the caller is released at once, the running statement is cancelled and the connection made clean;
        whether a commit under way still took place is then unknown.

        within_s: deadline of the whole call; default ``database.call_timeout_s``
        urgent:   takes the next free connection before those who wait already
        raises:   Unavailable when PostgreSQL is away or the deadline has passed; what the unit raises
                  otherwise
        """
        if not self._open:
            raise Unavailable("PostgreSQL: stopped")
        limit_s = self.settings.call_timeout_s if within_s is None else within_s
        with trio.move_on_after(limit_s):
            job = Job(unit, trio.lowlevel.current_task(), urgent)
            self._submitted.append(job)
            if not self._loop_woken:
                self._loop_woken = True
                self._loop.call_soon_threadsafe(self._take_submitted)
            return cast(T, await trio.lowlevel.wait_task_rescheduled(partial(self._abandon, job)))
        raise Unavailable(f"PostgreSQL: no answer in {limit_s:g} s")

    async def wait_ready(self, within_s: float) -> None:
        """Wait until PostgreSQL answers. raises: Unavailable after ``within_s``."""
        with trio.move_on_after(within_s):
            while True:
                try:
                    await self.run(_ping)
                except Unavailable:
                    await trio.sleep(0.02)
                else:
                    return
        raise Unavailable(f"PostgreSQL: {self.down_because or 'no answer'}")

    @property
    def down_because(self) -> str | None:
        """Why PostgreSQL cannot be reached; None while it can, as far as is known."""
        return self._connections.down_because

    @property
    def connects(self) -> int:
        """Connections opened since the start."""
        return self._connections.connects

    def statistics(self) -> DatabaseStatistics:
        """A snapshot; the numbers are read without stopping the database thread."""
        pool = self._connections
        return DatabaseStatistics(
            connections=sum(holder.connected for holder in pool.holders),
            in_use=sum(holder.job is not None for holder in pool.holders),
            waiting=len(pool.queue),
            units=pool.units,
            waits=pool.waits,
            cancelled=pool.cancelled,
            connects=pool.connects,
            failures=pool.failures,
        )

    # On Trio's thread.

    def _abandon(self, job: Job[Any], _: object) -> trio.lowlevel.Abort:
        job.abandoned = True
        with suppress(RuntimeError):  # the loop is closed: nothing is running any more
            self._loop.call_soon_threadsafe(self._connections.cancel, job)
        return trio.lowlevel.Abort.SUCCEEDED

    def _deliver(self) -> None:
        # Lowered before draining: what is appended after the last popleft wakes us again.
        self._trio_woken = False
        while self._finished:
            job = self._finished.popleft()
            if not job.abandoned:
                trio.lowlevel.reschedule(cast(trio.lowlevel.Task, job.waiter), job.result)

    # On the database thread.

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_log_stray)
        try:
            self._loop.run_until_complete(self._connections.run())
            self._take_submitted()
            # asyncpg's own, such as the cancellation of a statement
            stray = asyncio.all_tasks(self._loop)
            for task in stray:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*stray, return_exceptions=True))
        finally:
            self._loop.close()

    def _take_submitted(self) -> None:
        self._loop_woken = False
        while self._submitted:
            self._connections.submit(self._submitted.popleft())

    def _finish(self, job: Job[Any]) -> None:
        self._finished.append(job)
        if not self._trio_woken:
            self._trio_woken = True
            with suppress(trio.RunFinishedError):  # nobody is left to hear it
                self._token.run_sync_soon(self._deliver)


async def _ping(connection: asyncpg.Connection) -> None:
    await connection.fetchval("SELECT 1")


def _log_stray(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A stray failure on the loop is an event for the log, never the end of the thread."""
    logs.error("database_loop", context.get("exception"), message=str(context.get("message", "")))
