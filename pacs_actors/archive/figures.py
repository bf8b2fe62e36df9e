"""What the archive holds and what waits in it, in figures: cheap questions to PostgreSQL, however large it has grown.

All raise Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from functools import partial
from typing import Final

import asyncpg
import trio
from msgspec import Struct

from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import EVERYTHING, StudyScope, scope_clause
from pacs_actors.database import Database
from protocols.errors import Unavailable

MOST_LISTED: Final = 10_000
_MOST_RECENT: Final = 1000
_WITHIN_S: Final = 20.0
_BELIEVED_S: Final = 60.0
_MONTHS: Final = 600
_MOST_SCOPES: Final = 64
_QUARANTINED_WITHIN: Final = """EXISTS (SELECT FROM instances i JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study
    WHERE i.sop_instance_uid = q.sop_instance_uid AND {})"""
_TOTALS: Final = """SELECT coalesce(sum(patients), 0)::bigint, coalesce(sum(studies), 0)::bigint,
    coalesce(sum(series), 0)::bigint, coalesce(sum(instances), 0)::bigint, coalesce(sum(size_bytes), 0)::bigint
    FROM archive_totals"""
_TOTALS_WITHIN: Final = """SELECT count(DISTINCT s.patient), count(*), coalesce(sum(s.number_of_series), 0)::bigint,
    coalesce(sum(s.number_of_instances), 0)::bigint, coalesce(sum(s.size_bytes), 0)::bigint FROM studies s WHERE {}"""


class Totals(Struct, frozen=True):
    patients: int
    studies: int
    series: int
    instances: int
    size_bytes: int


class OfModality(Struct, frozen=True):
    modality: str
    series: int
    instances: int
    size_bytes: int


class OfMonth(Struct, frozen=True):
    """month: when they began to arrive, YYYY-MM, UTC"""

    month: str
    studies: int
    instances: int
    size_bytes: int


class Holdings(Struct, frozen=True):
    """Of a scope's studies, all that is in them. as_of: they are counted once a minute at most"""

    totals: Totals
    by_modality: tuple[OfModality, ...]
    by_month: tuple[OfMonth, ...]
    as_of: datetime


class Waiting(Struct, frozen=True):
    """What waits in the database.

    commitments:  storage commitment requests by state: received, checked, reported, given up
    deletions:    deletions that can still be undone, or are being erased
    quarantined:  objects set aside on the last day, at most 1000 are counted
    audit_damaged_at:  when the audit was last found damaged
    backup_problem:    why the last backup failed; "" if it did not
    backed_up_at:      when the last one that did not began
    damaged_objects:   of instances that cannot be had for it, at most 1000 are counted
    nodes_down:        numbers of nodes of the archive that have not been seen for a minute
    moves_failed:      studies that could not be moved on the last day and have not been since, at most 1000 are counted
    clock_doubted_since: the wall clock has jumped, and nobody has said yet that it is right
    """

    commitments: dict[str, int]
    deletions: int
    quarantined: int
    audit_damaged_at: datetime | None
    backup_problem: str = ""
    backed_up_at: datetime | None = None
    damaged_objects: int = 0
    nodes_down: tuple[int, ...] = ()
    moves_failed: int = 0
    clock_doubted_since: datetime | None = None


class Quarantined(Struct, frozen=True):
    """An object that is kept aside: another one has its SOP Instance UID, or it is damaged."""

    id: int
    sop_instance_uid: str
    why: str
    source: str
    address: str
    size_bytes: int
    quarantined_at: datetime
    first_key: str


class Commitment(Struct, frozen=True):
    """A storage commitment request that is not reported yet, or was given up."""

    id: int
    transaction_uid: str
    requester: str
    state: str
    attempts: int
    received_at: datetime
    next_attempt_at: datetime


class Figures:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._holdings: OrderedDict[StudyScope, tuple[float, Holdings]] = OrderedDict()
        self._counting = trio.Lock()

    async def holdings(self, scope: StudyScope = EVERYTHING) -> Holdings:
        """What is stored: whoever asks meanwhile waits for the same answer."""
        async with self._counting:
            known = self._holdings.get(scope)
            if known is None or known[0] <= trio.current_time():
                found = await self._database.run(partial(_holdings, scope), within_s=_WITHIN_S)
                known = self._holdings[scope] = (trio.current_time() + _BELIEVED_S, found)
            self._holdings.move_to_end(scope)
            if len(self._holdings) > _MOST_SCOPES:
                self._holdings.popitem(last=False)
            return known[1]

    async def waiting(self) -> Waiting:
        """Asked from the first moment on: a database without our tables is one that is not there yet."""
        try:
            return await self._database.run(_waiting, within_s=_WITHIN_S)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            raise Unavailable("the database has no tables yet") from None

    async def quarantined(self, scope: StudyScope = EVERYTHING) -> list[Quarantined]:
        """The newest, MOST_LISTED of them; within a scope those whose SOP Instance UID belongs to one of its studies."""
        conditions = Conditions()
        seen = scope_clause(scope, conditions.parameter)
        within = "true" if seen is None else _QUARANTINED_WITHIN.format(seen)

        async def unit(connection: asyncpg.Connection) -> list[Quarantined]:
            rows = await connection.fetch(
                f"""SELECT id, sop_instance_uid, why, source, address, size_bytes, quarantined_at, first_key
                FROM quarantine q WHERE {within} ORDER BY id DESC LIMIT {MOST_LISTED}""",  # noqa: S608 - made of our words
                *conditions.parameters,
            )
            return [Quarantined(*row) for row in rows]

        return await self._database.run(unit, within_s=_WITHIN_S)

    async def commitments(self) -> list[Commitment]:
        """Those that wait or were given up, the newest, MOST_LISTED of them."""

        async def unit(connection: asyncpg.Connection) -> list[Commitment]:
            rows = await connection.fetch(
                """SELECT id, transaction_uid, requester, state, attempts, received_at, next_attempt_at
                FROM commitment_requests WHERE state <> 'reported' ORDER BY id DESC LIMIT $1""",
                MOST_LISTED,
            )
            return [Commitment(*row) for row in rows]

        return await self._database.run(unit, within_s=_WITHIN_S)


async def _holdings(scope: StudyScope, connection: asyncpg.Connection) -> Holdings:
    """By series and by study: of instances there are a thousand times as many."""
    conditions = Conditions()
    seen = scope_clause(scope, conditions.parameter)
    within, values = seen or "true", conditions.parameters
    if seen is None:
        totals = await connection.fetchrow(_TOTALS)
    else:
        totals = await connection.fetchrow(_TOTALS_WITHIN.format(within), *values)
    series = "series e" if seen is None else "series e JOIN studies s ON s.id = e.study"
    modalities = await connection.fetch(
        f"""SELECT e.modality, count(*), coalesce(sum(e.number_of_instances), 0)::bigint,
            coalesce(sum(e.size_bytes), 0)::bigint
        FROM {series} WHERE {within} GROUP BY e.modality ORDER BY 3 DESC, 1 LIMIT 100""",  # noqa: S608 - made of our words
        *values,
    )
    months = await connection.fetch(
        f"""SELECT to_char(date_trunc('month', s.received_at AT TIME ZONE 'UTC'), 'YYYY-MM'), count(*),
            coalesce(sum(s.number_of_instances), 0)::bigint, coalesce(sum(s.size_bytes), 0)::bigint
        FROM studies s WHERE s.received_at IS NOT NULL AND {within} GROUP BY 1 ORDER BY 1 DESC LIMIT {_MONTHS}""",  # noqa: S608
        *values,
    )
    now = await connection.fetchval("SELECT now()")
    assert totals is not None, "an aggregate has a row"
    return Holdings(
        Totals(*totals),
        tuple(OfModality(*row) for row in modalities),
        tuple(OfMonth(*row) for row in months),
        now,
    )


async def _waiting(connection: asyncpg.Connection) -> Waiting:
    commitments = await connection.fetch(
        "SELECT state, count(*) FROM commitment_requests WHERE state <> 'reported' GROUP BY state"
    )
    deletions = await connection.fetchval(
        "SELECT count(*) FROM deletions WHERE state IN ('deleted', 'undoing', 'erasing')"
    )
    quarantined = await connection.fetchval(
        """SELECT count(*) FROM (SELECT quarantined_at FROM quarantine ORDER BY id DESC LIMIT $1) newest
        WHERE quarantined_at > now() - interval '1 day'""",
        _MOST_RECENT,
    )
    damaged = await connection.fetchval(
        "SELECT at FROM audit_events WHERE event = 'audit_damaged' ORDER BY id DESC LIMIT 1"
    )
    backups = await connection.fetchrow(
        """SELECT coalesce((SELECT problem FROM backups WHERE ended_at IS NOT NULL ORDER BY id DESC LIMIT 1), ''),
            (SELECT max(began_at) FROM backups WHERE state IN ('done', 'incomplete'))"""
    )
    assert backups is not None, "a row of subqueries is a row"
    objects = await connection.fetchval(
        """SELECT count(*) FROM (SELECT FROM integrity_findings WHERE settled_at IS NULL
            AND kind IN ('corrupt', 'lost', 'unreadable') LIMIT $1) found""",
        _MOST_RECENT,
    )
    waiting = {row[0]: row[1] for row in commitments}
    down = await connection.fetch(
        "SELECT node FROM archive_nodes WHERE forgotten_at IS NULL "
        "AND seen_at BETWEEN now() - interval '30 days' AND now() - interval '1 minute' ORDER BY 1"
    )
    nodes = tuple(row[0] for row in down)
    failed = await connection.fetchval(
        """SELECT count(*) FROM (SELECT FROM tier_moves m WHERE ended_at > now() - interval '1 day' AND state = 'failed'
            AND NOT EXISTS (SELECT FROM tier_moves later WHERE later.study_instance_uid = m.study_instance_uid
                AND later.ended_at > m.ended_at AND later.state = 'done'
                AND (later.from_store, later.to_store) = (m.from_store, m.to_store)) LIMIT $1) found""",
        _MOST_RECENT,
    )
    doubted = await connection.fetchval("SELECT doubted_since FROM lifecycle_clock")
    return Waiting(
        waiting, deletions, quarantined, damaged, backups[0], backups[1], objects, nodes, failed, doubted
    )
