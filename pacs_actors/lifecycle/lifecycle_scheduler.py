"""Lifecycle scheduler: asks every policy now and then which studies it names, and orders their moves.

Runs in the first worker of every node; each time one of them is elected, by an advisory lock of PostgreSQL, and the others pass.
What it decides and orders is one transaction. Sends a wake-up to the tier movers; deletes through ``Deletions``, as people do.

Ages are counted by the wall clock. Where that has jumped, nothing is moved or deleted until somebody says that it is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import asyncpg
import trio
from msgspec import Struct

from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.deleting import Target
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.database import Database
from pacs_actors.lifecycle.moves import ONLINE, POLICY_PRIORITY, Order, forget_ended, write_orders
from pacs_actors.lifecycle.policies import Tier, problems
from pacs_actors.lifecycle.policy_book import POLICY_COLUMNS, Policy, policy_of
from pacs_actors.lifecycle.selection import ORDER, TABLES, condition
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import PacsError, Unavailable
from protocols.messages.audit import Actor

_LOCK: Final = 0x50414C46
_WITHIN_S: Final = 300.0
_BACKWARDS: Final = timedelta(hours=1)
_IN_USE_S: Final = 900.0
CACHE: Final = "cache limit"
Doubt = Literal["", "forward", "backward"]


class Ran(Struct):
    """orders: how many were written; deleting: (policy, Study Instance UID)"""

    orders: int
    deleting: list[tuple[Policy, str]]


class LifecycleScheduler:
    """tiers:        of the stores there are, by name
    free_percent:    how much room the online store has
    look:            tells the movers that there is something to do
    cache_bytes:     most that recalled studies may take of the online store; 0: as much as there is
    most_jump_days:  further than this from where it was last seen, the wall clock is doubted
    history_days:    how long moves that ended are remembered
    clock:           seconds since 1970
    """

    def __init__(
        self,
        database: Database,
        deletions: Deletions,
        tiers: Mapping[str, Tier],
        *,
        free_percent: Callable[[], float],
        look: Callable[[], None],
        deleted: Callable[[], None],
        undo_s: Callable[[], float],
        every_s: float,
        cache_bytes: int,
        most_jump_days: float,
        history_days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database, self.deletions, self.tiers = database, deletions, tiers
        self._free_percent, self._look, self._deleted, self._undo_s = free_percent, look, deleted, undo_s
        self._every_s, self._cache_bytes, self._clock = every_s, cache_bytes, clock
        self._most_jump, self._history_days = timedelta(days=most_jump_days), history_days

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            try:
                await self.run_once()
            except Unavailable as away:
                logs.debug("lifecycle_scheduler_waits", why=str(away))
            await trio.sleep(self._every_s)

    async def run_once(self) -> Ran | None:
        """Ask every policy; None if another node does, or the clock is in doubt. raises: Unavailable"""
        ran = await self.database.run(self._unit, within_s=_WITHIN_S)
        if ran is None:
            return None
        if ran.orders:
            self._look()
        for policy, study in ran.deleting:
            await self._delete(policy, study)
        if ran.deleting:
            self._deleted()
        return ran

    async def believe(self) -> None:
        """Somebody says that the clock is right."""

        async def unit(connection: asyncpg.Connection) -> None:
            await _see(connection, self.now)

        await self.database.run(unit)

    async def doubted_since(self) -> datetime | None:
        async def unit(connection: asyncpg.Connection) -> datetime | None:
            since: datetime | None = await connection.fetchval("SELECT doubted_since FROM lifecycle_clock")
            return since

        return await self.database.run(unit)

    async def _unit(self, connection: asyncpg.Connection) -> Ran | None:
        async with connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return None
            now = self.now
            if await self._doubts(connection, now):
                return None
            await _see(connection, now)
            ran = Ran(0, [])
            rows = await connection.fetch(
                f"SELECT {POLICY_COLUMNS} FROM lifecycle_policies WHERE enabled ORDER BY priority, id"  # noqa: S608 - our words
            )
            for row in rows:
                await self._ask(connection, policy_of(row), now, ran)
            if self._cache_bytes:
                ran.orders += await self._keep_cache_small(connection)
            await forget_ended(connection, self._history_days)
            return ran

    async def _doubts(self, connection: asyncpg.Connection, now: datetime) -> bool:
        row = await connection.fetchrow("SELECT seen_at, doubted_since FROM lifecycle_clock FOR UPDATE")
        if row is None:
            return False
        seen_at, doubted_since = row
        if doubted_since is not None:
            return True
        if -_BACKWARDS <= now - seen_at <= self._most_jump:
            return False
        await connection.execute("UPDATE lifecycle_clock SET doubted_since = $1", now)
        logs.error("clock_doubted", seen=str(seen_at), now=str(now))
        return True

    async def _ask(self, connection: asyncpg.Connection, policy: Policy, now: datetime, ran: Ran) -> None:
        rule = policy.rule
        found: list[tuple[str, int]] = []
        wrong = problems(rule, self.tiers)
        if not wrong and (
            not rule.when.online_free_below_percent
            or self._free_percent() < rule.when.online_free_below_percent
        ):
            conditions = Conditions()
            where = condition(rule, now, conditions)
            rows = await connection.fetch(
                f"SELECT s.study_instance_uid, s.size_bytes FROM {TABLES} WHERE {where} "  # noqa: S608 - our words
                f"ORDER BY {ORDER} LIMIT {rule.studies_a_run}",
                *conditions.parameters,
            )
            found = [(row[0], row[1]) for row in rows]
        if not found and not wrong:
            return
        if rule.action == "delete":
            ran.deleting += [(policy, study) for study, _ in found]
        else:
            ran.orders += await write_orders(
                connection,
                [
                    Order(
                        study, rule.from_store, rule.to_store, policy.name, rule.form,
                        priority=POLICY_PRIORITY + policy.priority,
                    )
                    for study, _ in found
                ],
            )  # fmt: skip
        size_bytes = sum(each for _, each in found)
        logs.event("policy_ran", policy=policy.id, studies=len(found), size_bytes=size_bytes, problems=wrong)
        await connection.execute(
            "INSERT INTO lifecycle_runs (policy, studies, size_bytes, problem) VALUES ($1, $2, $3, $4)",
            policy.id, len(found), size_bytes, "; ".join(wrong),
        )  # fmt: skip

    async def _keep_cache_small(self, connection: asyncpg.Connection) -> int:
        """Let recalled studies go that were longest unused, as far as they are too much; none that is being looked at."""
        rows = await connection.fetch(
            f"""SELECT study_instance_uid FROM (
                SELECT s.study_instance_uid, s.number_of_instances, u.accessed_at,
                    sum(s.size_bytes) OVER (ORDER BY u.accessed_at DESC NULLS LAST, s.id) AS so_far
                FROM {TABLES} WHERE u.recalled_at IS NOT NULL) recalled
            WHERE so_far > $1 AND coalesce(abs(extract(epoch FROM now() - accessed_at)) > $2, true)
                AND EXISTS (SELECT FROM study_copies y WHERE y.study_instance_uid = recalled.study_instance_uid
                    AND y.instances = recalled.number_of_instances)
            LIMIT 1000""",  # noqa: S608 - our words
            self._cache_bytes, _IN_USE_S,
        )  # fmt: skip
        return await write_orders(connection, [Order(row[0], ONLINE, "", CACHE) for row in rows])

    async def _delete(self, policy: Policy, study: str) -> None:
        by = Actor(who=f"policy {policy.name}", via="lifecycle", address="")
        try:
            await self.deletions.delete(Target(study), EVERYTHING, by, undo_s=self._undo_s())
        except PacsError as failure:
            logs.warning("policy_deletion_failed", policy=policy.id, why=str(failure))


async def _see(connection: asyncpg.Connection, now: datetime) -> None:
    await connection.execute(
        "INSERT INTO lifecycle_clock (seen_at) VALUES ($1) "
        "ON CONFLICT (one) DO UPDATE SET seen_at = excluded.seen_at, doubted_since = NULL",
        now,
    )
