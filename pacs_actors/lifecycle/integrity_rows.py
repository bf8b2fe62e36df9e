"""What the index says of the objects, stretch by stretch: SQL that only reads ``instances``, ``deleted_instances``, ``quarantine``.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow. None gives more rows
than a batch folder has objects and ``STRETCH_OBJECTS`` together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from pacs_actors.archive.objects.keys import MAX_BATCH, parse_key
from pacs_actors.database import Database

STRETCH_OBJECTS: Final = 8192
_WITHIN_S: Final = 120.0
Place = Literal["index", "deleted", "aside"]


class Row(Struct, frozen=True, gc=False):
    """What the database says of one object.

    place:        index: it is to be found; deleted: somebody deleted it; aside: and it has been moved away
    elsewhere:    the index says that it is in another tier only
    data_offset:  -1 where it is not known
    """

    key: str
    sop_instance_uid: str
    size_bytes: int
    digest: bytes
    data_offset: int = -1
    place: Place = "index"
    elsewhere: bool = False


_INSTANCES: Final = """
    SELECT object_key, sop_instance_uid, size_bytes, digest, data_offset, 'index',
        availability IN ('NEARLINE', 'OFFLINE') FROM instances"""
_DELETED: Final = """
    SELECT o.object_key, o.sop_instance_uid, o.size_bytes, o.digest, -1,
        CASE WHEN d.state = 'deleted' AND NOT d.aside THEN 'deleted' ELSE 'aside' END, d.state <> 'deleted'
    FROM deleted_instances o JOIN deletions d ON d.id = o.deletion"""


class IntegrityRows:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def slots(self) -> list[int]:
        """Slots that the index has objects of, ascending."""

        async def unit(connection: asyncpg.Connection) -> list[int]:
            # A step of the index for each slot: there may be a hundred million rows.
            rows = await connection.fetch(
                """WITH RECURSIVE step (slot) AS (
                    SELECT least((SELECT min(slot) FROM instances), (SELECT min(slot) FROM deleted_instances))
                    UNION ALL
                    SELECT least((SELECT min(slot) FROM instances i WHERE i.slot > s.slot),
                        (SELECT min(slot) FROM deleted_instances d WHERE d.slot > s.slot))
                    FROM step s WHERE s.slot IS NOT NULL)
                SELECT slot FROM step WHERE slot IS NOT NULL"""
            )
            return [row[0] for row in rows]

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def reach(self, slot: int, batch: int, most: int = STRETCH_OBJECTS) -> int:
        """The last batch folder of a stretch that begins at one, so that the rows in it are not too many."""

        async def unit(connection: asyncpg.Connection) -> int:
            reach = MAX_BATCH
            for table in ("instances", "deleted_instances"):
                found = await connection.fetchval(
                    f"SELECT batch FROM {table} WHERE slot = $1 AND batch >= $2 ORDER BY slot, batch OFFSET $3 LIMIT 1",  # noqa: S608 - our words
                    slot, batch, most,
                )  # fmt: skip
                reach = reach if found is None else min(reach, found)
            return reach

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def of_stretch(self, slot: int, first: int, last: int) -> dict[str, Row]:
        """By key, of all batch folders from ``first`` to ``last``."""

        async def unit(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            return await connection.fetch(
                f"{_DELETED} WHERE o.slot = $1 AND o.batch BETWEEN $2 AND $3 "
                f"UNION ALL {_INSTANCES} WHERE slot = $1 AND batch BETWEEN $2 AND $3",
                slot, first, last,
            )  # fmt: skip

        return _by_key(await self.database.run(unit, within_s=_WITHIN_S))

    async def of_keys(self, rows: Sequence[tuple[int, int, str]]) -> dict[str, Row]:
        """As they are now, by key; what has no row is left out. rows: (slot, batch, key)"""
        if not rows:
            return {}
        slots, batches, keys = (list(column) for column in zip(*rows, strict=True))

        async def unit(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            wanted = (
                "(slot, batch, object_key) IN (SELECT * FROM unnest($1::integer[], $2::bigint[], $3::text[]))"
            )
            deleted = wanted.replace("(slot, batch, object_key)", "(o.slot, o.batch, o.object_key)")
            return await connection.fetch(
                f"{_DELETED} WHERE {deleted} UNION ALL {_INSTANCES} WHERE {wanted}",
                slots, batches, keys,
            )  # fmt: skip

        return _by_key(await self.database.run(unit, within_s=_WITHIN_S))

    async def with_copies(self, rows: Sequence[Row]) -> set[str]:
        """Keys of those that a store of another tier has a copy of."""

        async def unit(connection: asyncpg.Connection) -> set[str]:
            found = await connection.fetch(
                """SELECT w.key FROM unnest($1::text[], $2::text[], $3::bytea[]) w (key, uid, digest) WHERE EXISTS (
                    SELECT FROM object_copies c WHERE c.sop_instance_uid = w.uid AND c.object_digest = w.digest)""",
                [row.key for row in rows], [row.sop_instance_uid for row in rows], [row.digest for row in rows],
            )  # fmt: skip
            return {row[0] for row in found}

        return await self.database.run(unit, within_s=_WITHIN_S) if rows else set()

    async def quarantined(self, after: str, most: int) -> list[Row]:
        """Rows of the quarantine by their keys, beginning behind one."""

        async def unit(connection: asyncpg.Connection) -> list[Row]:
            rows = await connection.fetch(
                "SELECT object_key, sop_instance_uid, size_bytes, digest FROM quarantine WHERE object_key > $1 "
                "ORDER BY object_key LIMIT $2",
                after, most,
            )  # fmt: skip
            return [Row(*row) for row in rows]

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def listed_in_quarantine(self, keys: Sequence[str]) -> set[str]:
        """Those that have a row in the quarantine."""

        async def unit(connection: asyncpg.Connection) -> set[str]:
            sql = "SELECT object_key FROM quarantine WHERE object_key = ANY ($1::text[])"
            return {row[0] for row in await connection.fetch(sql, list(keys))}

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def quarantined_of(self, sop_instance_uid: str) -> list[str]:
        """Keys in quarantine of an instance's objects."""

        async def unit(connection: asyncpg.Connection) -> list[str]:
            sql = "SELECT object_key FROM quarantine WHERE sop_instance_uid = $1 ORDER BY id LIMIT 100"
            return [row[0] for row in await connection.fetch(sql, sop_instance_uid)]

        return await self.database.run(unit, within_s=_WITHIN_S)


def places(keys: Iterable[str]) -> list[tuple[int, int, str]]:
    """(slot, batch, key) of each, to ask for their rows by."""
    return [(parts.slot, parts.batch, key) for key, parts in ((key, parse_key(key)) for key in keys)]


def _by_key(records: Sequence[asyncpg.Record]) -> dict[str, Row]:
    """The index's word counts where both have one: it was brought back, and the deletion does not know yet."""
    found: dict[str, Row] = {}
    for record in records:
        row = Row(*record)
        if row.place == "index" or row.key not in found:
            found[row.key] = row
    return found
