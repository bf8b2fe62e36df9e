"""Searches that somebody has kept: all SQL on ``saved_searches``."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive.key_values import storable
from pacs_actors.database import Database

MOST: Final = 200


class SavedSearch(Struct, frozen=True):
    """query: as the panel writes it in its address"""

    id: int
    name: str
    query: str
    created_at: datetime


class SavedSearches:
    """raises, all of it: Unavailable"""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, user_id: int) -> list[SavedSearch]:
        """By name."""

        async def unit(connection: asyncpg.Connection) -> list[SavedSearch]:
            rows = await connection.fetch(
                "SELECT id, name, query, created_at FROM saved_searches WHERE user_id = $1 ORDER BY lower(name), id LIMIT $2",
                user_id, MOST,
            )  # fmt: skip
            return [SavedSearch(*row) for row in rows]

        return await self._database.run(unit)

    async def keep(self, user_id: int, name: str, query: str) -> SavedSearch | None:
        """One of the same name is replaced; None if there are too many already."""

        async def unit(connection: asyncpg.Connection) -> SavedSearch | None:
            row = await connection.fetchrow(
                """INSERT INTO saved_searches (user_id, name, query)
                SELECT $1, $2, $3 WHERE (SELECT count(*) FROM saved_searches WHERE user_id = $1 AND name <> $2) < $4
                ON CONFLICT (user_id, name) DO UPDATE SET query = excluded.query
                RETURNING id, name, query, created_at""",
                user_id, storable(name), storable(query), MOST,
            )  # fmt: skip
            return None if row is None else SavedSearch(*row)

        return await self._database.run(unit)

    async def forget(self, user_id: int, number: int) -> bool:
        """False if they have none of this number."""

        async def unit(connection: asyncpg.Connection) -> bool:
            done: str = await connection.execute(
                "DELETE FROM saved_searches WHERE id = $1 AND user_id = $2", number, user_id
            )
            return done != "DELETE 0"

        return await self._database.run(unit)
