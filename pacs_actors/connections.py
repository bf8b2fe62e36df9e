"""Held connections to PostgreSQL and the units of work that run on them: the asyncio side of ``Database``.

Everything here runs on the database thread. Each connection has one asyncio task that takes units one after
the other; a connection that breaks is opened again at once, with growing pauses while PostgreSQL is away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Generic, TypeVar

import asyncpg
import outcome

from pacs_actors.operations import logs
from protocols.errors import Unavailable

T = TypeVar("T")
Unit = Callable[[asyncpg.Connection], Awaitable[T]]

_FIRST_RETRY_S: Final = 0.05
_LONGEST_RETRY_S: Final = 1.0
_CONNECT_WITHIN_S: Final = 5.0
_STARTING_S: Final = 30.0
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
    # A node whose network is cut holds locks that the others wait for: half a minute, not the two hours of the system.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "30000",
    "idle_in_transaction_session_timeout": "60000",
}


class Job(Generic[T]):
    """A unit on its way.

    abandoned: set by the caller's thread when nobody waits for the result any more
    holder:    who runs it; touched by the database thread only
    """

    __slots__ = ("abandoned", "holder", "result", "unit", "urgent", "waiter")

    def __init__(self, unit: Unit[T], waiter: object, urgent: bool) -> None:
        self.unit, self.waiter, self.urgent = unit, waiter, urgent
        self.abandoned = False
        self.holder: _Holder | None = None
        self.result: outcome.Outcome[T] = outcome.Error(Unavailable("PostgreSQL: stopped"))


class Connections:
    """A fixed number of held connections.

    finished: told of every job that has its result
    """

    def __init__(
        self, dsn: str, number: int, call_timeout_s: float, finished: Callable[[Job[Any]], None]
    ) -> None:
        self.dsn, self.call_timeout_s, self.finished = dsn, call_timeout_s, finished
        self.queue: deque[Job[Any]] = deque()
        self.idle: list[_Holder] = []
        self.holders = [_Holder(self) for _ in range(number)]
        self.stopping = False
        self.down_because: str | None = None
        self._starting_until = monotonic() + _STARTING_S
        self.units = self.waits = self.cancelled = self.connects = self.failures = 0

    async def run(self) -> None:
        """Hold the connections until ``stop``; returns when all are closed and all jobs have their
        results.
        """
        for holder in self.holders:
            holder.task = asyncio.create_task(holder.hold())
        await asyncio.gather(*(holder.task for holder in self.holders if holder.task), return_exceptions=True)
        self.fail_queued("stopped")

    def stop(self) -> None:
        self.stopping = True
        for holder in self.holders:
            if holder.task is not None:
                holder.task.cancel()

    def submit(self, job: Job[Any]) -> None:
        if self.stopping:
            self.finish(job, outcome.Error(Unavailable("PostgreSQL: stopped")))
        elif self.down_because is not None and not self._any_connected():
            self.finish(job, outcome.Error(Unavailable(f"PostgreSQL: {self.down_because}")))
        elif self.idle:
            self.idle.pop().wake(job)
        else:
            self.waits += 1
            self.enqueue(job)

    def cancel(self, job: Job[Any]) -> None:
        """Stop an abandoned job wherever it is."""
        if job.holder is None:
            with suppress(ValueError):  # it has its result already
                self.queue.remove(job)
        elif job.holder.task is not None:
            self.cancelled += 1
            job.holder.task.cancel()

    def hand_on(self, job: Job[Any]) -> None:
        """A unit that met a dead connection: to whoever is free, else it goes first."""
        if self.idle:
            self.idle.pop().wake(job)
        else:
            self.queue.appendleft(job)

    def enqueue(self, job: Job[Any]) -> None:
        if job.urgent:
            self.queue.appendleft(job)
        else:
            self.queue.append(job)

    def finish(self, job: Job[Any], result: outcome.Outcome[Any]) -> None:
        job.result = result
        self.finished(job)

    def fail_queued(self, why: str) -> None:
        while self.queue:
            self.finish(self.queue.popleft(), outcome.Error(Unavailable(f"PostgreSQL: {why}")))

    def connected_again(self) -> None:
        if self.down_because is not None:
            self.down_because = None
            logs.event("database_connected")
        self.connects += 1

    def unreachable(self, why: BaseException) -> None:
        self.failures += 1
        if self._any_connected() or self._is_starting():
            return
        if self.down_because is None:
            logs.warning("database_away", why=type(why).__name__)
        self.down_because = f"away ({type(why).__name__})"
        self.fail_queued(self.down_because)

    def suspect(self) -> None:
        """One connection did not answer in time. The idle ones connect again, which a frozen server does not answer either:
        otherwise it would take a deadline for each of them until we know.
        """
        for holder in tuple(self.idle):
            holder.give_up()

    def _is_starting(self) -> bool:
        """A server that starts beside us is not away: units wait for it, as long as their callers do."""
        return not self.connects and monotonic() < self._starting_until

    def _any_connected(self) -> bool:
        return any(holder.connected for holder in self.holders)


class _Holder:
    """One held connection and the asyncio task that runs units on it, one after the other."""

    def __init__(self, pool: Connections) -> None:
        self.pool = pool
        self.task: asyncio.Task[None] | None = None
        self.job: Job[Any] | None = None
        self._connection: asyncpg.Connection | None = None
        self._waiter: asyncio.Future[Job[Any] | None] | None = None

    @property
    def connected(self) -> bool:
        connection = self._connection
        return connection is not None and not connection.is_closed()

    async def hold(self) -> None:
        try:
            while not self.pool.stopping:
                if not self.connected:
                    await self._connect()
                job = await self._next()
                if job is None or job.abandoned:
                    continue
                if self.connected:
                    await self._serve(job)
                else:
                    self.pool.hand_on(job)
        finally:
            await self._close()

    def wake(self, job: Job[Any] | None) -> None:
        assert self._waiter is not None
        if self._waiter.done():  # being stopped: the loop's end answers it
            if job is not None:
                self.pool.enqueue(job)
            return
        self._waiter.set_result(job)

    async def _next(self) -> Job[Any] | None:
        """The next unit; None when the connection has gone meanwhile."""
        pool = self.pool
        if pool.queue:
            return pool.queue.popleft()
        self._waiter = asyncio.get_running_loop().create_future()
        pool.idle.append(self)  # last in, first out: warm connections stay warm
        try:
            job: Job[Any] | None = await self._waiter
        except asyncio.CancelledError:
            if not self._waiter.cancelled() and (given := self._waiter.result()) is not None:
                pool.enqueue(given)  # it came together with the order to stop
            raise
        return job

    async def _serve(self, job: Job[Any]) -> None:
        connection, pool = self._connection, self.pool
        assert connection is not None
        assert self.task is not None
        job.holder, self.job = self, job
        result: outcome.Outcome[Any]
        clean = True
        try:
            result = outcome.Value(await job.unit(connection))
        except asyncio.CancelledError:
            if pool.stopping:
                pool.finish(job, job.result)
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
        while self.task.cancelling() and not pool.stopping:
            self.task.uncancel()
        pool.units += 1
        pool.finish(job, result)
        if not clean or (not connection.is_closed() and connection.is_in_transaction()):
            await self._reset(connection)

    async def _reset(self, connection: asyncpg.Connection) -> None:
        """Make a connection clean after a cancelled unit, or give it up."""
        try:
            async with asyncio.timeout(_RESET_WITHIN_S):
                await connection.reset()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as failure:
            connection.terminate()
            if isinstance(failure, TimeoutError):
                self.pool.suspect()

    def give_up(self) -> None:
        """Close the connection, whatever its other end thinks of that."""
        if self._connection is not None:
            self._connection.terminate()

    async def _connect(self) -> None:
        pool = self.pool
        retry_s = _FIRST_RETRY_S
        # A statement whose caller is gone and whose cancellation was lost ends by itself.
        backstop_ms = str(int(pool.call_timeout_s * 2000))
        while True:
            try:
                async with asyncio.timeout(_CONNECT_WITHIN_S):
                    self._connection = await asyncpg.connect(
                        pool.dsn,
                        statement_cache_size=1000,
                        max_cached_statement_lifetime=0,
                        server_settings=SERVER_SETTINGS | {"statement_timeout": backstop_ms},
                    )
            except (*_AWAY, asyncpg.PostgresError, asyncpg.InterfaceError) as away:
                pool.unreachable(away)
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _LONGEST_RETRY_S)
            else:
                self._connection.add_termination_listener(self._lost)
                pool.connected_again()
                return

    def _lost(self, _: object) -> None:
        """Reconnect now rather than when the next unit comes."""
        if self in self.pool.idle:
            self.pool.idle.remove(self)
            self.wake(None)

    async def _close(self) -> None:
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(_RESET_WITHIN_S):
                await self._connection.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()
