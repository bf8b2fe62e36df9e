from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import asyncpg
import pytest
import trio

from config.settings import DatabaseSettings
from pacs_actors.database import Database
from protocols.errors import Unavailable
from tests.postgres_fixture import Server


@pytest.fixture
def dsn(postgres: Server) -> str:
    return postgres.dsn("postgres")


def settings(connections: int = 2, call_timeout_s: float = 10.0) -> DatabaseSettings:
    return DatabaseSettings(connections=connections, call_timeout_s=call_timeout_s)


async def one(connection: asyncpg.Connection) -> int:
    return await connection.fetchval("SELECT 1")


async def backend(connection: asyncpg.Connection) -> int:
    return await connection.fetchval("SELECT pg_backend_pid()")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """For what the server does in its own time and tells nobody."""
    with trio.fail_after(10):
        while not await condition():
            await trio.sleep(0.01)


async def test_a_unit_runs_and_returns_its_result(dsn: str) -> None:
    async with Database(dsn, settings()) as database:
        assert await database.run(one) == 1
        statistics = database.statistics()
    assert statistics.units == 1
    assert statistics.in_use == 0


async def test_many_units_share_the_held_connections(dsn: str) -> None:
    async with Database(dsn, settings(connections=3)) as database:
        seen: list[int] = []

        async def ask() -> None:
            seen.append(await database.run(backend))

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(ask)
        assert len(seen) == 200
        assert 1 <= len(set(seen)) <= 3
        assert database.statistics().waits > 0


async def test_what_the_unit_raises_reaches_the_caller_and_the_connection_lives_on(dsn: str) -> None:
    async with Database(dsn, settings(connections=2)) as database:

        async def wrong(connection: asyncpg.Connection) -> None:
            await connection.execute("SELECT nonsense")

        with pytest.raises(asyncpg.UndefinedColumnError):
            await database.run(wrong)
        assert await database.run(one) == 1
        assert database.statistics().connects <= 2


async def test_the_deadline_releases_the_caller_and_stops_the_statement(dsn: str) -> None:
    async with Database(dsn, settings()) as database:

        async def slow(connection: asyncpg.Connection) -> None:
            await connection.execute("SELECT pg_sleep(60) -- the slow one")

        began = trio.current_time()
        with pytest.raises(Unavailable):
            await database.run(slow, within_s=0.2)
        assert trio.current_time() - began < 2

        async def gone() -> bool:
            async def count(connection: asyncpg.Connection) -> int:
                return await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%the slow one' "
                    "AND state = 'active' AND pid <> pg_backend_pid()"
                )

            return await database.run(count) == 0

        await until(gone)
        assert database.statistics().cancelled == 1


async def test_a_cancelled_caller_leaks_no_connection_and_no_transaction(dsn: str) -> None:
    async with Database(dsn, settings(connections=2)) as database:

        async def hold(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(77)")
                await connection.execute("SELECT pg_sleep(60)")

        for _ in range(10):
            with trio.move_on_after(0.05) as scope:
                await database.run(hold)
            assert scope.cancelled_caught

        async def locked(connection: asyncpg.Connection) -> bool:
            return await connection.fetchval("SELECT pg_try_advisory_lock(77)")

        async def free() -> bool:
            return await database.run(locked)

        async def idle() -> bool:
            return database.statistics().in_use == 0

        await until(free)
        await until(idle)
        assert database.statistics().connections <= 2


async def test_hundreds_of_callers_cancelled_at_any_moment_leave_everything_clean(dsn: str) -> None:
    random = Random(20)
    outcomes: Counter[str] = Counter()
    async with Database(dsn, settings(connections=3)) as database:

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                await connection.fetchval("SELECT pg_sleep($1)", random.random() / 200)
                return await connection.fetchval("SELECT 1")

        async def call(patience_s: float) -> None:
            with trio.move_on_after(patience_s) as scope:
                outcomes[str(await database.run(unit))] += 1
            outcomes["cancelled"] += scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(call, random.random() / 2)

        async def settled() -> bool:
            now = database.statistics()
            return now.in_use == 0 and now.waiting == 0 and now.connections == 3

        await until(settled)

        async def left_open(connection: asyncpg.Connection) -> int:
            return await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pacs-actors' "
                "AND state LIKE 'idle in transaction%'"
            )

        assert await database.run(left_open) == 0
    assert set(outcomes) == {"1", "cancelled"}
    assert outcomes.total() == 300


async def test_a_transaction_left_open_is_rolled_back(dsn: str) -> None:
    async with Database(dsn, settings(connections=2)) as database:

        async def careless(connection: asyncpg.Connection) -> None:
            await connection.execute("BEGIN")

        async def inside(connection: asyncpg.Connection) -> bool:
            return connection.is_in_transaction()

        await database.run(careless)
        assert not any([await database.run(inside) for _ in range(6)])


async def test_urgent_units_go_before_those_that_wait(dsn: str) -> None:
    order: list[str] = []
    async with Database(dsn, settings(connections=2)) as database:
        await database.wait_ready(10)
        release = asyncio.Event()
        held = trio.Event()
        token = trio.lowlevel.current_trio_token()
        holding = 0

        async def block(connection: asyncpg.Connection) -> None:
            nonlocal holding
            holding += 1
            if holding == 2:
                token.run_sync_soon(held.set)
            await release.wait()

        async def note(name: str, urgent: bool) -> None:
            async def unit(connection: asyncpg.Connection) -> None:
                order.append(name)
                await connection.fetchval("SELECT pg_sleep(0.05)")

            await database.run(unit, urgent=urgent)

        async with trio.open_nursery() as nursery:

            async def hold() -> None:
                await database.run(block)

            async def all_connected() -> bool:
                return database.statistics().connections == 2

            await until(all_connected)
            nursery.start_soon(hold)
            nursery.start_soon(hold)
            await held.wait()
            for number in range(4):
                nursery.start_soon(note, f"patient {number}", False)
            nursery.start_soon(note, "urgent", True)

            async def queued() -> bool:
                return database.statistics().waiting == 5

            await until(queued)
            database._loop.call_soon_threadsafe(release.set)
    assert order.index("urgent") <= 1


async def test_a_server_that_is_away_is_reported_at_once_and_found_again(own_postgres: Server) -> None:
    async with Database(own_postgres.dsn("postgres"), settings(connections=2)) as database:
        assert await database.run(one) == 1
        own_postgres.kill()

        async def away() -> bool:
            try:
                await database.run(one)
            except Unavailable:
                return True
            return False

        await until(away)
        began = trio.current_time()
        for _ in range(20):
            with pytest.raises(Unavailable):
                await database.run(one)
        assert trio.current_time() - began < 1, "each refusal is quick"
        await trio.to_thread.run_sync(own_postgres.start)
        began = trio.current_time()
        await database.wait_ready(5)
        assert trio.current_time() - began < 5
        assert database.statistics().failures > 0


async def test_a_frozen_server_never_holds_a_caller_past_its_deadline(own_postgres: Server) -> None:
    async with Database(own_postgres.dsn("postgres"), settings(connections=2)) as database:
        assert await database.run(one) == 1
        own_postgres.freeze(True)
        try:
            began = trio.current_time()
            for _ in range(4):
                with pytest.raises(Unavailable):
                    await database.run(one, within_s=0.2)
            assert trio.current_time() - began < 3
        finally:
            own_postgres.freeze(False)
        await database.wait_ready(10)
        assert await database.run(one) == 1


async def test_a_connection_that_the_server_ends_is_replaced(dsn: str) -> None:
    async with Database(dsn, settings(connections=3)) as database:
        await database.wait_ready(10)

        async def end(connection: asyncpg.Connection) -> None:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'pacs-actors' AND pid <> pg_backend_pid()"
            )

        for _ in range(5):
            await database.run(end)
            answers = 0
            for _ in range(10):
                try:
                    answers += await database.run(one)
                except Unavailable as lost:
                    assert "connection" in str(lost).lower() or "Shutdown" in str(lost)
            assert answers >= 5

        async def healed() -> bool:
            return database.statistics().connections == 3

        await until(healed)


async def test_units_wait_for_the_first_connection_and_hear_when_it_fails(dsn: str) -> None:
    async with Database("postgresql://pacs@/x?host=/nonexistent", settings(call_timeout_s=0.3)) as database:
        with pytest.raises(Unavailable):
            await database.run(one)
    with pytest.raises(Unavailable):
        await database.run(one)


async def test_leaving_ends_running_units(dsn: str) -> None:
    failed = trio.Event()
    async with trio.open_nursery() as nursery:
        async with Database(dsn, settings()) as database:
            started = trio.Event()
            token = trio.lowlevel.current_trio_token()

            async def slow(connection: asyncpg.Connection) -> None:
                token.run_sync_soon(started.set)
                await connection.execute("SELECT pg_sleep(60)")

            async def ask() -> None:
                try:
                    await database.run(slow)
                except Unavailable:
                    failed.set()

            nursery.start_soon(ask)
            await started.wait()
        with trio.fail_after(5):
            await failed.wait()


async def test_a_stray_failure_on_the_loop_is_logged_and_harms_nothing(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Database(dsn, settings()) as database:

        async def strew(connection: asyncpg.Connection) -> None:
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)

        with caplog.at_level(logging.ERROR):
            await database.run(strew)
            assert await database.run(one) == 1
        assert any(record.getMessage() == "database_loop" for record in caplog.records)
