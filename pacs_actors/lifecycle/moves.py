"""Work on studies between tiers, as rows that survive a crash: all SQL on ``tier_moves``.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from pacs_actors.database import Database
from pacs_actors.lifecycle.copies import Form

ONLINE: Final = "online"
State = Literal["waiting", "running", "done", "failed", "cancelled"]
OPEN: Final[tuple[State, ...]] = ("waiting", "running")

RECALL_PRIORITY: Final = 10
PREFETCH_PRIORITY: Final = 50
POLICY_PRIORITY: Final = 100
REHOMING: Final = "node forgotten"
"""Why studies come back whose node is gone for good: nobody has recalled them, so they stay."""
MOST_WATCHED: Final = 50
"""Of each kind: running, waiting, ended."""
_TAKING: Final = 0x50414D56
_AGAIN_S: Final = 30.0
"""What is asked for again and again is tried no more often."""
_WATCHED_WITHIN_S: Final = 3.0


class Order(Struct, frozen=True):
    """What to do with a study's objects.

    from_store, to_store: ``online``, the name of a store, or nothing. With both it moves; with ``to_store`` only it copies, or
                          recalls; with ``from_store`` only it removes what is elsewhere too
    form:                 how copies are compressed in ``to_store``
    why:                  a policy's name, or what asked for it
    """

    study_instance_uid: str
    from_store: str
    to_store: str
    why: str
    form: Form = "plain"
    asked_by: str = ""
    priority: int = POLICY_PRIORITY


class Move(Struct, frozen=True):
    """An order, and how far it is. instances, size_bytes: of the study; done, done_bytes: of them are settled"""

    id: int
    study_instance_uid: str
    from_store: str
    to_store: str
    form: Form
    why: str
    asked_by: str
    priority: int
    state: State
    asked_at: datetime
    begun_at: datetime | None
    ended_at: datetime | None
    attempts: int
    instances: int
    done: int
    size_bytes: int
    done_bytes: int
    problem: str


_COLUMNS: Final = ", ".join(f"m.{name}" for name in Move.__struct_fields__)


class Moves:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def order(self, orders: Sequence[Order]) -> int:
        """Write orders down; how many are new. One that waits already gets the more urgent of both priorities."""
        if not orders:
            return 0

        async def unit(connection: asyncpg.Connection) -> int:
            return await write_orders(connection, orders)

        return await self.database.run(unit)

    async def take(self, stores: Sequence[str], lease_s: float, node: int = 0) -> Move | None:
        """The most urgent one that is due, for this worker alone until its lease runs out. Of one study there is one at a time:
        what one lets go the other must not count on.

        stores: the names of those that this node has; what needs others is left to other nodes
        node:   our number: what another node has to go on with is left to it, for a minute
        """

        async def unit(connection: asyncpg.Connection) -> Move | None:
            async with connection.transaction():
                # One after the other, so that each sees what the others have taken.
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _TAKING)
                return await taken(connection)

        async def taken(connection: asyncpg.Connection) -> Move | None:
            row = await connection.fetchrow(
                f"""UPDATE tier_moves m SET state = 'running', leased_until = now() + make_interval(secs => $2),
                    begun_at = coalesce(m.begun_at, now()), attempts = m.attempts + 1
                FROM (SELECT id FROM tier_moves w WHERE state IN ('waiting', 'running') AND due_at <= now()
                    AND leased_until <= now() AND NOT EXISTS (SELECT FROM tier_moves o WHERE o.state = 'running'
                        AND o.study_instance_uid = w.study_instance_uid AND o.leased_until > now())
                    AND (from_store = '' OR from_store = ANY ($1::text[]))
                    AND (to_store = '' OR to_store = ANY ($1::text[]))
                    AND (for_node IS NULL OR for_node = $3 OR due_at < now() - interval '1 minute')
                    ORDER BY priority, due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED) due
                WHERE m.id = due.id RETURNING {_COLUMNS}""",  # noqa: S608 - our words
                [*stores, ONLINE], lease_s, node,
            )  # fmt: skip
            return Move(*row) if row is not None else None

        return await self.database.run(unit)

    async def progress(
        self, move: Move, lease_s: float, *, of: tuple[int, int], done: tuple[int, int]
    ) -> bool:
        """Keep it, and tell how far it is, in (instances, bytes). False: somebody has cancelled it, or taken it over."""

        async def unit(connection: asyncpg.Connection) -> bool:
            kept = await connection.fetchval(
                """UPDATE tier_moves SET leased_until = now() + make_interval(secs => $2), instances = $3, size_bytes = $4,
                    done = $5, done_bytes = $6 WHERE id = $1 AND state = 'running' AND attempts = $7 RETURNING true""",
                move.id, lease_s, *of, *done, move.attempts,
            )  # fmt: skip
            return kept is not None

        return await self.database.run(unit)

    async def put_off(self, move: Move, wait_s: float, problem: str) -> None:
        await self._execute(
            """UPDATE tier_moves SET state = 'waiting', due_at = now() + make_interval(secs => $2), leased_until = '-infinity',
                problem = $3 WHERE id = $1 AND state = 'running' AND attempts = $4""",
            move.id, wait_s, problem[:500], move.attempts,
        )  # fmt: skip

    async def hand_over(self, move: Move, node: int, problem: str) -> None:
        """Another node has to go on with it: objects lie there that are nowhere else. That is no failed attempt."""
        await self._execute(
            """UPDATE tier_moves SET state = 'waiting', due_at = now(), leased_until = '-infinity', for_node = $2, problem = $3,
                attempts = attempts - 1 WHERE id = $1 AND state = 'running' AND attempts = $4""",
            move.id, node, problem[:500], move.attempts,
        )  # fmt: skip

    async def end(self, move: Move, state: Literal["done", "failed"], problem: str = "") -> None:
        await self._execute(
            "UPDATE tier_moves SET state = $2, ended_at = now(), problem = $3 "
            "WHERE id = $1 AND state = 'running' AND attempts = $4",
            move.id, state, problem[:500], move.attempts,
        )  # fmt: skip

    async def cancel(self, number: int) -> Move | None:
        """None if there is none that is under way. Whoever works at it notices at its next step."""

        async def unit(connection: asyncpg.Connection) -> Move | None:
            row = await connection.fetchrow(
                f"UPDATE tier_moves m SET state = 'cancelled', ended_at = now() "  # noqa: S608 - our words
                f"WHERE id = $1 AND state IN ('waiting', 'running') RETURNING {_COLUMNS}",
                number,
            )
            return Move(*row) if row is not None else None

        return await self.database.run(unit)

    async def listed(
        self, states: Sequence[str], *, before: int | None, most: int, study: str | None = None
    ) -> list[Move]:
        """The newest in these states. before: a number to go on behind; study: of one only"""

        async def unit(connection: asyncpg.Connection) -> list[Move]:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM tier_moves m WHERE state = ANY ($1::text[]) "  # noqa: S608 - our words
                "AND ($2::bigint IS NULL OR id < $2) AND ($3::text IS NULL OR study_instance_uid = $3) "
                "ORDER BY id DESC LIMIT $4",
                list(states), before, study, most,
            )  # fmt: skip
            return [Move(*row) for row in rows]

        return await self.database.run(unit)

    async def watched(self) -> list[Move]:
        """What somebody who watches wants to see: those that run, the next ones, the last that ended."""

        async def unit(connection: asyncpg.Connection) -> list[Move]:
            rows = await connection.fetch(
                f"""(SELECT {_COLUMNS} FROM tier_moves m WHERE state = 'running' ORDER BY priority, due_at LIMIT $1)
                UNION ALL (SELECT {_COLUMNS} FROM tier_moves m WHERE state = 'waiting' ORDER BY priority, due_at, id LIMIT $1)
                UNION ALL (SELECT {_COLUMNS} FROM tier_moves m WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT $1)""",  # noqa: S608 - our words
                MOST_WATCHED,
            )
            return [Move(*row) for row in rows]

        return await self.database.run(unit, within_s=_WATCHED_WITHIN_S)

    async def counts(self) -> dict[str, int]:
        """State -> how many; of those that ended, in the last day."""

        async def unit(connection: asyncpg.Connection) -> dict[str, int]:
            rows = await connection.fetch(
                "SELECT state, count(*) FROM tier_moves WHERE state IN ('waiting', 'running') "
                "OR ended_at > now() - interval '1 day' GROUP BY state"
            )
            return {row[0]: row[1] for row in rows}

        return await self.database.run(unit)

    async def _execute(self, statement: str, *arguments: object) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(statement, *arguments)

        await self.database.run(unit)


async def write_orders(connection: asyncpg.Connection, orders: Sequence[Order]) -> int:
    rows = await connection.fetch(
        """INSERT INTO tier_moves AS m (study_instance_uid, from_store, to_store, why, form, asked_by, priority)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::smallint[])
        ON CONFLICT (study_instance_uid, from_store, to_store) WHERE state IN ('waiting', 'running')
            DO UPDATE SET priority = least(m.priority, excluded.priority),
                due_at = least(m.due_at, now() + make_interval(secs => $8))
        RETURNING xmax = 0""",
        [one.study_instance_uid for one in orders], [one.from_store for one in orders], [one.to_store for one in orders],
        [one.why for one in orders], [one.form for one in orders], [one.asked_by for one in orders],
        [one.priority for one in orders], _AGAIN_S,
    )  # fmt: skip
    # What somebody wants back is not let go next; a policy says so again if it is still to go later.
    await connection.execute(
        "UPDATE tier_moves SET state = 'cancelled', ended_at = now(), problem = 'recalled' "
        "WHERE study_instance_uid = ANY ($1::text[]) AND state = 'waiting' AND from_store = $2 AND asked_by = ''",
        [one.study_instance_uid for one in orders if one.to_store == ONLINE], ONLINE,
    )  # fmt: skip
    return sum(row[0] for row in rows)


async def forget_ended(connection: asyncpg.Connection, keep_days: int) -> None:
    """Some of what ended long ago."""
    await connection.execute(
        "DELETE FROM tier_moves WHERE id = ANY (ARRAY (SELECT id FROM tier_moves "
        "WHERE ended_at < now() - make_interval(days => $1) LIMIT 10000))",
        keep_days,
    )
