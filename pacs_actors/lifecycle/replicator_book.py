"""How far the instances of a slot have been copied to the stores that get them all: all SQL on ``replication``.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive.key_values import storable
from pacs_actors.database import Database

STRETCH: Final = 2000
"""Instances whose copies are looked for in one statement."""
MOST_COUNTED: Final = 10_000
_WITHIN_S: Final = 60.0

_LACKING: Final = """NOT EXISTS (SELECT FROM object_copies c WHERE c.sop_instance_uid = i.sop_instance_uid
    AND c.object_digest = i.digest AND c.store = $2)"""
_FRESH: Final = "i.availability <> 'UNAVAILABLE'"
# A policy may have taken copies of what is not online from a store again.
_ONLINE: Final = "i.availability = 'ONLINE'"


class Lacking(Struct, frozen=True):
    """An instance that has no copy in a store."""

    sop_instance_uid: str
    study_instance_uid: str
    batch: int


class Stretch(Struct, frozen=True):
    """Some of what lacks a copy, from the cursor on.

    begins:  the cursor
    ends:    where it is once all of ``lacking`` has a copy
    last:    there is nothing behind it yet
    """

    begins: int
    ends: int
    lacking: list[Lacking]
    last: bool


class Lag(Struct, frozen=True):
    """What a slot lacks in a store.

    waiting:   instances, of which at most 10,000 are counted; oldest: when the first of them was received
    problem:   why the last copy could not be made
    looked_at: when that was so
    """

    slot: int
    store: str
    waiting: int
    oldest: datetime | None
    problem: str
    looked_at: datetime


class ReplicatorBook:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def stretch(
        self, slot: int, store: str, most: int, but: Sequence[str] = (), *, patrol: bool = False
    ) -> Stretch:
        """What to copy next. but: SOP Instance UIDs to pass over; the cursor stays below their folders"""

        async def unit(connection: asyncpg.Connection) -> Stretch:
            # The mark first: what is indexed after it lies in folders from the mark on.
            mark = await connection.fetchval("SELECT batch FROM ingest_mark WHERE slot = $1", slot) or 0
            begins: int = await connection.fetchval(
                """INSERT INTO replication AS r (slot, store, patrol) VALUES ($1, $2, $3)
                ON CONFLICT (slot, store, patrol) DO UPDATE SET store = excluded.store RETURNING batch""",
                slot, store, patrol,
            )  # fmt: skip
            reach = await connection.fetchval(
                "SELECT batch FROM instances WHERE slot = $1 AND batch >= $2 ORDER BY slot, batch OFFSET $3 LIMIT 1",
                slot, begins, STRETCH,
            )  # fmt: skip
            rows = await connection.fetch(
                f"""WITH lacking AS (SELECT i.sop_instance_uid, i.series, i.batch FROM instances i
                    WHERE i.slot = $1 AND i.batch >= $3 AND ($4::bigint IS NULL OR i.batch <= $4)
                        AND {_ONLINE if patrol else _FRESH} AND {_LACKING} ORDER BY i.batch LIMIT $5)
                SELECT l.sop_instance_uid, s.study_instance_uid, l.batch FROM lacking l
                JOIN series e ON e.id = l.series JOIN studies s ON s.id = e.study ORDER BY l.batch""",  # noqa: S608 - our words
                slot, store, begins, reach, most + len(but),
            )  # fmt: skip
            found, passed = [Lacking(*row) for row in rows], set(but)
            ends = mark if reach is None else min(mark, reach + 1)
            if len(found) == most + len(but):  # there may be more
                ends = min(ends, found[-1].batch)
            ends = min([ends, *(one.batch for one in found if one.sop_instance_uid in passed)])
            wanted = [one for one in found if one.sop_instance_uid not in passed][:most]
            return Stretch(begins, max(begins, ends), wanted, reach is None)

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def advance(self, slot: int, store: str, stretch: Stretch, *, patrol: bool = False) -> None:
        """Everything in it has a copy; unless a copy was lost meanwhile, and the cursor was set back."""
        if stretch.ends > stretch.begins:
            await self._execute(
                "UPDATE replication SET batch = $5 WHERE slot = $1 AND store = $2 AND patrol = $3 AND batch = $4",
                slot, store, patrol, stretch.begins, stretch.ends,
            )  # fmt: skip

    async def begin_patrol(self, slot: int, store: str, every_s: float) -> bool:
        """Begin to walk through everything again if the last walk began so long ago; whether it has."""

        async def unit(connection: asyncpg.Connection) -> bool:
            begun = await connection.fetchval(
                """UPDATE replication SET batch = 0, began_at = now() WHERE slot = $1 AND store = $2 AND patrol
                    AND abs(extract(epoch FROM now() - began_at)) > $3 RETURNING true""",
                slot, store, every_s,
            )  # fmt: skip
            return begun is not None

        return await self.database.run(unit)

    async def note_lag(self, slot: int, store: str, problem: str) -> Lag:
        """Count what lacks a copy now, and write it down."""

        async def unit(connection: asyncpg.Connection) -> Lag:
            row = await connection.fetchrow(
                f"""WITH lacking AS (SELECT i.received_at FROM instances i WHERE i.slot = $1
                    AND i.batch >= (SELECT batch FROM replication WHERE slot = $1 AND store = $2 AND NOT patrol)
                    AND {_FRESH} AND {_LACKING} ORDER BY i.batch LIMIT $3)
                UPDATE replication r SET waiting = l.waiting, oldest = l.oldest, problem = $4, looked_at = now()
                FROM (SELECT count(*)::integer AS waiting, min(received_at) AS oldest FROM lacking) l
                WHERE r.slot = $1 AND r.store = $2 AND NOT r.patrol
                RETURNING r.slot, r.store, r.waiting, r.oldest, r.problem, r.looked_at""",  # noqa: S608 - our words
                slot, store, MOST_COUNTED, storable(problem)[:500],
            )  # fmt: skip
            assert row is not None, "whoever counts has asked for a stretch before"
            return Lag(*row)

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def lags(self) -> list[Lag]:
        """Of all slots and stores of the archive, those of dead nodes too; of forgotten ones none, whatever they still say."""

        async def unit(connection: asyncpg.Connection) -> list[Lag]:
            rows = await connection.fetch(
                """SELECT slot, store, waiting, oldest, problem, looked_at FROM replication WHERE NOT patrol AND slot / 100 <> ALL (
                    SELECT node FROM archive_nodes WHERE forgotten_at IS NOT NULL) ORDER BY store, slot"""
            )
            return [Lag(*row) for row in rows]

        return await self.database.run(unit)

    async def _execute(self, statement: str, *arguments: object) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(statement, *arguments)

        await self.database.run(unit)
