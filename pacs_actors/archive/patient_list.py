"""Patients as people look at them: those with a study within a scope, sorted by any column, a page at a time (keyset)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive import key_values as values
from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import EVERYTHING, StudyScope, scope_clause
from pacs_actors.database import Database
from protocols.dataset.names import fold

COUNTED_UP_TO: Final = 10_000
_WITHIN_S: Final = 20.0
_NAME_GROUPS: Final = ("alphabetic", "ideographic", "phonetic")
# Column of the list -> (expression, type). ``t`` is what the patient's studies within the scope come to.
SORTS: Final[Mapping[str, tuple[str, str]]] = {
    "last_received_at": ("t.last_received_at", "timestamptz"),
    "patient_name": ("p.patient_name_alphabetic", "text"),
    "patient_id": ("p.patient_id", "text"),
    "issuer_of_patient_id": ("p.issuer_of_patient_id", "text"),
    "patient_birth_date": ("coalesce(dicom_date(p.patient_birth_date), '')", "text"),
    "patient_sex": ("p.patient_sex", "text"),
    "number_of_studies": ("t.number_of_studies", "bigint"),
    "id": ("p.id", "bigint"),
}


class ListedPatient(Struct, frozen=True):
    """A row of the list: attributes as in the data set, decoded.

    id:                ours; without a Patient ID each study is a patient of its own
    number_of_studies: that the asker may see; last_received_at: when the last of them began to arrive
    """

    id: int
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    number_of_studies: int
    last_received_at: datetime | None


class PatientFilter(Struct, frozen=True, kw_only=True):
    """What to list. Texts match anywhere, whatever their case (names: and accents); ``*`` and ``?`` are wildcards.

    patient_birth_date: a day or a range, as DICOM writes them
    after:              sort value and id that the page before ended with
    counted_up_to:      how many that match are counted; 0: none
    """

    patient_name: str = ""
    patient_id: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    sort: str = "last_received_at"
    descending: bool = True
    limit: int = 50
    after: tuple[Any, int] | None = None
    counted_up_to: int = COUNTED_UP_TO
    scope: StudyScope = EVERYTHING


class PatientPage(Struct, frozen=True):
    """after: for the next page; None: this is the last one. total: exact if total_exact, else there are more"""

    rows: list[ListedPatient]
    after: tuple[Any, int] | None
    total: int
    total_exact: bool


class PatientList:
    """raises: Unavailable when PostgreSQL is away or the list takes too long"""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, asked: PatientFilter) -> PatientPage:
        """One page. raises: BadIdentifier for a malformed range"""
        sql, parameters = _page(asked)
        counting, counted = _count(asked)
        most = asked.counted_up_to

        async def unit(connection: asyncpg.Connection) -> PatientPage:
            records = await connection.fetch(sql, *parameters)
            total = await connection.fetchval(counting, *counted) if most else len(records)
            rows = [ListedPatient(*record[1:]) for record in records[: asked.limit]]
            last = records[asked.limit - 1] if len(records) > asked.limit else None
            after = (last[0], last[1]) if last is not None else None
            return PatientPage(rows, after, min(total, most), total <= most)

        return await self._database.run(unit, within_s=_WITHIN_S)


def _page(asked: PatientFilter) -> tuple[str, list[object]]:
    """One row more than the page, to tell whether there is a next one. raises: BadIdentifier"""
    conditions = Conditions()
    source = _source(asked, conditions)
    expression, kind = SORTS[asked.sort]
    way, beyond = ("DESC", "<") if asked.descending else ("ASC", ">")
    behind = ""
    if asked.after is not None:
        value, number = asked.after
        place = f"({conditions.parameter(value, kind)}, {conditions.parameter(number, 'bigint')})"
        behind = f" AND ({expression}, p.id) {beyond} {place}"
    sql = f"""SELECT {expression}, p.id, p.patient_id, p.issuer_of_patient_id, p.patient_name, p.patient_birth_date,
            p.patient_sex, t.number_of_studies, t.last_received_at
        {source}{behind} ORDER BY 1 {way}, 2 {way} LIMIT {int(asked.limit) + 1}"""
    return sql, conditions.parameters


def _count(asked: PatientFilter) -> tuple[str, list[object]]:
    conditions = Conditions()
    source = _source(asked, conditions)
    return (
        f"SELECT count(*) FROM (SELECT {source} LIMIT {int(asked.counted_up_to) + 1}) matching",  # noqa: S608 - as above
        conditions.parameters,
    )


def _source(asked: PatientFilter, conditions: Conditions) -> str:
    """FROM and WHERE."""
    clauses = ["t.number_of_studies > 0"]
    if asked.patient_name.strip():
        pattern = conditions.parameter(_anywhere(fold(asked.patient_name)))
        either = " OR ".join(f"p.patient_name_{group} LIKE {pattern}" for group in _NAME_GROUPS)
        clauses.append(f"({either})")
    if asked.patient_id.strip():
        clauses.append(f"p.patient_id ILIKE {conditions.parameter(_anywhere(asked.patient_id))}")
    if asked.patient_sex:
        clauses.append(f"p.patient_sex = {conditions.parameter(asked.patient_sex)}")
    born = asked.patient_birth_date
    if born and (clause := conditions.scalar("p.patient_birth_date", "DA", born)):
        clauses.append(f"({clause})")
    seen = scope_clause(asked.scope, conditions.parameter)
    within = "" if seen is None else f" AND {seen}"
    return f"""FROM patients p CROSS JOIN LATERAL (
            SELECT count(*) AS number_of_studies, coalesce(max(s.received_at), 'epoch') AS last_received_at
            FROM studies s WHERE s.patient = p.id{within}) t
        WHERE {" AND ".join(clauses)}"""  # noqa: S608 - as above


def _anywhere(text: str) -> str:
    return values.like_pattern(f"*{text.strip()}*")
