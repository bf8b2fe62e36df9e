"""Attempts to log in, in PostgreSQL: all SQL on what failed and on usual places is here.

Every method is one unit of work on ``Database``; all raise Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.database import Database
from pacs_actors.people.backoff import FORGOTTEN_AFTER_S, USUAL_FOR_S, Counter

_WITHIN_S: Final = 5.0


class Attempt(Struct, frozen=True):
    """An attempt that was counted, or has to wait.

    counters: the most particular one first
    wait_s:   how long it has to wait instead; 0: it may be made, and was counted
    """

    counters: Sequence[Counter]
    at: datetime
    wait_s: float = 0.0

    @property
    def keys(self) -> list[bytes]:
        return [counter.key for counter in self.counters]


class Attempts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_usual_place(self, user_id: int, network: str) -> bool:
        async def unit(connection: asyncpg.Connection) -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM known_addresses WHERE user_id = $1 AND address = $2 AND last_at > $3)",
                    user_id,
                    network,
                    datetime.now(UTC) - timedelta(seconds=USUAL_FOR_S),
                )
            )

        return await self._database.run(unit, within_s=_WITHIN_S)

    async def begin(self, counters: Sequence[Counter]) -> Attempt:
        """Count an attempt as failed, before it is looked at, so that many at once count as many."""

        async def unit(connection: asyncpg.Connection) -> Attempt:
            now = datetime.now(UTC)
            attempt = Attempt(counters, now)
            # Who has to wait anyway leaves no row: each guess may have another name.
            blocked_until = await connection.fetchval(
                "SELECT max(blocked_until) FROM login_failures WHERE key = ANY ($1::bytea[])", attempt.keys
            )
            if blocked_until is not None and blocked_until > now:
                return Attempt(counters, now, (blocked_until - now).total_seconds())
            async with connection.transaction():
                wait_s = await _count(connection, counters, now)
            return Attempt(counters, now, wait_s) if wait_s > 0 else attempt

        return await self._database.run(unit, within_s=_WITHIN_S)

    async def succeeded(self, attempt: Attempt) -> None:
        """The first counter counts nothing any more; in the others it was one failure less."""
        first, *others = attempt.keys

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute("DELETE FROM login_failures WHERE key = $1", first)
            await connection.execute(
                "UPDATE login_failures SET failures = greatest(failures - 1, 0), blocked_until = now()"
                " WHERE key = ANY ($1::bytea[])",
                others,
            )

        await self._database.run(unit, within_s=_WITHIN_S)

    async def withdraw(self, attempt: Attempt) -> None:
        """Nobody has looked at it: it was no failure. A wait that another one has begun since stays."""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                "UPDATE login_failures SET failures = greatest(failures - 1, 0),"
                " blocked_until = CASE WHEN last_at = $2 THEN $2 ELSE blocked_until END"
                " WHERE key = ANY ($1::bytea[]) AND last_at >= $2",
                attempt.keys, attempt.at,
            )  # fmt: skip

        await self._database.run(unit, within_s=_WITHIN_S)


async def _count(connection: asyncpg.Connection, counters: Sequence[Counter], now: datetime) -> float:
    """Lock the counters; seconds to wait if one of them says so, else count."""
    forgotten = now - timedelta(seconds=FORGOTTEN_AFTER_S)
    held = []
    for counter in sorted(counters, key=lambda one: one.key):  # one order, so that none waits in a ring
        row = await connection.fetchrow(
            "INSERT INTO login_failures (key, failures, last_at, blocked_until) VALUES ($1, 0, $2, $2)"
            " ON CONFLICT (key) DO UPDATE SET last_at = login_failures.last_at"
            " RETURNING failures, last_at, blocked_until",
            counter.key, now,
        )  # fmt: skip
        assert row is not None, "a row that is inserted is returned"
        held.append((counter, row))
    wait_s: float = max((row["blocked_until"] - now).total_seconds() for _, row in held)
    if wait_s > 0:
        return wait_s
    for counter, row in held:
        failures = 1 + (row["failures"] if row["last_at"] > forgotten else 0)
        await connection.execute(
            "UPDATE login_failures SET failures = $2, last_at = $3, blocked_until = $4 WHERE key = $1",
            counter.key, failures, now, now + timedelta(seconds=counter.tariff.wait_s(failures)),
        )  # fmt: skip
    return 0.0
