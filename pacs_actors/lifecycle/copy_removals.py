"""Keys in tier stores that nothing refers to, or nothing yet: all SQL on ``copy_removals``.

A key is a study's, an object's and a form's, so one that was removed may be put again. Three steps keep that apart:

    announce  before a copy is put: what is not noted within a day is removed, so that nothing is left by a crash
    note      takes the announcement back, in the transaction that writes the copy into the book, or else does not write it
    claim     before a key is removed: from then on it can be neither announced nor noted, until it is gone

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from pacs_actors.database import Database
from pacs_actors.lifecycle.stores.errors import StoreUnavailable

CLAIMED_S: Final = 300.0
"""How long whoever removes keys has for it."""

# What is wanted again, or was put by two at once, is in the book.
_NOTED: Final = """EXISTS (SELECT FROM object_copies c WHERE c.sop_instance_uid = r.sop_instance_uid
    AND c.object_digest = r.object_digest AND c.store = r.store AND c.key = r.key)"""


class CopyRemovals:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def announce(self, store: str, key: str, sop_instance_uid: str, digest: bytes) -> None:
        """A copy of an object is about to be put. raises: StoreUnavailable while one is removed under the same key"""

        async def unit(connection: asyncpg.Connection) -> bool:
            async with connection.transaction():
                # One that a crash of the database loses is not noted, only made again.
                await connection.execute("SET LOCAL synchronous_commit = off")
                announced = await connection.fetchval(
                    """INSERT INTO copy_removals AS r (store, key, since, sop_instance_uid, object_digest)
                    VALUES ($1, $2, now() + interval '1 day', $3, $4)
                    ON CONFLICT (store, key) DO UPDATE SET since = excluded.since, sop_instance_uid = excluded.sop_instance_uid,
                        object_digest = excluded.object_digest
                    WHERE r.claimed_until = '-infinity' RETURNING true""",
                    store, key, sop_instance_uid, digest,
                )  # fmt: skip
                return announced is not None

        if not await self.database.run(unit):
            raise StoreUnavailable(store, "an old copy under the same key is being removed")

    async def claim(self, store: str, most: int) -> list[str]:
        """Some keys to remove now, the oldest first, for this worker alone."""

        async def unit(connection: asyncpg.Connection) -> list[str]:
            async with connection.transaction():
                rows = await connection.fetch(
                    "SELECT key FROM copy_removals WHERE store = $1 AND since <= now() AND claimed_until <= now() "
                    "ORDER BY since LIMIT $2 FOR UPDATE SKIP LOCKED",
                    store, most,
                )  # fmt: skip
                if not rows:
                    return []
                keys = [row[0] for row in rows]
                await connection.execute(
                    f"DELETE FROM copy_removals r WHERE r.store = $1 AND r.key = ANY ($2::text[]) AND {_NOTED}",  # noqa: S608 - our words
                    store, keys,
                )  # fmt: skip
                claimed = await connection.fetch(
                    "UPDATE copy_removals SET claimed_until = now() + make_interval(secs => $3) "
                    "WHERE store = $1 AND key = ANY ($2::text[]) RETURNING key",
                    store, keys, CLAIMED_S,
                )  # fmt: skip
                return [row[0] for row in claimed]

        return await self.database.run(unit)

    async def removed(self, store: str, keys: Sequence[str]) -> None:
        """They are gone."""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                "DELETE FROM copy_removals WHERE store = $1 AND key = ANY ($2::text[]) AND claimed_until <> '-infinity'",
                store, list(keys),
            )  # fmt: skip

        await self.database.run(unit)


async def take_back(connection: asyncpg.Connection, store: str, keys: Sequence[str]) -> set[str]:
    """Announcements of what is noted in the same transaction; those that were still there."""
    rows = await connection.fetch(
        "DELETE FROM copy_removals WHERE store = $1 AND key = ANY ($2::text[]) AND claimed_until = '-infinity' RETURNING key",
        store, list(keys),
    )  # fmt: skip
    return {row[0] for row in rows}


async def hasten(connection: asyncpg.Connection, store: str, keys: Sequence[str]) -> None:
    """What was announced and is not noted after all: it need not wait for its day."""
    await connection.execute(
        "UPDATE copy_removals SET since = now() WHERE store = $1 AND key = ANY ($2::text[]) AND since > now()",
        store, list(keys),
    )  # fmt: skip


async def note(connection: asyncpg.Connection, copies: Sequence[asyncpg.Record]) -> None:
    """(SOP Instance UID, digest, store, key) of copies that nothing refers to any more."""
    await connection.execute(
        """INSERT INTO copy_removals AS r (sop_instance_uid, object_digest, store, key)
        SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], $4::text[])
        ON CONFLICT (store, key) DO UPDATE SET since = least(r.since, excluded.since)""",
        *([row[place] for row in copies] for place in range(4)),
    )
