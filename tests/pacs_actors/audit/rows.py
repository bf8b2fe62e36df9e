"""Rows and events for the tests, and a way around the locks of the audit."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import trio

from pacs_actors.audit.chain import Anchor, Link, Verifier
from pacs_actors.audit.trail import links
from protocols.messages.audit import AuditEvent, AuditRow, Details


def event(number: int = 1, **facts: Any) -> AuditEvent:
    given = {"event": "store", "outcome": "success", "who": f"CT{number}", "address": "10.0.0.9", "via": "ae"}
    return AuditEvent(**{**given, **facts})


def row(name: str = "store", *, details: Details | None = None, **facts: Any) -> AuditRow:
    when = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    given: dict[str, Any] = {
        "id": 7, "at": when, "recorded_at": when, "event": name, "outcome": "success", "who": "CT1", "via": "ae",
        "address": "10.0.0.9", "patient_id": "P1", "uids": ("1.2.3",), "details": details or {}, "hash": "ab" * 32,
    }  # fmt: skip
    return AuditRow(**{**given, **facts})


async def stored_links(dsn: str) -> list[Link]:
    async def unit() -> list[Link]:
        connection = await asyncpg.connect(dsn)
        try:
            return [link async for link in links(connection)]
        finally:
            await connection.close()

    return await _in_thread(unit)


async def verified(dsn: str, anchors: list[Anchor] | None = None) -> Verifier:
    verifier = Verifier(anchors or [])
    for link in await stored_links(dsn):
        verifier.feed(link)
    verifier.finish()
    return verifier


async def execute(dsn: str, *statements: str) -> None:
    async def unit() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    await _in_thread(unit)


_LOCKED = [
    f"ALTER TABLE audit_events ENABLE ALWAYS TRIGGER {name}"
    for name in ("audit_events_chain", "audit_events_append_only")
]


async def tamper(dsn: str, *statements: str) -> None:
    """As somebody who has the database server in their hands: no trigger hinders them."""
    unlocked = "ALTER TABLE audit_events DISABLE TRIGGER ALL"
    await execute(dsn, unlocked, *statements, *_LOCKED)


async def _in_thread(unit: Any) -> Any:
    return await trio.to_thread.run_sync(lambda: asyncio.run(unit()))
