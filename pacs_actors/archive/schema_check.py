"""Holds the tables against ``INDEXED``: an attribute without its column is found at start, not by the first
image.
"""

from __future__ import annotations

from asyncpg import Connection

from pacs_actors.archive.columns import TABLE, columns_of
from protocols.dataset.attributes import INDEXED, Level


def wanted_columns() -> set[tuple[str, str]]:
    """(table, column) of every indexed attribute, search columns included."""
    wanted = {(TABLE[level], name) for level in Level for name in columns_of(level)}
    return wanted | {(TABLE[each.level], each.column) for each in INDEXED if each.column}


async def missing_columns(connection: Connection) -> list[str]:
    """The columns that the tables of this database lack, as ``table.column``."""
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
    )
    there = {(row[0], row[1]) for row in rows}
    return sorted(f"{table}.{name}" for table, name in wanted_columns() - there)
