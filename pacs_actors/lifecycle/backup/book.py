"""The table ``backups``: what was asked for, what is being made, what was made. All its SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from pacs_actors.lifecycle.backup.manifest import Kind, Manifest
from protocols.errors import Refusal

MOST_LISTED: Final = 1000
_LOCK: Final = 0x5041_4342  # one keeper at a time decides


class AlreadyAsked(Refusal):
    """409: a backup is being made, or waits to be."""

    def __init__(self) -> None:
        super().__init__("A backup is being made, or about to begin.", dimse_status=0x0110, http_status=409)


class Backup(Struct, frozen=True):
    """A backup that was asked for. state: waiting, running, done, incomplete or failed; problem: why it failed, or what it lacks

    name:      of its folder at ``place``; parent: of the one that it builds on
    objects:   new in it; size_bytes: theirs; stored_bytes: of all its files
    verified:  it was read back and found whole; damaged: objects that were damaged before they were copied
    missing:   objects of other nodes that could not be had: it is incomplete
    """

    id: int
    kind: str
    state: str
    asked_by: str
    asked_at: datetime
    began_at: datetime | None
    ended_at: datetime | None
    place: str
    name: str
    parent: str
    objects: int
    size_bytes: int
    stored_bytes: int
    encrypted: bool
    verified: bool
    damaged: int
    problem: str
    missing: int


class Outcome(Struct, frozen=True):
    """What came of one. kind: "" if it is not known better than in its row"""

    kind: str = ""
    name: str = ""
    parent: str = ""
    objects: int = 0
    size_bytes: int = 0
    stored_bytes: int = 0
    encrypted: bool = False
    verified: bool = False
    damaged: int = 0
    problem: str = ""
    missing: int = 0


def outcome_of(made: Manifest, *, verified: bool, problem: str = "") -> Outcome:
    return Outcome(
        kind=made.kind,
        name=made.id,
        parent=made.parent or "",
        objects=made.objects,
        size_bytes=made.size_bytes,
        stored_bytes=made.stored_bytes,
        encrypted=bool(made.key_check),
        verified=verified,
        damaged=len(made.damaged),
        problem=problem,
        missing=made.missing,
    )


def lacks(missing: int) -> str:
    """What an incomplete backup says of itself; "" if it is complete."""
    return f"it lacks {missing} objects of other nodes, of which no store gave a copy" if missing else ""


_COLUMNS: Final = ", ".join(Backup.__struct_fields__)


async def listed(connection: asyncpg.Connection) -> list[Backup]:
    """The newest ones first."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM backups ORDER BY id DESC LIMIT {MOST_LISTED}")  # noqa: S608 - our words
    return [Backup(*row) for row in rows]


async def ask(connection: asyncpg.Connection, kind: Kind, by: str) -> Backup:
    """Have one made. raises: AlreadyAsked"""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval(
            "SELECT EXISTS (SELECT FROM backups WHERE state IN ('waiting', 'running'))"
        ):
            raise AlreadyAsked
        row = await connection.fetchrow(
            f"INSERT INTO backups (kind, asked_by) VALUES ($1, $2) RETURNING {_COLUMNS}",  # noqa: S608 - our words
            kind, by,
        )  # fmt: skip
        assert row is not None, "a row that is inserted is returned"
        return Backup(*row)


async def begin(connection: asyncpg.Connection, kind: Kind, by: str, place: str, lease_s: float) -> int:
    """Note one that begins now, without having been asked for; its number."""
    number: int = await connection.fetchval(
        """INSERT INTO backups (kind, asked_by, state, began_at, place, leased_until)
        VALUES ($1, $2, 'running', now(), $3, now() + make_interval(secs => $4)) RETURNING id""",
        kind, by, place, lease_s,
    )  # fmt: skip
    return number


async def take(connection: asyncpg.Connection, place: str, lease_s: float) -> tuple[int, Kind] | None:
    """The oldest that waits, unless one is being made; nobody else gets it while the lease is renewed."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await _expire(connection)
        row = await connection.fetchrow(
            """UPDATE backups SET state = 'running', began_at = now(), place = $1,
                leased_until = now() + make_interval(secs => $2)
            WHERE id = (SELECT min(id) FROM backups WHERE state = 'waiting')
                AND NOT EXISTS (SELECT FROM backups WHERE state = 'running') RETURNING id, kind""",
            place, lease_s,
        )  # fmt: skip
        return (row[0], row[1]) if row is not None else None


async def ask_if_due(
    connection: asyncpg.Connection, full_every_days: float, incremental_every_h: float
) -> None:
    """Have one made when its time has come: full, or incremental onto what there is. A failure counts as an attempt
    for an hour.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(
            """INSERT INTO backups (kind)
            SELECT CASE WHEN full_due THEN 'full' ELSE 'incremental' END
            FROM (SELECT NOT EXISTS (SELECT FROM backups WHERE state IN ('done', 'incomplete') AND kind = 'full'
                    AND began_at > now() - make_interval(secs => $1)) AS full_due,
                NOT EXISTS (SELECT FROM backups WHERE state IN ('done', 'incomplete')
                    AND began_at > now() - make_interval(secs => $2)) AS any_due) due
            WHERE (full_due OR any_due) AND NOT EXISTS (SELECT FROM backups WHERE state IN ('waiting', 'running')
                OR state = 'failed' AND ended_at > now() - interval '1 hour')""",
            full_every_days * 86400, incremental_every_h * 3600,
        )  # fmt: skip


async def next_due(
    connection: asyncpg.Connection, full_every_days: float, incremental_every_h: float
) -> tuple[Literal["full", "incremental"], datetime]:
    """What ``ask_if_due`` will ask for next, and when; a moment that has passed: as soon as what is under way has ended."""
    row = await connection.fetchrow(
        """SELECT due.full_at <= greatest(due.any_at, due.again_at, now()), greatest(least(due.full_at, due.any_at), due.again_at)
        FROM (SELECT coalesce(max(began_at) FILTER (WHERE state IN ('done', 'incomplete') AND kind = 'full')
                    + make_interval(secs => $1), now()) AS full_at,
                coalesce(max(began_at) FILTER (WHERE state IN ('done', 'incomplete')) + make_interval(secs => $2), now()) AS any_at,
                max(ended_at) FILTER (WHERE state = 'failed') + interval '1 hour' AS again_at FROM backups) due""",
        full_every_days * 86400, incremental_every_h * 3600,
    )  # fmt: skip
    assert row is not None, "an aggregate has one row"
    return ("full" if row[0] else "incremental"), row[1]


async def renew(connection: asyncpg.Connection, number: int, lease_s: float) -> None:
    await connection.execute(
        "UPDATE backups SET leased_until = now() + make_interval(secs => $2) WHERE id = $1 AND state = 'running'",
        number, lease_s,
    )  # fmt: skip


async def end(connection: asyncpg.Connection, number: int, outcome: Outcome) -> None:
    await connection.execute(
        """UPDATE backups SET state = CASE WHEN $10 <> '' THEN 'failed' WHEN $12 > 0 THEN 'incomplete' ELSE 'done' END,
            ended_at = now(), name = $2,
            parent = $3, kind = coalesce(nullif($11, ''), kind), objects = $4, size_bytes = $5, stored_bytes = $6,
            encrypted = $7, verified = $8, damaged = $9, missing = $12, problem = $13
        WHERE id = $1""",
        number, outcome.name, outcome.parent, outcome.objects, outcome.size_bytes, outcome.stored_bytes,
        outcome.encrypted, outcome.verified, outcome.damaged, outcome.problem, outcome.kind, outcome.missing,
        (outcome.problem or lacks(outcome.missing))[:1000],
    )  # fmt: skip


async def end_if_running(connection: asyncpg.Connection, number: int, outcome: Outcome) -> None:
    """Whoever was at it died without a word."""
    if await connection.fetchval("SELECT state = 'running' FROM backups WHERE id = $1", number):
        await end(connection, number, outcome)


async def restored(connection: asyncpg.Connection, outcome: Outcome, ended_at: datetime) -> None:
    """This table is a copy that was made in the middle of a backup: of the one with that outcome, which ended then.

    What waits does not any more.
    """
    number = await connection.fetchval("SELECT max(id) FROM backups WHERE state = 'running'")
    if number is not None:
        await end(connection, number, outcome)
        await connection.execute("UPDATE backups SET ended_at = $2 WHERE id = $1", number, ended_at)
    await connection.execute(
        """UPDATE backups SET state = 'failed', ended_at = now(), problem = 'the archive was restored from a backup'
        WHERE state IN ('waiting', 'running')"""
    )


async def instances(connection: asyncpg.Connection) -> int:
    """How many the index has."""
    found: int = await connection.fetchval("SELECT coalesce(sum(instances), 0)::bigint FROM archive_totals")
    return found


async def _expire(connection: asyncpg.Connection) -> None:
    await connection.execute(
        """UPDATE backups SET state = 'failed', ended_at = now(), problem = 'it was interrupted'
        WHERE state = 'running' AND leased_until < now()"""
    )
