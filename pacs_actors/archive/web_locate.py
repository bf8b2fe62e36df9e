"""Where the objects are that a DICOMweb path names (PS3.18 10.4.1), as far as the asker may see them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import asyncpg
import trio

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.locating import MAX_LOCATED, LocatedInstance, TooMany
from pacs_actors.archive.progress import IndexProgress, wait_until_indexed
from pacs_actors.archive.scope import StudyScope, scope_clause

# How long an answer of the index is believed: a deleted instance is gone from the web no later than that.
BELIEVED_S: Final = 1.5
_REMEMBERED: Final = 16_384
_MISSES: Final = 1024
_MOST_AT_ONCE: Final = 2000
_ROWS_A_FETCH: Final = 5000

_COLUMNS: Final = (
    "i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size_bytes, i.data_offset, i.digest, "
    "s.study_instance_uid, e.series_instance_uid, p.patient_id"
)
_TABLES: Final = "instances i JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study JOIN patients p ON p.id = s.patient"
_ORDER: Final = (
    "dicom_number(e.series_number) NULLS LAST, e.id, dicom_number(i.instance_number) NULLS LAST, i.id"
)


class ServedInstance(LocatedInstance, frozen=True, gc=False):
    """A stored instance, its object, and whose it is."""

    patient_id: str


class WebLocator:
    """Finds instances by their UIDs and remembers what it found for a moment.

    A viewer asks for a whole series, an instance at a time: when a series is asked for a second time within that moment, all
    of it is looked up at once.
    """

    def __init__(self, catalogue: Catalogue, progress: IndexProgress, *, catch_up_s: float) -> None:
        """catch_up_s: longest wait for the index when something that may have just arrived is not there"""
        self._catalogue, self._progress, self._catch_up_s = catalogue, progress, catch_up_s
        self._found: OrderedDict[tuple[StudyScope, str], tuple[float, ServedInstance]] = OrderedDict()
        self._asked: OrderedDict[tuple[StudyScope, str], float] = OrderedDict()

    async def instance(
        self, scope: StudyScope, study: str, series: str, instance: str
    ) -> ServedInstance | None:
        """None: there is no such instance in that series of that study, or it is not for the asker. raises: Unavailable"""
        now = trio.current_time()
        entry = self._found.get((scope, instance))
        if entry is not None and entry[0] > now:
            found = entry[1]
            fits = found.series_instance_uid == series and found.study_instance_uid == study
            return found if fits else None
        # Asked before the look: what the look misses may be indexed while it goes on.
        behind = self._progress.may_be_behind
        rows = await self._look(scope, study, series, instance, now)
        if not rows and behind:
            await wait_until_indexed(self._progress, within_s=self._catch_up_s)
            rows = await self._fetch(scope, study, series, instance, limit=1)
        self._remember(scope, rows, now + BELIEVED_S)
        return next((row for row in rows if row.sop_instance_uid == instance), None)

    async def instances(
        self, scope: StudyScope, study: str, series: str | None = None
    ) -> list[ServedInstance]:
        """All of a study or a series, in order; empty if there is none for the asker. raises: TooMany, Unavailable"""
        await wait_until_indexed(self._progress, within_s=self._catch_up_s)
        rows = await self._fetch(scope, study, series, None, limit=MAX_LOCATED + 1)
        if len(rows) > MAX_LOCATED:
            raise TooMany
        return rows

    async def _look(
        self, scope: StudyScope, study: str, series: str, instance: str, now: float
    ) -> list[ServedInstance]:
        """The instance, or with it its neighbours if they are probably asked for next."""
        if self._asked.pop((scope, series), 0.0) > now:
            rows = await self._fetch(scope, study, series, None, limit=_MOST_AT_ONCE)
            if any(row.sop_instance_uid == instance for row in rows):
                return rows
        self._asked[scope, series] = now + BELIEVED_S
        if len(self._asked) > _MISSES:
            self._asked.popitem(last=False)
        return await self._fetch(scope, study, series, instance, limit=1)

    def _remember(self, scope: StudyScope, rows: list[ServedInstance], until: float) -> None:
        for row in rows:
            key = (scope, row.sop_instance_uid)
            self._found[key] = (until, row)
            self._found.move_to_end(key)
        while len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)

    async def _fetch(
        self, scope: StudyScope, study: str, series: str | None, instance: str | None, *, limit: int
    ) -> list[ServedInstance]:
        sql, parameters = _statement(scope, study, series, instance, limit)

        async def unit(connection: asyncpg.Connection) -> list[ServedInstance]:
            if limit <= _ROWS_A_FETCH:
                return [ServedInstance(*row) for row in await connection.fetch(sql, *parameters)]
            async with connection.transaction(readonly=True):
                rows = []
                async for row in connection.cursor(sql, *parameters, prefetch=_ROWS_A_FETCH):
                    rows.append(ServedInstance(*row))
                return rows

        return await self._catalogue.database.run(unit)


def _statement(
    scope: StudyScope, study: str, series: str | None, instance: str | None, limit: int
) -> tuple[str, list[object]]:
    """A text for each combination of levels and each shape of scope, so that each is prepared once a connection."""
    conditions = Conditions()
    clauses = [f"s.study_instance_uid = {conditions.parameter(study, 'text')}"]
    if series is not None:
        clauses.append(f"e.series_instance_uid = {conditions.parameter(series, 'text')}")
    if instance is not None:
        clauses.append(f"i.sop_instance_uid = {conditions.parameter(instance, 'text')}")
    seen = scope_clause(scope, conditions.parameter)
    if seen is not None:
        clauses.append(seen)
    order = "" if instance is not None else f" ORDER BY {_ORDER}"
    sql = f"SELECT {_COLUMNS} FROM {_TABLES} WHERE {' AND '.join(clauses)}{order} LIMIT {limit}"  # noqa: S608 - fixed words
    return sql, conditions.parameters
