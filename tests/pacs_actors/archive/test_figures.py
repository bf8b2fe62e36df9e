"""What waits and what is held, in figures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from config.settings import DatabaseSettings
from pacs_actors.archive.figures import Figures
from pacs_actors.database import Database
from protocols.errors import Unavailable
from tests.postgres_fixture import Server


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, DatabaseSettings(connections=2)) as database:
        yield database


async def test_an_empty_archive_holds_nothing_and_nothing_waits(database: Database) -> None:
    figures = Figures(database)
    held = await figures.holdings()
    assert (held.totals.studies, held.by_modality, held.by_month) == (0, (), ())
    waiting = await figures.waiting()
    assert (waiting.commitments, waiting.deletions, waiting.quarantined) == ({}, 0, 0)
    assert await figures.quarantined() == [] == await figures.commitments()


async def test_quarantine_of_the_last_day_is_counted(database: Database) -> None:
    async def unit(connection: asyncpg.Connection) -> None:
        await connection.execute(
            """INSERT INTO quarantine (sop_instance_uid, object_key, first_key, digest, size_bytes, why, source, quarantined_at)
            SELECT n::text, n::text, 'x', '', 1, 'conflict', 'CT', now() - n * interval '20 hours' FROM generate_series(0, 4) n"""
        )

    await database.run(unit)
    assert (await Figures(database).waiting()).quarantined == 2
    assert len(await Figures(database).quarantined()) == 5


async def test_before_the_tables_are_there_it_is_unavailable(postgres: Server) -> None:
    settings = DatabaseSettings(connections=2)
    async with Database(postgres.create_database(), settings) as database:
        await database.wait_ready(10)
        with pytest.raises(Unavailable):
            await Figures(database).waiting()
