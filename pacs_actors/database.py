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
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

import asyncpg
import outcome
import trio
import uvloop
from msgspec import Struct

from config.settings import DatabaseSettings
from pacs_actors.operations import logs
from protocols.errors import Unavailable

T = TypeVar("T")
Unit = Callable[[asyncpg.Connection], Awaitable[T]]

_FIRST_RETRY_S: Final = 0.05
_LONGEST_RETRY_S: Final = 1.0
_CONNECT_WITHIN_S: Final = 5.0
_RESET_WITHIN_S: Final = 2.0

# PostgreSQL is away, overloaded or changing hands: the same unit can succeed later. Everything else is a bug
# or a refusal.
_AWAY: Final = (
    OSError,
    EOFError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
)

SERVER_SETTINGS: Final = {
    "application_name": "pacs-actors",
    "jit": "off",  # our statements are short: compiling one costs more than running it
    # Two words with so many of their trigrams in common are alike (John, Jon; Smith, Smyth): see matching.py.
    "pg_trgm.strict_word_similarity_threshold": "0.28",
}


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


class _Job(Generic[T]):
    """A unit on its way. ``holder`` is touched by the database thread only, ``abandoned`` is set by
    Trio's.
    """

    __slots__ = ("abandoned", "holder", "result", "task", "unit", "urgent")

    def __init__(self, unit: Unit[T], task: trio.lowlevel.Task, urgent: bool) -> None:
        self.unit, self.task, self.urgent = unit, task, urgent
        self.abandoned = False
        self.holder: _Holder | None = None
        self.result: outcome.Outcome[T] = outcome.Error(Unavailable("PostgreSQL: stopped"))


class Database:
    """dsn: ``postgresql://…``; enter it as an async context manager in Trio. Entering does not wait for
    PostgreSQL.
    """

    def __init__(self, dsn: str, settings: DatabaseSettings) -> None:
        self.dsn, self.settings = dsn, settings
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="database", daemon=True)
        self._submitted: deque[_Job[Any]] = deque()
        self._finished: deque[_Job[Any]] = deque()
        self._loop_woken = self._trio_woken = False
        self._queue: deque[_Job[Any]] = deque()
        self._idle: list[_Holder] = []
        self._holders = [_Holder(self) for _ in range(settings.connections)]
        self._stopping = False
        self._open = False
        self.down_because: str | None = None  # until the first attempt has failed, units wait for it
        self.units = self.waits = self.cancelled = self.connects = self.failures = 0

    async def __aenter__(self) -> Database:
        self._token = trio.lowlevel.current_trio_token()
        self._open = True
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open = False
        with trio.CancelScope(shield=True):
            self._loop.call_soon_threadsafe(self._stop)
            # Bounded: closing a connection is given _RESET_WITHIN_S.
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
            job = _Job(unit, trio.lowlevel.current_task(), urgent)
            self._submitted.append(job)
            if not self._loop_woken:
                self._loop_woken = True
                self._loop.call_soon_threadsafe(self._dispatch)
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

    def statistics(self) -> DatabaseStatistics:
        """A snapshot; the numbers are read without stopping the database thread."""
        connected = sum(holder.connected for holder in self._holders)
        in_use = sum(holder.job is not None for holder in self._holders)
        return DatabaseStatistics(
            connected,
            in_use,
            len(self._queue),
            self.units,
            self.waits,
            self.cancelled,
            self.connects,
            self.failures,
        )

    # On Trio's thread.

    def _abandon(self, job: _Job[Any], _: object) -> trio.lowlevel.Abort:
        job.abandoned = True
        with suppress(RuntimeError):  # the loop is closed: nothing is running any more
            self._loop.call_soon_threadsafe(self._cancel, job)
        return trio.lowlevel.Abort.SUCCEEDED

    def _deliver(self) -> None:
        # Lowered before draining: what is appended after the last popleft wakes us again.
        self._trio_woken = False
        while self._finished:
            job = self._finished.popleft()
            if not job.abandoned:
                trio.lowlevel.reschedule(job.task, job.result)

    # On the database thread.

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_log_stray)
        tasks = [self._loop.create_task(holder.hold()) for holder in self._holders]
        for holder, task in zip(self._holders, tasks, strict=True):
            holder.task = task
        try:
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._dispatch()
            self._fail_queued("stopped")
            stray = asyncio.all_tasks(self._loop)
            for task in stray:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*stray, return_exceptions=True))
        finally:
            self._loop.close()

    def _stop(self) -> None:
        self._stopping = True
        for holder in self._holders:
            if holder.task is not None:
                holder.task.cancel()

    def _dispatch(self) -> None:
        self._loop_woken = False
        while self._submitted:
            job = self._submitted.popleft()
            if self.down_because is not None and not any(holder.connected for holder in self._holders):
                self._finish(job, outcome.Error(Unavailable(f"PostgreSQL: {self.down_because}")))
            elif self._idle:
                self._idle.pop().wake(job)
            else:
                self.waits += 1
                self._enqueue(job)

    def _hand_on(self, job: _Job[Any]) -> None:
        """A unit that met a dead connection: to whoever is free, else it goes first."""
        if self._idle:
            self._idle.pop().wake(job)
        else:
            self._queue.appendleft(job)

    def _enqueue(self, job: _Job[Any]) -> None:
        if job.urgent:
            self._queue.appendleft(job)
        else:
            self._queue.append(job)

    def _cancel(self, job: _Job[Any]) -> None:
        if job.holder is not None and job.holder.task is not None:
            self.cancelled += 1
            job.holder.task.cancel()

    def _finish(self, job: _Job[Any], result: outcome.Outcome[Any]) -> None:
        job.result = result
        self._finished.append(job)
        if not self._trio_woken:
            self._trio_woken = True
            try:
                self._token.run_sync_soon(self._deliver)
            except trio.RunFinishedError:
                self._finished.clear()

    def _fail_queued(self, why: str) -> None:
        while self._queue:
            self._finish(self._queue.popleft(), outcome.Error(Unavailable(f"PostgreSQL: {why}")))

    def _connected(self) -> None:
        if self.down_because is not None:
            self.down_because = None
            logs.event("database_connected")
        self.connects += 1

    def _unreachable(self, why: BaseException) -> None:
        self.failures += 1
        if any(holder.connected for holder in self._holders):
            return
        if self.down_because is None:
            logs.warning("database_away", why=type(why).__name__)
        self.down_because = f"away ({type(why).__name__})"
        self._fail_queued(self.down_because)


class _Holder:
    """One held connection and the asyncio task that runs units on it, one after the other."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.task: asyncio.Task[None] | None = None
        self.job: _Job[Any] | None = None
        self._connection: asyncpg.Connection | None = None
        self._waiter: asyncio.Future[_Job[Any] | None] | None = None

    @property
    def connected(self) -> bool:
        connection = self._connection
        return connection is not None and not connection.is_closed()

    async def hold(self) -> None:
        try:
            while not self.database._stopping:
                if not self.connected:
                    await self._connect()
                job = await self._next()
                if job is None or job.abandoned:
                    continue
                if self.connected:
                    await self._serve(job)
                else:
                    self.database._hand_on(job)
        finally:
            await self._close()

    def wake(self, job: _Job[Any] | None) -> None:
        assert self._waiter is not None
        if self._waiter.done():  # being stopped: the loop's end answers it
            if job is not None:
                self.database._enqueue(job)
            return
        self._waiter.set_result(job)

    async def _next(self) -> _Job[Any] | None:
        """The next unit; None when the connection has gone meanwhile."""
        database = self.database
        if database._queue:
            return database._queue.popleft()
        self._waiter = database._loop.create_future()
        database._idle.append(self)  # last in, first out: warm connections stay warm
        return await self._waiter

    async def _serve(self, job: _Job[Any]) -> None:
        connection, database = self._connection, self.database
        assert connection is not None
        assert self.task is not None
        job.holder, self.job = self, job
        result: outcome.Outcome[Any]
        clean = True
        try:
            result = outcome.Value(await job.unit(connection))
        except asyncio.CancelledError:
            if database._stopping:
                database._finish(job, job.result)
                raise
            clean, result = False, outcome.Error(Unavailable("PostgreSQL: cancelled"))
        except _AWAY as away:
            result = outcome.Error(Unavailable(f"PostgreSQL: {type(away).__name__}"))
        except asyncpg.InternalClientError:
            # The server's farewell came between two statements; asyncpg cannot go on after it.
            connection.terminate()
            result = outcome.Error(Unavailable("PostgreSQL: connection lost"))
        except asyncpg.InterfaceError as misuse:
            lost = connection.is_closed()
            result = outcome.Error(Unavailable("PostgreSQL: connection lost") if lost else misuse)
        except Exception as error:
            result = outcome.Error(error)
        finally:
            job.holder = self.job = None
        while self.task.cancelling() and not database._stopping:
            self.task.uncancel()
        database.units += 1
        database._finish(job, result)
        if not clean or (not connection.is_closed() and connection.is_in_transaction()):
            await self._reset(connection)

    async def _reset(self, connection: asyncpg.Connection) -> None:
        """Make a connection clean after a cancelled unit, or give it up."""
        try:
            async with asyncio.timeout(_RESET_WITHIN_S):
                await connection.reset()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()

    async def _connect(self) -> None:
        database = self.database
        retry_s = _FIRST_RETRY_S
        # A statement whose caller is gone and whose cancellation was lost ends by itself.
        backstop_ms = str(int(database.settings.call_timeout_s * 2000))
        while True:
            try:
                async with asyncio.timeout(_CONNECT_WITHIN_S):
                    self._connection = await asyncpg.connect(
                        database.dsn,
                        statement_cache_size=1000,
                        max_cached_statement_lifetime=0,
                        server_settings=SERVER_SETTINGS | {"statement_timeout": backstop_ms},
                    )
            except (*_AWAY, asyncpg.PostgresError, asyncpg.InterfaceError) as away:
                database._unreachable(away)
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _LONGEST_RETRY_S)
            else:
                self._connection.add_termination_listener(self._lost)
                database._connected()
                return

    def _lost(self, _: object) -> None:
        """Reconnect now rather than when the next unit comes."""
        if self in self.database._idle:
            self.database._idle.remove(self)
            self.wake(None)

    async def _close(self) -> None:
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(_RESET_WITHIN_S):
                await self._connection.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()


async def _ping(connection: asyncpg.Connection) -> None:
    await connection.fetchval("SELECT 1")


def _log_stray(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A stray failure on the loop is an event for the log, never the end of the thread."""
    logs.error("database_loop", context.get("exception"), message=str(context.get("message", "")))
