from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from config.settings import DatabaseSettings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.database import Database
from pacs_actors.migrations import migrate
from tests.postgres_fixture import Server


@pytest.fixture(scope="session")
def migrated(postgres: Server) -> str:
    """Name of a migrated, empty database to copy."""
    dsn = postgres.create_database()

    async def prepare() -> None:
        connection = await asyncpg.connect(dsn)
        await migrate(connection)
        await connection.close()

    asyncio.run(prepare())
    return dsn.split("/")[3].split("?")[0]


@pytest.fixture
def dsn(postgres: Server, migrated: str) -> str:
    return postgres.create_database(template=migrated)


@pytest.fixture
async def catalogue(dsn: str) -> AsyncIterator[Catalogue]:
    async with Database(dsn, DatabaseSettings(connections=4)) as database:
        yield Catalogue(database)
