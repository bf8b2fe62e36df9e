"""Brings a database to the schema of this code: numbered SQL files, each applied once, in order.

Plain asyncpg coroutines: run them through ``Database.run``, or from the command line. Any number of processes
may call ``migrate`` at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from asyncpg import Connection
from msgspec import Struct

from pacs_actors.application_role import grant
from pacs_actors.archive.index_function import CREATE_INDEX_FUNCTION, INDEX_FUNCTION
from pacs_actors.archive.schema_check import missing_columns
from protocols.errors import ConfigError, Misuse

_LOCK: Final = 0x50414353  # any number that no other user of advisory locks in this database takes
_NAME: Final = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")

_HISTORY: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp())
"""


class Migration(Struct, frozen=True):
    """One numbered SQL file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class MigrationStatus(Struct, frozen=True):
    """applied_at: None while it is pending."""

    version: int
    name: str
    applied_at: datetime | None


def bundled(folder: Traversable | None = None) -> tuple[Migration, ...]:
    """The migrations that came with this code, in order.

    raises: ConfigError if two files carry one number
    """
    found: dict[int, Migration] = {}
    for file in (folder or resources.files("config") / "migrations").iterdir():
        if named := _NAME.match(file.name):
            version = int(named[1])
            if version in found:
                raise ConfigError(f"migrations: two files are numbered {version:04}")
            found[version] = Migration(version, named[2], file.read_text("utf-8"))
    return tuple(found[version] for version in sorted(found))


async def migrate(
    connection: Connection, migrations: Sequence[Migration] | None = None
) -> list[MigrationStatus]:
    """Apply what is missing and return it.

    Each file is one transaction. A session lock makes processes that start together wait for the first.
    raises: ConfigError if the database was made by other files than these, or by newer code
    """
    wanted = bundled() if migrations is None else migrations
    # However long it takes, and however long another process takes.
    await connection.execute("SET statement_timeout TO 0")
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(_HISTORY)
        pending = [each for each in await _compare(connection, wanted) if each.applied_at is None]
        sql = {each.version: each for each in wanted}
        for each in pending:
            async with connection.transaction():
                await connection.execute(sql[each.version].sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                    each.version, each.name, sql[each.version].checksum,
                )  # fmt: skip
                if migrations is None:  # workers that wait for a table may use it once they see it
                    await grant(connection, complete=False)
        # Named by its content: workers of two releases can serve one database during an upgrade.
        if migrations is None and not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = $1)", INDEX_FUNCTION
        ):
            await connection.execute(CREATE_INDEX_FUNCTION)
        if migrations is None and (lacking := await missing_columns(connection)):
            raise Misuse(f"no migration makes {', '.join(lacking)}")
        if migrations is None:
            await grant(connection)
        new = {each.version for each in pending}
        return [each for each in await _compare(connection, wanted) if each.version in new]
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
        await connection.execute("RESET statement_timeout")


async def status(
    connection: Connection, migrations: Sequence[Migration] | None = None
) -> list[MigrationStatus]:
    """Every known migration, and when it was applied. Changes nothing.

    raises: ConfigError as ``migrate``
    """
    return await _compare(connection, bundled() if migrations is None else migrations)


async def _compare(connection: Connection, wanted: Sequence[Migration]) -> list[MigrationStatus]:
    history = {}
    if await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
        rows = await connection.fetch("SELECT version, name, checksum, applied_at FROM schema_migrations")
        history = {row["version"]: row for row in rows}
    found = []
    for each in wanted:
        row = history.pop(each.version, None)
        if row is not None and row["checksum"] != each.checksum:
            raise ConfigError(
                f"database.url: migration {each.version:04} was applied with other contents ({row['name']})"
            )
        found.append(MigrationStatus(each.version, each.name, row["applied_at"] if row is not None else None))
    if history:
        raise ConfigError(
            f"database.url: the database is newer than this program (migration {max(history):04})"
        )
    return found
