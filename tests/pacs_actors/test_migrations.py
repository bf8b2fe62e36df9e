from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from pacs_actors.archive.index_function import INDEX_FUNCTION
from pacs_actors.archive.schema_check import missing_columns
from pacs_actors.migrations import Migration, bundled, migrate, status
from protocols.errors import ConfigError
from tests.postgres_fixture import Server

ONE = Migration(1, "one", "CREATE TABLE one (id integer)")
TWO = Migration(2, "two", "CREATE TABLE two (id integer)")
BROKEN = Migration(2, "two", "CREATE TABLE two (id integer); SELECT nonsense")


@pytest.fixture
def empty(postgres: Server) -> str:
    return postgres.create_database()


def test_a_new_database_gets_everything_and_a_second_time_nothing(empty: str) -> None:
    async def check() -> None:
        connection = await asyncpg.connect(empty)
        assert [each.applied_at for each in await status(connection)] == [None] * len(bundled())
        applied = await migrate(connection)
        assert [each.version for each in applied] == [each.version for each in bundled()]
        assert all(each.applied_at for each in applied)
        assert await migrate(connection) == []
        assert await status(connection) == applied
        assert await missing_columns(connection) == []
        assert (
            await connection.fetchval("SELECT count(*) FROM pg_proc WHERE proname = $1", INDEX_FUNCTION) == 1
        )
        await connection.execute("ALTER TABLE series DROP COLUMN laterality")
        assert await missing_columns(connection) == ["series.laterality"]
        await connection.close()

    asyncio.run(check())


def test_processes_that_start_together_apply_each_once(empty: str) -> None:
    async def one() -> int:
        connection = await asyncpg.connect(empty)
        try:
            return len(await migrate(connection))
        finally:
            await connection.close()

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*[one() for _ in range(6)])

    counts = asyncio.run(all_at_once())
    assert sorted(counts) == [0] * 5 + [len(bundled())]


def test_a_failing_migration_leaves_nothing_of_itself_and_no_lock(empty: str) -> None:
    async def check() -> None:
        connection = await asyncpg.connect(empty)
        with pytest.raises(asyncpg.UndefinedColumnError):
            await migrate(connection, [ONE, BROKEN])
        assert await connection.fetchval(
            "SELECT to_regclass('one') IS NOT NULL AND to_regclass('two') IS NULL"
        )
        other = await asyncpg.connect(empty)
        applied = await migrate(other, [ONE, TWO])
        assert [each.version for each in applied] == [2]
        await other.close()
        await connection.close()

    asyncio.run(check())


def test_a_changed_or_newer_database_is_refused(empty: str) -> None:
    async def check() -> None:
        connection = await asyncpg.connect(empty)
        await migrate(connection, [ONE, TWO])
        with pytest.raises(ConfigError, match=r"^database\.url: .*other contents"):
            await migrate(connection, [ONE, Migration(2, "two", "SELECT 1")])
        with pytest.raises(ConfigError, match=r"^database\.url: .*newer"):
            await status(connection, [ONE])
        await connection.close()

    asyncio.run(check())


def test_migrations_are_found_by_number(tmp_path: Path) -> None:
    for name in ("0002_b.sql", "0001_a.sql", "README.md"):
        (tmp_path / name).write_text("SELECT 1")
    assert [(each.version, each.name) for each in bundled(tmp_path)] == [(1, "a"), (2, "b")]
    (tmp_path / "0002_c.sql").write_text("SELECT 2")
    with pytest.raises(ConfigError):
        bundled(tmp_path)


def test_the_bundled_numbers_have_no_gap() -> None:
    assert [each.version for each in bundled()] == list(range(1, len(bundled()) + 1))
