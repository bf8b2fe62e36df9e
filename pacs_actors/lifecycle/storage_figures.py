"""How much there is, where, and how it grows: what people plan their disks by. Read from the index, at most once a minute."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path
from typing import Final

import asyncpg
import trio
from msgspec import Struct

from pacs_actors.database import Database

_BELIEVED_S: Final = 60.0
_GROWTH_BELIEVED_S: Final = 600.0
_WITHIN_S: Final = 60.0
_MONTHS: Final = 36
_GROWTH_DAYS: Final = 30


# A study that has grown since it was copied, or whose copying has begun, is counted by its instances; all others by their rows.
# LATERAL, or there would be one join of all instances with all copies: there may be a hundred million of both.
_STORES: Final = """
    WITH whole AS (SELECT y.study_instance_uid, y.store, y.instances, y.stored_bytes FROM study_copies y
        JOIN studies s ON s.study_instance_uid = y.study_instance_uid WHERE y.instances = s.number_of_instances),
    begun AS (SELECT study_instance_uid, store FROM study_copies
        UNION SELECT study_instance_uid, to_store FROM tier_moves WHERE begun_at IS NOT NULL AND state <> 'done'),
    part AS MATERIALIZED (SELECT b.study_instance_uid, b.store FROM begun b
        LEFT JOIN whole w ON w.study_instance_uid = b.study_instance_uid AND w.store = b.store
        WHERE w.store IS NULL AND b.store NOT IN ('', 'online'))
    SELECT store, sum(studies)::bigint, sum(instances)::bigint, sum(bytes)::bigint FROM (
        SELECT store, count(*) AS studies, sum(instances) AS instances, sum(stored_bytes) AS bytes FROM whole GROUP BY store
        UNION ALL
        SELECT p.store, 0, sum(t.instances), sum(t.bytes) FROM part p CROSS JOIN LATERAL (
            SELECT count(*) AS instances, sum(c.stored_bytes) AS bytes FROM studies s JOIN series e ON e.study = s.id
                JOIN instances i ON i.series = e.id JOIN object_copies c ON c.sop_instance_uid = i.sop_instance_uid
                    AND c.object_digest = i.digest AND c.store = p.store
                WHERE s.study_instance_uid = p.study_instance_uid) t WHERE t.instances > 0 GROUP BY p.store) counted
    GROUP BY store ORDER BY store"""

# The same the other way round: only a study that was recalled, has grown, or left in part may have something online.
_ONLINE: Final = """
    WITH part AS MATERIALIZED (SELECT s.id FROM studies s LEFT JOIN study_storage u ON u.study_instance_uid = s.study_instance_uid
        WHERE s.availability <> 'ONLINE' AND (u.recalled_at IS NOT NULL
            OR NOT EXISTS (SELECT FROM study_copies y WHERE y.study_instance_uid = s.study_instance_uid
                AND y.instances = s.number_of_instances AND NOT y.some_online)))
    SELECT sum(studies)::bigint, coalesce(sum(instances), 0)::bigint, coalesce(sum(bytes), 0)::bigint FROM (
        SELECT count(*) AS studies, sum(number_of_instances) AS instances, sum(size_bytes) AS bytes FROM studies
            WHERE availability = 'ONLINE'
        UNION ALL
        SELECT 0, sum(t.instances), sum(t.bytes) FROM part p CROSS JOIN LATERAL (
            SELECT count(*) AS instances, sum(i.size_bytes) AS bytes FROM series e JOIN instances i ON i.series = e.id
                WHERE e.study = p.id AND i.availability = 'ONLINE') t) counted"""


class PlaceFigures(Struct, frozen=True):
    """What is in the online store, or in a tier store.

    studies:    those that are wholly there
    instances, size_bytes: also of studies that are there in part. What a replicator copies is counted once it has caught up
    """

    store: str
    studies: int
    instances: int
    size_bytes: int


class ModalityFigures(Struct, frozen=True):
    modality: str
    series: int
    instances: int
    size_bytes: int


class MonthFigures(Struct, frozen=True):
    """What arrived in a month, YYYY-MM."""

    month: str
    studies: int
    instances: int
    size_bytes: int


class Figures(Struct, frozen=True):
    """grown_bytes:    what arrived within the last ``growth_days``
    full_on:         when the online store has no room left if it goes on like that; None: never, or nobody can tell
    """

    at: datetime
    total_bytes: int
    free_bytes: int
    places: list[PlaceFigures]
    modalities: list[ModalityFigures]
    months: list[MonthFigures]
    growth_days: int
    grown_bytes: int
    full_on: date | None


class Outlook(Struct, frozen=True):
    """Of the online store. free_bytes: without the reserve; full_on: as ``Figures`` has it"""

    total_bytes: int
    free_bytes: int
    full_on: date | None


class Growth(Struct, frozen=True):
    """grown_bytes: what arrived within the last ``_GROWTH_DAYS`` before ``at``; first: when the first study began to arrive"""

    at: datetime
    first: datetime | None
    grown_bytes: int


class StorageFigures:
    """root: a folder of the online store; reserve_bytes: of it that are not used"""

    def __init__(self, database: Database, root: Path, reserve_bytes: int) -> None:
        self._database, self._root, self._reserve_bytes = database, root, reserve_bytes
        self._known: Figures | None = None
        self._growth: Growth | None = None
        self._until = self._growth_until = 0.0
        self._turn = trio.Lock()

    async def read(self) -> Figures:
        """raises: Unavailable"""
        async with self._turn:
            if self._known is None or trio.current_time() >= self._until:
                self._known = await self._database.run(self._unit, within_s=_WITHIN_S)
                self._until = trio.current_time() + _BELIEVED_S
            return self._known

    async def outlook(self) -> Outlook:
        """For whoever watches: room as it is now, growth as it was a while ago. raises: Unavailable"""
        if self._growth is None or trio.current_time() >= self._growth_until:
            self._growth = await self._database.run(_growth, within_s=_WITHIN_S)
            self._growth_until = trio.current_time() + _GROWTH_BELIEVED_S
        total, free = self._room()
        grown = self._growth
        return Outlook(total, free, forecast(grown.at, grown.first, grown.grown_bytes, _GROWTH_DAYS, free))

    async def _unit(self, connection: asyncpg.Connection) -> Figures:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            online = await connection.fetchrow(_ONLINE)
            stores = await connection.fetch(_STORES)
            modalities = await connection.fetch(
                "SELECT modality, count(*), sum(number_of_instances)::bigint, sum(size_bytes)::bigint FROM series "
                "GROUP BY modality ORDER BY 4 DESC LIMIT 100"
            )
            months = await connection.fetch(
                "SELECT to_char(received_at, 'YYYY-MM'), count(*), sum(number_of_instances)::bigint, sum(size_bytes)::bigint "
                "FROM studies WHERE received_at IS NOT NULL GROUP BY 1 ORDER BY 1 DESC LIMIT $1",
                _MONTHS,
            )
            growth = await _growth(connection)
        assert online is not None, "an aggregate has one row"
        total, free = self._room()
        return Figures(
            growth.at, total, free,
            [PlaceFigures("online", *online), *(PlaceFigures(*row) for row in stores)],
            [ModalityFigures(*row) for row in modalities],
            [MonthFigures(*row) for row in reversed(months)],
            _GROWTH_DAYS, growth.grown_bytes,
            forecast(growth.at, growth.first, growth.grown_bytes, _GROWTH_DAYS, free),
        )  # fmt: skip

    def _room(self) -> tuple[int, int]:
        disk = os.statvfs(self._root)
        return disk.f_blocks * disk.f_frsize, max(0, disk.f_bavail * disk.f_frsize - self._reserve_bytes)


async def _growth(connection: asyncpg.Connection) -> Growth:
    row = await connection.fetchrow(
        """SELECT now(), (SELECT min(received_at) FROM studies), (SELECT coalesce(sum(size_bytes), 0)::bigint FROM studies
            WHERE received_at > now() - make_interval(days => $1))""",
        _GROWTH_DAYS,
    )
    assert row is not None, "a row of subqueries is a row"
    return Growth(*row)


def forecast(
    now: datetime, first: datetime | None, grown_bytes: int, within_days: int, free_bytes: int
) -> date | None:
    """When ``free_bytes`` are used up at the pace of the last days; None: not within a century, or too little is known."""
    if first is None or grown_bytes <= 0:
        return None
    days = min(within_days, (now - first).total_seconds() / 86_400)
    if days < 1:
        return None
    left = free_bytes / (grown_bytes / days)
    return date.fromordinal(now.date().toordinal() + int(left)) if left < 36_500 else None
