from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from config.settings import DatabaseSettings
from pacs_actors.application_role import APPLICATION_ROLE
from pacs_actors.audit.trail import Trail
from pacs_actors.database import Database
from pacs_actors.migrations import migrate
from tests.postgres_fixture import Server


@pytest.fixture(scope="session")
def audited(postgres: Server) -> str:
    """Name of a migrated, empty database to copy; the role of the application may work in it."""
    dsn = postgres.create_database()

    async def prepare() -> None:
        connection = await asyncpg.connect(dsn)
        if not await connection.fetchval(
            "SELECT count(*) FROM pg_roles WHERE rolname = $1", APPLICATION_ROLE
        ):
            await connection.execute(f"CREATE ROLE {APPLICATION_ROLE} LOGIN")
        await migrate(connection)
        await connection.close()

    asyncio.run(prepare())
    return dsn.split("/")[3].split("?")[0]


@pytest.fixture
def owner_dsn(postgres: Server, audited: str) -> str:
    """As the owner of the tables, who is also superuser here."""
    return postgres.create_database(template=audited)


@pytest.fixture
def dsn(owner_dsn: str) -> str:
    """As a worker."""
    return owner_dsn.replace("pacs@", f"{APPLICATION_ROLE}@")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, DatabaseSettings(connections=4)) as database:
        await database.wait_ready(10)
        yield database


@pytest.fixture
def trail(database: Database) -> Trail:
    return Trail(database)
