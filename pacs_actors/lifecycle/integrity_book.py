"""Who looks at the archive's integrity, how far they are, and what they found: all SQL on ``integrity_runs`` and
``integrity_findings``, and what a finding changes in the index.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow. Runs are shared by
leases, as deletions are: one process of the archive, on whatever node, is at a run, and another goes on where it died.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from pacs_actors.archive.key_values import storable
from pacs_actors.audit import events, trail
from pacs_actors.audit.audit import OURSELVES, made
from pacs_actors.database import Database
from pacs_actors.lifecycle.copies import lock_series, raise_availability
from pacs_actors.lifecycle.integrity_walk import Cursor
from pacs_actors.lifecycle.scrubbing import Damage
from protocols.messages.audit import Actor, Details

Kind = Literal["scrub", "reconcile"]
MOST_LISTED: Final = 10_000
_LEASE_S: Final = 20.0
_WITHIN_S: Final = 60.0


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


class Finding(Struct, frozen=True):
    """Something that is not as it should be.

    kind:     corrupt, lost, unreadable (objects); those of ``reconciling.Kind`` besides
    subject:  an object's key, a study's UID, a file's path
    """

    id: int
    kind: str
    subject: str
    sop_instance_uid: str
    detail: str
    quarantine_key: str
    found_by: str
    found_at: datetime
    seen_at: datetime


class Noted(Struct, frozen=True):
    """new: nobody had found it before"""

    id: int
    new: bool


_RUN: Final = ", ".join(Run.__struct_fields__)
_FINDING: Final = ", ".join(Finding.__struct_fields__)
_TAKE: Final = """
    UPDATE integrity_runs SET lease = $2, leased_until = now() + make_interval(secs => $3)
    WHERE id = (SELECT id FROM integrity_runs WHERE kind = $1 AND ended_at IS NULL
        -- A lease from before the clock was set back is none.
        AND (leased_until <= now() OR leased_until > now() + make_interval(secs => 10 * $3)) FOR UPDATE SKIP LOCKED)
    RETURNING id, fix, slot, after_key, objects, size_bytes, found, fixed"""
# One that began in the future was begun before the clock was set back: it says nothing about when the next is due.
_BEGIN: Final = """
    INSERT INTO integrity_runs (kind) SELECT 'scrub' WHERE NOT EXISTS (SELECT FROM integrity_runs WHERE kind = 'scrub'
        AND (ended_at IS NULL OR (began_at > now() - make_interval(secs => $1) AND began_at <= now())))
    ON CONFLICT DO NOTHING"""
_SETTLE: Final = """
    UPDATE integrity_findings SET settled_at = now(), settled = $2 WHERE id = ANY ($1::bigint[]) AND settled_at IS NULL"""
_FOUND: Final = """
    INSERT INTO integrity_findings (kind, subject, sop_instance_uid, detail, found_by, indexed) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (kind, subject) WHERE settled_at IS NULL
    DO UPDATE SET seen_at = now(), detail = excluded.detail, indexed = integrity_findings.indexed OR excluded.indexed
    RETURNING id, xmax = 0"""


class IntegrityBook:
    def __init__(self, database: Database) -> None:
        self.database = database

    # -- runs -------------------------------------------------------------------------------------------------------------------
    async def take(self, kind: Kind, lease: str, *, every_s: float = 0) -> Work | None:
        """The run at which nobody is, if there is one; a scrub is begun when its time has come. every_s: 0: it never comes"""

        async def unit(connection: asyncpg.Connection) -> Work | None:
            if kind == "scrub" and every_s > 0:
                await connection.execute(_BEGIN, every_s)
            row = await connection.fetchrow(_TAKE, kind, lease, _LEASE_S)
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
        await self._execute(
            """UPDATE integrity_runs SET ended_at = now(), problem = $3, objects = $4, size_bytes = $5, found = $6, fixed = $7,
                leased_until = '-infinity' WHERE id = $1 AND lease = $2 AND ended_at IS NULL""",
            work.run, work.lease, storable(problem)[:500], work.objects, work.size_bytes, work.found, work.fixed,
        )  # fmt: skip

    async def settle_what_is_gone(self, run: int, most: int = 1000) -> int:
        """What runs like this one had found, and this one, which has seen everything, has not; how many.

        What could not be had, and can be had now, is ONLINE again.
        """

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                rows = await connection.fetch(
                    """SELECT f.id, CASE WHEN f.indexed THEN f.sop_instance_uid END AS uid, f.subject
                    FROM integrity_findings f JOIN integrity_runs r ON r.id = $1 AND r.kind = f.found_by
                    WHERE f.settled_at IS NULL AND f.seen_at < r.began_at AND f.quarantine_key = '' ORDER BY f.id LIMIT $2""",
                    run, most,
                )  # fmt: skip
                back = {row["uid"]: row["subject"] for row in rows if row["uid"]}
                if back:
                    await lock_series(connection, list(back))
                    series = await connection.fetch(
                        """UPDATE instances i SET availability = 'ONLINE' FROM unnest($1::text[], $2::text[]) AS b (uid, key)
                        WHERE i.sop_instance_uid = b.uid AND i.object_key = b.key AND i.availability = 'UNAVAILABLE'
                        RETURNING i.series""",
                        list(back), list(back.values()),
                    )  # fmt: skip
                    await raise_availability(connection, sorted({row[0] for row in series}))
                await connection.execute(_SETTLE, [row["id"] for row in rows], "gone")
                return len(rows)

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def release(self, work: Work) -> None:
        """Leave it to whoever comes next."""
        await self._execute(
            "UPDATE integrity_runs SET leased_until = '-infinity' WHERE id = $1 AND lease = $2",
            work.run,
            work.lease,
        )

    async def ask(self, kind: Kind, by: Actor, *, fix: bool = False) -> Run:
        """Have one begun now, with its audit event; the one that is under way if there is one."""

        async def unit(connection: asyncpg.Connection) -> Run:
            async with connection.transaction():
                row = await connection.fetchrow(
                    f"INSERT INTO integrity_runs (kind, fix, asked_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING {_RUN}",  # noqa: S608 - our words
                    kind, fix, storable(by.who),
                )  # fmt: skip
                if row is None:
                    row = await connection.fetchrow(
                        f"SELECT {_RUN} FROM integrity_runs WHERE kind = $1 AND ended_at IS NULL",  # noqa: S608
                        kind,
                    )
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
        """(the one under way, the last one that ended)."""

        async def unit(connection: asyncpg.Connection) -> tuple[Run | None, Run | None]:
            found = [
                await connection.fetchrow(
                    f"SELECT {_RUN} FROM integrity_runs WHERE kind = $1 AND ended_at {which} ORDER BY id DESC LIMIT 1",  # noqa: S608
                    kind,
                )
                for which in ("IS NULL", "IS NOT NULL")
            ]
            running, last = (Run(*row) if row is not None else None for row in found)
            return running, last

        return await self.database.run(unit)

    # -- findings ---------------------------------------------------------------------------------------------------------------
    async def listed(self, most: int = MOST_LISTED) -> list[Finding]:
        """What is not settled, the newest first."""

        async def unit(connection: asyncpg.Connection) -> list[Finding]:
            rows = await connection.fetch(
                f"SELECT {_FINDING} FROM integrity_findings WHERE settled_at IS NULL ORDER BY id DESC LIMIT $1",  # noqa: S608
                most,
            )
            return [Finding(*row) for row in rows]

        return await self.database.run(unit)

    async def counts(self) -> dict[str, int]:
        """What is not settled, by kind."""

        async def unit(connection: asyncpg.Connection) -> dict[str, int]:
            rows = await connection.fetch(
                "SELECT kind, count(*) FROM integrity_findings WHERE settled_at IS NULL GROUP BY kind ORDER BY kind"
            )
            return {row[0]: row[1] for row in rows}

        return await self.database.run(unit)

    async def found(
        self, kind: str, subject: str, detail: str, found_by: Kind, sop_instance_uid: str = ""
    ) -> Noted:
        """Note what is of no consequence for the index."""

        async def unit(connection: asyncpg.Connection) -> Noted:
            row = await connection.fetchrow(
                _FOUND,
                kind,
                storable(subject),
                storable(sop_instance_uid),
                storable(detail)[:500],
                found_by,
                False,
            )
            assert row is not None, "a row that is inserted is returned"
            return Noted(row[0], row[1])

        return await self.database.run(unit)

    async def damaged(self, damage: Damage, found_by: Kind) -> Noted:
        """Note an object that is not good: with an audit event when it is news, and its instance is not to be had from now on."""

        async def unit(connection: asyncpg.Connection) -> Noted:
            async with connection.transaction():
                uid = storable(damage.sop_instance_uid)
                if damage.indexed:
                    await lock_series(connection, [uid])
                    series = await connection.fetchval(
                        """UPDATE instances SET availability = 'UNAVAILABLE'
                        WHERE sop_instance_uid = $1 AND object_key = $2 AND availability = 'ONLINE' RETURNING series""",
                        uid, damage.key,
                    )  # fmt: skip
                    if series is not None:
                        await raise_availability(connection, [series])
                kind = damage.condition.value
                row = await connection.fetchrow(
                    _FOUND, kind, damage.key, uid, damage.why[:500], found_by, damage.indexed
                )
                assert row is not None, "a row that is inserted is returned"
                if row[1]:
                    await _tell(connection, damage, uid)
                return Noted(row[0], row[1])

        return await self.database.run(unit)

    async def put_aside(self, finding: int, damage: Damage, quarantine_key: str) -> None:
        """The object is in quarantine now: listed there, with its reason."""
        row = damage.row

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                await connection.execute(
                    "UPDATE integrity_findings SET quarantine_key = $2 WHERE id = $1", finding, quarantine_key
                )
                await connection.execute(
                    """INSERT INTO quarantine (sop_instance_uid, object_key, first_key, digest, size_bytes, why, source)
                    VALUES ($1, $2, $3, $4, $5, 'damaged', 'scrubber') ON CONFLICT (object_key) DO NOTHING""",
                    storable(damage.sop_instance_uid), quarantine_key, damage.key, row.digest if row is not None else b"",
                    row.size_bytes if row is not None else 0,
                )  # fmt: skip

        await self.database.run(unit)

    async def unmoved(self) -> list[Finding]:
        """Corrupt objects that a process was about to move when it died."""

        async def unit(connection: asyncpg.Connection) -> list[Finding]:
            rows = await connection.fetch(
                f"SELECT {_FINDING} FROM integrity_findings WHERE settled_at IS NULL AND kind = 'corrupt' "  # noqa: S608
                "AND quarantine_key = '' ORDER BY id LIMIT 1000"
            )
            return [Finding(*row) for row in rows]

        return await self.database.run(unit)

    async def settle(self, findings: Sequence[int], how: str) -> None:
        await self._execute(_SETTLE, list(findings), how)

    async def settle_what_is_well(self) -> int:
        """Findings whose instance has another object by now (it came again, or from a copy), or was deleted; how many."""

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                rows = await connection.fetch(
                    """SELECT f.id, i.sop_instance_uid FROM integrity_findings f
                    LEFT JOIN instances i ON i.sop_instance_uid = f.sop_instance_uid
                    WHERE f.settled_at IS NULL AND f.indexed AND i.object_key IS DISTINCT FROM f.subject
                    ORDER BY f.id LIMIT 1000"""
                )
                healed = {row[0]: row[1] for row in rows if row[1] is not None}
                if healed:
                    uids = list(healed.values())
                    await lock_series(connection, uids)
                    series = await connection.fetch(
                        "SELECT DISTINCT series FROM instances WHERE sop_instance_uid = ANY ($1::text[])",
                        uids,
                    )
                    await raise_availability(connection, sorted(row[0] for row in series))
                deleted = [row[0] for row in rows if row[1] is None]
                for ids, how in ((list(healed), "healed"), (deleted, "deleted")):
                    await connection.execute(_SETTLE, ids, how)
                return len(rows)

        return await self.database.run(unit)

    async def _execute(self, statement: str, *arguments: object) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(statement, *arguments)

        await self.database.run(unit)


async def _tell(connection: asyncpg.Connection, damage: Damage, uid: str) -> None:
    """As the last statement of the transaction."""
    whose = await connection.fetchrow(
        """SELECT s.study_instance_uid, e.series_instance_uid, p.patient_id FROM instances i JOIN series e ON e.id = i.series
        JOIN studies s ON s.id = e.study JOIN patients p ON p.id = s.patient WHERE i.sop_instance_uid = $1""",
        uid,
    )
    details: Details = {"key": damage.key, "condition": damage.condition.value, "why": damage.why[:200]}
    if whose is None:
        told = made(events.OBJECT_DAMAGED, OURSELVES, {**details, "instance": uid}, outcome="failure")
    else:
        uids = (whose[0], whose[1], uid)
        told = made(events.OBJECT_DAMAGED, OURSELVES, details, uids, whose[2], outcome="failure")
    await trail.append(connection, told)
