"""What a study holds: its series, and the instances of one, within a scope."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import StudyScope, scope_clause
from pacs_actors.database import Database

MOST_SERIES: Final = 5_000


class SeriesRow(Struct, frozen=True):
    """Attributes as in the data set, decoded. received_at: of its first instance; source: who sent it"""

    series_instance_uid: str
    modality: str
    series_number: str
    series_description: str
    series_date: str
    series_time: str
    body_part_examined: str
    protocol_name: str
    institution_name: str
    station_name: str
    manufacturer: str
    number_of_instances: int
    size_bytes: int
    received_at: datetime | None
    source: str


class InstanceRow(Struct, frozen=True):
    """size_bytes: of the Part 10 file"""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: str
    rows: str
    columns: str
    number_of_frames: str
    size_bytes: int
    received_at: datetime
    source: str


class InstancePage(Struct, frozen=True):
    """total: of the series"""

    rows: list[InstanceRow]
    total: int


class StudyContents:
    """raises: Unavailable when PostgreSQL is away"""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def series(self, study_instance_uid: str, scope: StudyScope) -> list[SeriesRow]:
        """By series number; none if the study is not there or outside the scope."""
        conditions = Conditions()
        clause = _within(scope, conditions, study_instance_uid)
        sql = f"""SELECT e.series_instance_uid, e.modality, e.series_number, e.series_description, e.series_date,
                e.series_time, e.body_part_examined, e.protocol_name, e.institution_name, e.station_name,
                e.manufacturer, e.number_of_instances, e.size_bytes, e.received_at, e.source
            FROM series e JOIN studies s ON s.id = e.study WHERE {clause}
            ORDER BY dicom_number(e.series_number) NULLS LAST, e.id LIMIT {MOST_SERIES}"""  # noqa: S608 - parameter numbers only

        async def unit(connection: asyncpg.Connection) -> list[SeriesRow]:
            return [SeriesRow(*row) for row in await connection.fetch(sql, *conditions.parameters)]

        return await self._database.run(unit)

    async def instances(
        self, study_instance_uid: str, series_instance_uid: str, scope: StudyScope, *, offset: int, limit: int
    ) -> InstancePage | None:
        """By instance number; None if the series is not there or outside the scope."""
        conditions = Conditions()
        clause = _within(scope, conditions, study_instance_uid)
        clause += f" AND e.series_instance_uid = {conditions.parameter(series_instance_uid)}"
        of_series = f"SELECT e.id, e.number_of_instances FROM series e JOIN studies s ON s.id = e.study WHERE {clause}"  # noqa: S608 - parameter numbers only

        async def unit(connection: asyncpg.Connection) -> InstancePage | None:
            found = await connection.fetchrow(of_series, *conditions.parameters)
            if found is None:
                return None
            rows = await connection.fetch(
                """SELECT sop_instance_uid, sop_class_uid, transfer_syntax_uid, instance_number, rows, columns,
                    number_of_frames, size_bytes, received_at, source
                FROM instances WHERE series = $1 ORDER BY dicom_number(instance_number) NULLS LAST, id
                OFFSET $2 LIMIT $3""",
                found[0], offset, limit,
            )  # fmt: skip
            return InstancePage([InstanceRow(*row) for row in rows], found[1])

        return await self._database.run(unit)


def _within(scope: StudyScope, conditions: Conditions, study_instance_uid: str) -> str:
    clause = f"s.study_instance_uid = {conditions.parameter(study_instance_uid)}"
    seen = scope_clause(scope, conditions.parameter)
    return f"{clause} AND {seen}" if seen else clause
