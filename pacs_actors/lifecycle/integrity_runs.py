"""Walks through the archive to see to its integrity, and how far they are: all SQL on ``integrity_runs``.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow. Runs are shared by
leases, as deletions are: one process of a node is at a run of its slots, and another goes on where it died.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from pacs_actors.archive.key_values import storable
from pacs_actors.audit import events, trail
from pacs_actors.audit.audit import made
from pacs_actors.database import Database
from pacs_actors.lifecycle.integrity_walk import Cursor
from protocols.messages.audit import Actor, Details

Kind = Literal["scrub", "reconcile"]
_LEASE_S: Final = 20.0


class LeaseLost(Exception):
    """Somebody else is at the run: we were gone for too long."""


class Run(Struct, frozen=True):
    """A walk through the archive.

    asked_by:   "" if its time had come
    ended_at:   None while it is under way
    objects:    that were looked at so far, size_bytes: of them
    found:      things that are not as they should be; fixed: of them
    problem:    why it ended before its time
    """

    id: int
    kind: Kind
    fix: bool
    asked_by: str
    began_at: datetime
    ended_at: datetime | None
    objects: int
    size_bytes: int
    found: int
    fixed: int
    problem: str


class Work(Struct):
    """A run for whoever holds its lease. What it counts is written with the next ``renew``."""

    run: int
    fix: bool
    lease: str
    cursor: Cursor
    objects: int
    size_bytes: int
    found: int
    fixed: int


_RUN: Final = ", ".join(Run.__struct_fields__)
_TAKE: Final = """
    UPDATE integrity_runs SET lease = $2, leased_until = now() + make_interval(secs => $3)
    WHERE id = (SELECT id FROM integrity_runs WHERE kind = $1 AND node = $4 AND ended_at IS NULL
        -- A lease from before the clock was set back is none.
        AND (leased_until <= now() OR leased_until > now() + make_interval(secs => 10 * $3)) FOR UPDATE SKIP LOCKED)
    RETURNING id, fix, slot, after_key, objects, size_bytes, found, fixed"""
# One that began in the future was begun before the clock was set back: it says nothing about when the next is due.
_BEGIN: Final = """
    INSERT INTO integrity_runs (kind, node) SELECT 'scrub', $2 WHERE NOT EXISTS (SELECT FROM integrity_runs
        WHERE kind = 'scrub' AND node = $2
        AND (ended_at IS NULL OR (began_at > now() - make_interval(secs => $1) AND began_at <= now())))
    ON CONFLICT DO NOTHING"""


class IntegrityRuns:
    """node: whose slots its runs walk through"""

    def __init__(self, database: Database, node: int = 0) -> None:
        self.database, self.node = database, node

    async def take(self, kind: Kind, lease: str, *, every_s: float = 0) -> Work | None:
        """The run at which nobody is, if there is one; a scrub is begun when its time has come. every_s: 0: it never comes"""

        async def unit(connection: asyncpg.Connection) -> Work | None:
            if kind == "scrub" and every_s > 0:
                await connection.execute(_BEGIN, every_s, self.node)
            row = await connection.fetchrow(_TAKE, kind, lease, _LEASE_S, self.node)
            if row is None:
                return None
            return Work(row[0], row[1], lease, Cursor(row[2], row[3]), *row[4:])

        return await self.database.run(unit)

    async def renew(self, work: Work) -> None:
        """Write how far it is, and keep it. raises: LeaseLost"""

        async def unit(connection: asyncpg.Connection) -> bool:
            done: str = await connection.execute(
                """UPDATE integrity_runs SET slot = $3, after_key = $4, objects = $5, size_bytes = $6, found = $7, fixed = $8,
                    leased_until = now() + make_interval(secs => $9) WHERE id = $1 AND lease = $2 AND ended_at IS NULL""",
                work.run, work.lease, work.cursor.slot, work.cursor.after_key, work.objects, work.size_bytes, work.found,
                work.fixed, _LEASE_S,
            )  # fmt: skip
            return done != "UPDATE 0"

        if not await self.database.run(unit):
            raise LeaseLost

    async def finish(self, work: Work, problem: str = "") -> None:
        """It has seen everything, or cannot go on."""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                """UPDATE integrity_runs SET ended_at = now(), problem = $3, objects = $4, size_bytes = $5, found = $6, fixed = $7,
                    leased_until = '-infinity' WHERE id = $1 AND lease = $2 AND ended_at IS NULL""",
                work.run, work.lease, storable(problem)[:500], work.objects, work.size_bytes, work.found, work.fixed,
            )  # fmt: skip

        await self.database.run(unit)

    async def ask(self, kind: Kind, by: Actor, *, fix: bool = False) -> Run:
        """Have one begun now on every node, with its audit event; this node's, or the one of it that is under way."""

        async def unit(connection: asyncpg.Connection) -> Run:
            async with connection.transaction():
                row = await connection.fetchrow(
                    "INSERT INTO integrity_runs (kind, fix, asked_by, node) VALUES ($1, $2, $3, $4) "  # noqa: S608 - our words
                    f"ON CONFLICT DO NOTHING RETURNING {_RUN}",
                    kind, fix, storable(by.who), self.node,
                )  # fmt: skip
                await connection.execute(
                    "INSERT INTO integrity_runs (kind, fix, asked_by, node) SELECT $1, $2, $3, node FROM archive_nodes "
                    "WHERE node <> $4 AND forgotten_at IS NULL ON CONFLICT DO NOTHING",
                    kind, fix, storable(by.who), self.node,
                )  # fmt: skip
                if row is None:
                    row = await connection.fetchrow(
                        f"SELECT {_RUN} FROM integrity_runs WHERE kind = $1 AND node = $2 AND ended_at IS NULL",  # noqa: S608
                        kind, self.node,
                    )  # fmt: skip
                    if row is None:  # it ended at this moment
                        raise asyncpg.SerializationError
                    return Run(*row)
                details: Details = {"what": kind, "fix": str(fix).lower()}
                await trail.append(connection, made(events.INTEGRITY_ASKED, by, details))
                return Run(*row)

        while True:
            try:
                return await self.database.run(unit)
            except asyncpg.SerializationError:
                continue

    async def runs(self, kind: Kind) -> tuple[Run | None, Run | None]:
        """(the one under way, the last one that ended), of this node."""

        async def unit(connection: asyncpg.Connection) -> tuple[Run | None, Run | None]:
            found = [
                await connection.fetchrow(
                    f"SELECT {_RUN} FROM integrity_runs WHERE kind = $1 AND node = $2 AND ended_at {which} "  # noqa: S608
                    "ORDER BY id DESC LIMIT 1",
                    kind,
                    self.node,
                )
                for which in ("IS NULL", "IS NOT NULL")
            ]
            running, last = (Run(*row) if row is not None else None for row in found)
            return running, last

        return await self.database.run(unit)
