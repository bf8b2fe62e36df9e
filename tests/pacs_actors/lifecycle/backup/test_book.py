"""Who makes which backup, and when: the table, and the keeper that goes by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import trio

from config.backup import BackupSettings
from config.settings import DatabaseSettings
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup import book
from pacs_actors.lifecycle.backup.book import AlreadyAsked, Outcome
from pacs_actors.lifecycle.backup.keeper import BackupKeeper
from pacs_actors.lifecycle.backup.manifest import Kind
from tests.pacs_actors.archive.conftest import dsn, migrated

__all__ = ["dsn", "migrated"]
DONE = Outcome(name="20261121T000000Z-full", verified=True)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, DatabaseSettings(connections=2)) as database:
        yield database


class Table:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def due(self) -> list[str]:
        """Asks as the keeper does, weekly and daily; kinds of what waits."""
        await self.database.run(partial(book.ask_if_due, full_every_days=7, incremental_every_h=24))
        return [one.kind for one in await self.database.run(book.listed) if one.state == "waiting"]

    async def take(self, lease_s: float = 60) -> tuple[int, Kind] | None:
        return await self.database.run(partial(book.take, place="there", lease_s=lease_s))

    async def end(self, number: int, outcome: Outcome = DONE) -> None:
        await self.database.run(partial(book.end, number=number, outcome=outcome))

    async def age(self, hours: float) -> None:
        """As if everything had happened so much earlier."""

        async def unit(connection: Any) -> None:
            ago = f"interval '{hours} hours'"
            await connection.execute(
                f"UPDATE backups SET began_at = began_at - {ago}, ended_at = ended_at - {ago}, "
                f"leased_until = leased_until - {ago}"
            )

        await self.database.run(unit)

    async def states(self) -> list[tuple[str, str]]:
        return [(one.kind, one.state) for one in reversed(await self.database.run(book.listed))]


@pytest.fixture
def table(database: Database) -> Table:
    return Table(database)


async def test_the_first_one_is_full_then_a_day_later_what_is_new_and_a_week_later_a_full_one(
    table: Table,
) -> None:
    assert await table.due() == ["full"]
    assert await table.due() == ["full"], "once"
    taken = await table.take()
    assert taken is not None
    assert taken[1] == "full"
    await table.end(taken[0])
    assert await table.due() == []
    await table.age(25)
    assert await table.due() == ["incremental"]
    taken = await table.take()
    assert taken is not None
    await table.end(taken[0])
    await table.age(24 * 6)
    assert await table.due() == ["full"]


async def test_one_is_made_at_a_time_whoever_asks(table: Table) -> None:
    asked = await table.database.run(partial(book.ask, kind="full", by="admin"))
    with pytest.raises(AlreadyAsked):
        await table.database.run(partial(book.ask, kind="incremental", by="admin"))
    assert await table.take() == (asked.id, "full")
    assert await table.take() is None
    with pytest.raises(AlreadyAsked):
        await table.database.run(partial(book.ask, kind="incremental", by="admin"))


async def test_what_a_crash_interrupted_is_told_when_its_lease_has_run_out(table: Table) -> None:
    await table.due()
    assert await table.take() is not None
    await table.age(1)
    assert await table.take() is None
    assert await table.states() == [("full", "failed")]
    await table.due()
    assert await table.states() == [("full", "failed")], "not again at once"
    await table.age(2)
    assert await table.due() == ["full"]


async def test_a_lease_that_is_renewed_holds(table: Table) -> None:
    await table.due()
    taken = await table.take(lease_s=0)
    assert taken is not None
    await table.database.run(partial(book.renew, number=taken[0], lease_s=60))
    assert await table.take() is None
    assert await table.states() == [("full", "running")]


async def test_the_keeper_notes_a_failure_of_which_nothing_was_told(database: Database, table: Table) -> None:
    worked = trio.Event()

    async def work(number: int, kind: Kind) -> str:
        worked.set()
        return "it was killed"

    keeper = BackupKeeper(BackupSettings(to="there"), database, work)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        with trio.fail_after(20):
            await worked.wait()
            while not keeper.failed or await table.states() != [("full", "failed")]:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    (listed,) = await database.run(book.listed)
    assert (listed.problem, listed.asked_by, listed.place) == ("it was killed", "", "there")


async def test_without_a_place_there_is_nothing_to_keep(database: Database) -> None:
    async def work(number: int, kind: Kind) -> str:
        raise AssertionError

    with trio.fail_after(5):
        await BackupKeeper(BackupSettings(), database, work).run()


async def test_the_next_one_is_told_with_its_kind_and_not_sooner_than_an_hour_after_a_failure(
    table: Table,
) -> None:
    async def next_one() -> tuple[Kind, float]:
        kind, at = await table.database.run(partial(book.next_due, full_every_days=7, incremental_every_h=24))
        return kind, round((at - datetime.now(UTC)).total_seconds() / 3600)

    assert await next_one() == ("full", 0)
    assert await table.due() == ["full"]
    number, _ = await table.take() or (0, "full")
    await table.end(number)
    assert await next_one() == ("incremental", 24)
    await table.age(hours=6 * 24 + 1)
    assert await table.due() == ["incremental"]
    number, _ = await table.take() or (0, "full")
    await table.end(number, Outcome(problem="the disk is full"))
    assert await next_one() == ("incremental", 1)
    await table.age(hours=24)
    assert await next_one() == ("full", -23)
