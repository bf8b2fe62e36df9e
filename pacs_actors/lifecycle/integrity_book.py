"""What is not as it should be in the archive, until it is again: all SQL on ``integrity_findings``, and what a finding changes in
the index and in the quarantine.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from pacs_actors.archive import availability
from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.key_values import storable
from pacs_actors.archive.scope import EVERYTHING, StudyScope, scope_clause
from pacs_actors.audit import events, trail
from pacs_actors.audit.audit import OURSELVES, made
from pacs_actors.database import Database
from pacs_actors.lifecycle.integrity_runs import Kind
from pacs_actors.lifecycle.scrubbing import Damage
from protocols.messages.audit import Details

MOST_LISTED: Final = 10_000
_WITHIN_S: Final = 60.0


class Finding(Struct, frozen=True):
    """Something that is not as it should be.

    kind:     corrupt, lost, unreadable (objects); those of ``reconciling.Kind`` besides
    subject:  an object's key, a study's UID, a file's path; of a copy the name of its store, a space, and its key there
    settled:  what has become of it: healed, deleted, gone (it is well again), aside (no instance's, in quarantine);
              "" while it is as it was found
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
    settled_at: datetime | None
    settled: str


class Noted(Struct, frozen=True):
    """new: nobody had found it before"""

    id: int
    new: bool


_WITHIN: Final = """EXISTS (SELECT FROM instances i JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study
    WHERE i.sop_instance_uid = f.sop_instance_uid AND {})"""
_FINDING: Final = ", ".join(Finding.__struct_fields__)
_SETTLE: Final = """
    UPDATE integrity_findings SET settled_at = now(), settled = $2 WHERE id = ANY ($1::bigint[]) AND settled_at IS NULL"""
_FOUND: Final = """
    INSERT INTO integrity_findings (kind, subject, sop_instance_uid, detail, found_by, indexed, node)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (kind, subject) WHERE settled_at IS NULL
    DO UPDATE SET seen_at = now(), detail = excluded.detail, indexed = integrity_findings.indexed OR excluded.indexed
    RETURNING id, xmax = 0"""


class IntegrityBook:
    """node: that finds things and sees to them"""

    def __init__(self, database: Database, node: int = 0) -> None:
        self.database, self.node = database, node

    async def listed(self, scope: StudyScope = EVERYTHING, *, settled: bool = False) -> list[Finding]:
        """What is not settled, or what is, the newest MOST_LISTED; within a scope that of the instances of its studies."""
        conditions = Conditions()
        seen = scope_clause(scope, conditions.parameter)
        within = "true" if seen is None else _WITHIN.format(seen)

        async def unit(connection: asyncpg.Connection) -> list[Finding]:
            rows = await connection.fetch(
                f"SELECT {_FINDING} FROM integrity_findings f WHERE settled_at IS {'NOT ' if settled else ''}NULL AND {within} "  # noqa: S608
                f"ORDER BY id DESC LIMIT {MOST_LISTED}",
                *conditions.parameters,
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
        self,
        kind: str,
        subject: str,
        detail: str,
        found_by: Kind | Literal["copies"],
        sop_instance_uid: str = "",
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
                self.node,
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
                    await availability.lock_series(connection, [uid])
                    series = await connection.fetchval(
                        """UPDATE instances SET availability = 'UNAVAILABLE'
                        WHERE sop_instance_uid = $1 AND object_key = $2 AND availability = 'ONLINE' RETURNING series""",
                        uid, damage.key,
                    )  # fmt: skip
                    if series is not None:
                        await availability.settle(connection, [series])
                kind = damage.condition.value
                row = await connection.fetchrow(
                    _FOUND, kind, damage.key, uid, damage.why[:500], found_by, damage.indexed, self.node
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
                "AND quarantine_key = '' AND node = $1 AND found_by <> 'copies' ORDER BY id LIMIT 1000",
                self.node,
            )
            return [Finding(*row) for row in rows]

        return await self.database.run(unit)

    async def settle(self, findings: Sequence[int], how: str) -> None:
        await self._execute(_SETTLE, list(findings), how)

    async def settle_what_is_gone(self, run: int, most: int = 1000) -> int:
        """What runs like this one had found, and this one, which has seen everything, has not; how many.

        What could not be had, and can be had now, is ONLINE again.
        """

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                rows = await connection.fetch(
                    """SELECT f.id, CASE WHEN f.indexed THEN f.sop_instance_uid END AS uid, f.subject
                    FROM integrity_findings f JOIN integrity_runs r ON r.id = $1 AND r.kind = f.found_by AND r.node = f.node
                    WHERE f.settled_at IS NULL AND f.seen_at < r.began_at AND f.quarantine_key = '' ORDER BY f.id LIMIT $2""",
                    run, most,
                )  # fmt: skip
                back = {row["uid"]: row["subject"] for row in rows if row["uid"]}
                if back:
                    await availability.lock_series(connection, list(back))
                    series = await connection.fetch(
                        """UPDATE instances i SET availability = 'ONLINE' FROM unnest($1::text[], $2::text[]) AS b (uid, key)
                        WHERE i.sop_instance_uid = b.uid AND i.object_key = b.key AND i.availability = 'UNAVAILABLE'
                        RETURNING i.series""",
                        list(back), list(back.values()),
                    )  # fmt: skip
                    await availability.settle(connection, sorted({row[0] for row in series}))
                await connection.execute(_SETTLE, [row["id"] for row in rows], "gone")
                return len(rows)

        return await self.database.run(unit, within_s=_WITHIN_S)

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
                    await availability.lock_series(connection, uids)
                    series = await connection.fetch(
                        "SELECT DISTINCT series FROM instances WHERE sop_instance_uid = ANY ($1::text[])",
                        uids,
                    )
                    await availability.settle(connection, sorted(row[0] for row in series))
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
