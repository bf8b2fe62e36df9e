"""The audit in PostgreSQL: all SQL on ``audit_events`` and ``audit_deliveries``.

Methods of ``Trail`` are one unit of work on ``Database`` each, and raise Unavailable when PostgreSQL is away or too slow.
The functions below it are plain asyncpg coroutines, for those and for the command line.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct, structs

from pacs_actors.archive.key_values import storable
from pacs_actors.audit import events
from pacs_actors.audit.chain import Link
from pacs_actors.audit.matching import COLUMNS, Listing, count_statement, page_statement, rows_statement
from pacs_actors.database import Database
from protocols.messages.audit import AuditEvent, AuditPage, AuditQuery, AuditRow

MOST_ROWS: Final = 1000
MOST_COUNTED: Final = 10_000
_MOST_TEXT: Final = 1024
_MOST_UIDS: Final = 1000
_BLOCK: Final = 1000
_INSERT: Final = (
    "INSERT INTO audit_events (at, event, outcome, who, via, address, patient_id, uids, details) "
    "VALUES (coalesce($1, clock_timestamp()), $2, $3, $4, $5, $6, $7, $8, $9)"
)
# The lock of the chain (0003_audit_chain.sql), and a row as the chain's trigger cuts it.
_HOLD: Final = "SELECT pg_advisory_xact_lock(1346456403, 1)"
_LAST: Final = "SELECT coalesce(max(id), 0) FROM audit_events"
_INSERT_MISSING: Final = """INSERT INTO audit_events (at, event, outcome, who, via, address, patient_id, uids, details)
    SELECT $1::timestamptz, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text[], $9::jsonb
    WHERE NOT EXISTS (SELECT FROM audit_events a WHERE a.at = $1 AND a.event = left($2, 256) AND a.who = left($4, 256)
        AND a.outcome = $3 AND a.uids = $8 AND a.details = $9)"""
_LINKS: Final = (
    "SELECT id, at, recorded_at, event, outcome, who, via, address, patient_id, uids, details::text AS details, "
    "previous, hash FROM audit_events ORDER BY id"
)
_LINKS_AFTER: Final = _LINKS.replace("ORDER BY", "WHERE id > $1 ORDER BY") + " LIMIT $2"
_ROWS_AFTER: Final = f"SELECT {COLUMNS} FROM audit_events a WHERE a.id > $1 ORDER BY a.id LIMIT $2"  # noqa: S608 - our words
# By who was known as a command: what is imported over the web may be millions of rows.
_LAST_RESTORE: Final = """SELECT at, who, details->>'backup', (details->>'instances')::bigint FROM audit_events
    WHERE left(via, 256) = 'command' AND event = $1 AND details->>'what' = 'backup' ORDER BY id DESC LIMIT 1"""
_FIELDS: Final = AuditRow.__struct_fields__
_DETAILS: Final = msgspec.json.Decoder(dict[str, Any])


class Restore(Struct, frozen=True):
    """backup: the name of the one up to which; instances: that the index had then"""

    at: datetime
    who: str
    backup: str
    instances: int


class Trail:
    """Owns the table ``audit_events``."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Write events, all or none, in order."""
        rows = [_stored(event) for event in events]

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.executemany(_INSERT, rows)

        await self.database.run(unit)

    async def append_missing(self, events: Sequence[AuditEvent]) -> int:
        """Write those of these dated events that are not there yet, in order; how many that were."""
        rows = [_stored(event) for event in events]

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                await connection.execute(
                    _HOLD
                )  # so that nobody writes one of them between our look and our write
                before: int = await connection.fetchval(_LAST)
                await connection.executemany(_INSERT_MISSING, rows)
                return int(await connection.fetchval(_LAST)) - before

        return await self.database.run(unit)

    async def search(self, asked: Listing, *, limit: int = 50, count: bool = True) -> AuditPage:
        """A page of a list.

        limit:   1 to MOST_ROWS
        count:   False: total is that of the page only, which is quicker
        """
        limit = min(max(limit, 1), MOST_ROWS)
        sql, values = page_statement(asked, limit + 1)
        counting, counted = count_statement(asked, MOST_COUNTED)

        async def unit(connection: asyncpg.Connection) -> AuditPage:
            found = await connection.fetch(sql, *values)
            rows = tuple(_row(record) for record in found[:limit])
            total = await connection.fetchval(counting, *counted) if count else len(rows)
            last = found[limit - 1] if len(found) > limit else None
            after = None if last is None else (last["place"], last["id"])
            return AuditPage(rows, after, min(total, MOST_COUNTED), capped=total > MOST_COUNTED)

        return await self.database.run(unit)

    async def pages(self, asked: Listing, limit: int) -> AsyncGenerator[tuple[AuditRow, ...], None]:
        """Everything that matches and is there at the beginning, page by page; no page is kept."""
        if asked.until is None:
            asked = structs.replace(asked, until=(await self.head())[0])
        while True:
            page = await self.search(asked, limit=limit, count=False)
            if page.rows:
                yield page.rows
            if page.after is None:
                return
            asked = structs.replace(asked, after=page.after)

    async def after(self, row: int, limit: int) -> list[AuditRow]:
        """The rows that follow a row, oldest first."""

        async def unit(connection: asyncpg.Connection) -> list[AuditRow]:
            return [_row(record) for record in await connection.fetch(_ROWS_AFTER, row, limit)]

        return await self.database.run(unit)

    async def links_after(self, row: int, limit: int) -> list[Link]:
        """The rows that follow a row as they are stored, for a verifier."""

        async def unit(connection: asyncpg.Connection) -> list[Link]:
            found = await connection.fetch(_LINKS_AFTER, row, limit)
            return [Link(**{**record, "uids": tuple(record["uids"])}) for record in found]

        return await self.database.run(unit)

    async def last_restore(self) -> Restore | None:
        """The last time that this archive was made out of a backup."""

        async def unit(connection: asyncpg.Connection) -> Restore | None:
            row = await connection.fetchrow(_LAST_RESTORE, events.IMPORTED)
            return Restore(*row) if row is not None else None

        return await self.database.run(unit)

    async def head(self) -> tuple[int, str]:
        """Number and hash of the last row; (0, "") while there is none."""

        async def unit(connection: asyncpg.Connection) -> tuple[int, str]:
            found = await connection.fetchrow(
                "SELECT id, encode(hash, 'hex') FROM audit_events ORDER BY id DESC LIMIT 1"
            )
            return (found[0], found[1]) if found is not None else (0, "")

        return await self.database.run(unit)

    async def hash_of(self, row: int) -> str | None:
        """None: there is no such row."""

        async def unit(connection: asyncpg.Connection) -> str | None:
            found: str | None = await connection.fetchval(
                "SELECT encode(hash, 'hex') FROM audit_events WHERE id = $1", row
            )
            return found

        return await self.database.run(unit)

    async def changeable_by(self) -> str | None:
        """The role that we are in the database if that could change the audit; None: it could not."""

        async def unit(connection: asyncpg.Connection) -> str | None:
            role: str | None = await connection.fetchval(
                """SELECT current_user FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.oid = 'audit_events'::regclass AND (
                    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                    OR pg_has_role(c.relowner, 'USAGE') OR pg_has_role(n.nspowner, 'USAGE')
                    OR has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE'))"""
            )
            return role

        return await self.database.run(unit)

    async def hold_delivery(self, receiver: str, holder: str, for_s: float) -> int | None:
        """Become, or stay, who sends to a receiver; the number of the last row that it has, None: somebody else sends."""

        async def unit(connection: asyncpg.Connection) -> int | None:
            delivered: int | None = await connection.fetchval(
                """INSERT INTO audit_deliveries AS d (receiver, holder, held_until)
                VALUES ($1, $2, now() + $3 * interval '1 second')
                ON CONFLICT (receiver) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
                WHERE d.holder = excluded.holder OR d.held_until < now() RETURNING delivered""",
                receiver, holder, for_s,
            )  # fmt: skip
            return delivered

        return await self.database.run(unit)

    async def lag(self, receiver: str) -> int:
        """How many rows a receiver does not surely have."""

        async def unit(connection: asyncpg.Connection) -> int:
            lag: int = await connection.fetchval(
                """SELECT coalesce((SELECT id FROM audit_events ORDER BY id DESC LIMIT 1), 0)
                    - coalesce((SELECT delivered FROM audit_deliveries WHERE receiver = $1), 0)""",
                receiver,
            )
            return lag

        return await self.database.run(unit)

    async def delivered(self, receiver: str, holder: str, row: int) -> None:
        """The receiver has everything up to a row."""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                "UPDATE audit_deliveries SET delivered = $3 WHERE receiver = $1 AND holder = $2 AND delivered < $3",
                receiver, holder, row,
            )  # fmt: skip

        await self.database.run(unit)


async def append(connection: asyncpg.Connection, event: AuditEvent) -> None:
    """Write one event, in the transaction that the connection is in: as its last statement."""
    await connection.execute(_INSERT, *_stored(event))


async def links(connection: asyncpg.Connection) -> AsyncIterator[Link]:
    """Every row as it is stored, in order, as of one moment; in blocks, however many there are."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for record in connection.cursor(_LINKS, prefetch=_BLOCK):
            yield Link(**{**record, "uids": tuple(record["uids"])})


async def rows(
    connection: asyncpg.Connection, query: AuditQuery, *, newest: int | None = None
) -> AsyncIterator[AuditRow]:
    """Every row that matches, oldest first, in blocks.

    newest: only that many, newest first
    """
    sql, values = rows_statement(query, newest)
    async with connection.transaction(readonly=True):
        async for record in connection.cursor(sql, *values, prefetch=_BLOCK):
            yield _row(record)


def _row(record: asyncpg.Record) -> AuditRow:
    facts: dict[str, Any] = {name: record[name] for name in _FIELDS}
    return AuditRow(**{**facts, "uids": tuple(facts["uids"]), "details": _DETAILS.decode(facts["details"])})


def _stored(event: AuditEvent) -> tuple[object, ...]:
    """An event as parameters. Whatever a peer sent is bounded, and what text cannot hold is replaced."""
    details = {_text(key): _text(value) if isinstance(value, str) else value for key, value in event.details.items()}  # fmt: skip
    return (
        datetime.fromtimestamp(event.at, UTC) if event.at else None,
        _text(event.event),
        _text(event.outcome),
        _text(event.who),
        _text(event.via),
        _text(event.address),
        _text(event.patient_id),
        [_text(uid) for uid in event.uids[:_MOST_UIDS]],
        msgspec.json.encode(details).decode(),
    )


def _text(value: str) -> str:
    return storable(value[:_MOST_TEXT])
