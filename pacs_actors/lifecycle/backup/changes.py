"""What the index tells a backup, and a restore: all SQL on ``object_changes``, and what is read of others' tables for it.

Plain asyncpg coroutines: run them through ``Database.run``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive.objects.keys import ObjectMissing, parse_key
from protocols.errors import Unavailable

KEPT_DAYS: Final = 400


class Before(Struct, frozen=True):
    """What is noted before the index is copied.

    changes_from: the next backup begins with this transaction
    floor:        changes before this one are forgotten
    """

    changes_from: int
    floor: int
    system: str


class Situation(Struct, frozen=True):
    """Where objects belong that a backup has, as the restored index has it.

    aside: deleted, and kept until nobody may undo it; dropped: not there any more
    """

    aside: frozenset[str]
    dropped: frozenset[str]


async def before(connection: asyncpg.Connection) -> Before:
    """raises: Unavailable if the tables are those of an earlier release"""
    try:
        row = await connection.fetchrow(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text, f.xid::text, s.system_identifier::text "
            "FROM object_changes_floor f, pg_control_system() s"
        )
    except asyncpg.UndefinedTableError:
        raise Unavailable("the database is that of an earlier release; run: pacs-actors db migrate") from None
    assert row is not None, "the migration has made it"
    return Before(int(row[0]), int(row[1]), row[2])


async def marks(connection: asyncpg.Connection) -> dict[int, int]:
    """slot -> batch: what lies in folders below it is indexed, and nothing new will be in there."""
    return {row[0]: row[1] for row in await connection.fetch("SELECT slot, batch FROM ingest_mark")}


async def changed(connection: asyncpg.Connection, since: int, after: str, most: int) -> list[str]:
    """Keys of objects that changed places in a transaction from ``since`` on, ascending, behind one."""
    rows = await connection.fetch(
        "SELECT DISTINCT object_key FROM object_changes WHERE xid >= $1::text::xid8 AND object_key > $2 "
        "ORDER BY object_key LIMIT $3",
        str(since), after, most,
    )  # fmt: skip
    return [row[0] for row in rows]


async def kept_aside(connection: asyncpg.Connection, after: str, most: int) -> list[str]:
    """Keys of all objects that are deleted or quarantined and still kept, ascending, behind one."""
    rows = await connection.fetch(
        "SELECT object_key FROM (SELECT object_key FROM deleted_instances UNION SELECT object_key FROM quarantine) k "
        "WHERE object_key > $1 ORDER BY object_key LIMIT $2",
        after, most,
    )  # fmt: skip
    return [row[0] for row in rows]


async def situation(connection: asyncpg.Connection, keys: Sequence[str], gone: Sequence[str]) -> Situation:
    """What to do with objects, by their keys outside of quarantine; those that it does not name are where they were.

    gone: those of them that a backup found gone, for whatever reason
    """
    slots, batches = _places(keys)
    aside = {
        row[0]
        for row in await connection.fetch(
            """SELECT d.object_key FROM (SELECT DISTINCT * FROM unnest($1::integer[], $2::bigint[]) AS p (slot, batch)) p
            JOIN deleted_instances d USING (slot, batch) WHERE d.object_key = ANY ($3::text[])""",
            slots, batches, list(keys),
        )
    }  # fmt: skip
    noted = await connection.fetch(
        "SELECT DISTINCT object_key FROM object_changes WHERE object_key = ANY ($1::text[])", list(keys)
    )
    doubtful = [key for key in {*(row[0] for row in noted), *gone} if key not in aside]
    if not doubtful:
        return Situation(frozenset(aside), frozenset())
    slots, batches = _places(doubtful)
    live = await connection.fetch(
        """SELECT i.object_key FROM (SELECT DISTINCT * FROM unnest($1::integer[], $2::bigint[]) AS p (slot, batch)) p
        JOIN instances i USING (slot, batch) WHERE i.object_key = ANY ($3::text[]) AND i.availability = 'ONLINE'""",
        slots, batches, doubtful,
    )  # fmt: skip
    return Situation(frozenset(aside), frozenset(doubtful) - {row[0] for row in live})


async def quarantined(connection: asyncpg.Connection, keys: Sequence[str]) -> set[str]:
    """Which of these keys the index knows as quarantined."""
    rows = await connection.fetch(
        "SELECT object_key FROM quarantine WHERE object_key = ANY ($1::text[])", list(keys)
    )
    return {row[0] for row in rows}


async def forget(connection: asyncpg.Connection) -> None:
    """Changes of more than ``KEPT_DAYS`` ago; a chain that old has to be begun anew."""
    async with connection.transaction():
        gone = await connection.fetchval(
            """WITH gone AS (DELETE FROM object_changes c WHERE c.at < now() - make_interval(days => $1)
                AND NOT EXISTS (SELECT FROM deleted_instances d WHERE d.object_key = c.object_key) RETURNING c.xid)
            SELECT max(xid)::text FROM gone""",
            KEPT_DAYS,
        )
        if gone is not None:
            await connection.execute(
                "UPDATE object_changes_floor SET xid = greatest(xid, ($1::bigint + 1)::text::xid8)", int(gone)
            )


def _places(keys: Sequence[str]) -> tuple[list[int], list[int]]:
    found = set()
    for key in keys:
        try:
            parts = parse_key(key)
        except ObjectMissing:
            continue
        found.add((parts.slot, parts.batch))
    return [slot for slot, _ in found], [batch for _, batch in found]
