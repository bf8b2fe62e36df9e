"""The list of studies as people look at it: any filter, sorted by any column, a page at a time, within a scope.

A page continues behind the sort value and the id of the last row (keyset), so a list that grows meanwhile neither repeats nor
skips a row. How many match is counted up to ``COUNTED_UP_TO``.
"""

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
MOST_ROWS: Final = 500
_WITHIN_S: Final = 20.0

_NAME_GROUPS: Final = ("alphabetic", "ideographic", "phonetic")
_OF_FIRST_SERIES: Final = "(SELECT x.{} FROM series x WHERE x.study = s.id ORDER BY x.id LIMIT 1)"
# Column of the list -> (expression, type). Nothing of these comes from outside.
SORTS: Final[Mapping[str, tuple[str, str]]] = {
    "received_at": ("s.received_at", "timestamptz"),
    "study_date": ("(coalesce(dicom_date(s.study_date), '') || coalesce(dicom_time(s.study_time), ''))", "text"),
    "patient_name": ("p.patient_name_alphabetic", "text"),
    "patient_id": ("p.patient_id", "text"),
    "patient_birth_date": ("coalesce(dicom_date(p.patient_birth_date), '')", "text"),
    "patient_sex": ("p.patient_sex", "text"),
    "accession_number": ("s.accession_number", "text"),
    "study_description": ("lower(s.study_description)", "text"),
    "study_id": ("s.study_id", "text"),
    "modalities": ("array_to_string(s.modalities_in_study, ' ')", "text"),
    "referring_physician_name": ("s.referring_physician_name_alphabetic", "text"),
    "institution_name": (f"coalesce({_OF_FIRST_SERIES.format('institution_name')}, '')", "text"),
    "source": (f"coalesce({_OF_FIRST_SERIES.format('source')}, '')", "text"),
    "number_of_series": ("s.number_of_series", "integer"),
    "number_of_instances": ("s.number_of_instances", "integer"),
    "size_bytes": ("s.size_bytes", "bigint"),
    "availability": ("availability_rank(s.availability)", "integer"),
}  # fmt: skip


class ListedStudy(Struct, frozen=True):
    """A row of the list: attributes as in the data set, decoded.

    modalities:   ModalitiesInStudy
    received_at:  of its first instance; source: who sent it
    availability: of its slowest instance (Instance Availability, PS3.3 C.4.23.1.1)
    """

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_date: str
    study_time: str
    accession_number: str
    study_description: str
    study_id: str
    modalities: list[str]
    referring_physician_name: str
    institution_name: str
    number_of_series: int
    number_of_instances: int
    size_bytes: int
    received_at: datetime | None
    source: str
    availability: str


class StudyFilter(Struct, frozen=True, kw_only=True):
    """What to list. Texts match anywhere, whatever their case (names: and accents); ``*`` and ``?`` are wildcards.

    study_date, patient_birth_date:  a day or a range, as DICOM writes them
    anything:  in a name, Patient ID, accession number, description or Study Instance UID
    availabilities: one of these
    patient:   id of their row
    received:  from (included) and to (not included)
    sort:      a key of SORTS
    after:     sort value and id that the page before ended with
    counted_up_to: how many that match are counted; 0: none
    """

    patient_name: str = ""
    patient_id: str = ""
    accession_number: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    institution: str = ""
    source: str = ""
    patient_sex: str = ""
    study_date: str = ""
    patient_birth_date: str = ""
    study_instance_uid: str = ""
    modalities: tuple[str, ...] = ()
    availabilities: tuple[str, ...] = ()
    patient: int | None = None
    received: tuple[datetime | None, datetime | None] = (None, None)
    anything: str = ""
    sort: str = "received_at"
    descending: bool = True
    limit: int = 50
    after: tuple[Any, int] | None = None
    counted_up_to: int = COUNTED_UP_TO
    scope: StudyScope = EVERYTHING


class StudyPage(Struct, frozen=True):
    """after: for the next page; None: this is the last one. total: exact if total_exact, else there are more"""

    rows: list[ListedStudy]
    after: tuple[Any, int] | None
    total: int
    total_exact: bool


class StudyList:
    """raises: Unavailable when PostgreSQL is away or the list takes too long"""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, asked: StudyFilter) -> StudyPage:
        """One page. raises: BadIdentifier for a malformed range"""
        sql, parameters = page_statement(asked)
        counting, counted = count_statement(asked)
        most = asked.counted_up_to

        async def unit(connection: asyncpg.Connection) -> StudyPage:
            records = await connection.fetch(sql, *parameters)
            total = await connection.fetchval(counting, *counted) if most else len(records)
            rows = [ListedStudy(*record[2:]) for record in records[: asked.limit]]
            more = len(records) > asked.limit
            last = records[asked.limit - 1] if more else None
            after = (last[0], last[1]) if last is not None else None
            return StudyPage(rows, after, min(total, most), total <= most)

        return await self._database.run(unit, within_s=_WITHIN_S)

    async def study(self, study_instance_uid: str, scope: StudyScope) -> ListedStudy | None:
        """One study; None if it is not there or outside the scope."""
        found = await self.page(StudyFilter(study_instance_uid=study_instance_uid, scope=scope, limit=1))
        return found.rows[0] if found.rows else None


COLUMNS: Final = """s.study_instance_uid, p.patient_id, p.issuer_of_patient_id, p.patient_name, p.patient_birth_date,
    p.patient_sex, s.study_date, s.study_time, s.accession_number, s.study_description, s.study_id, s.modalities_in_study,
    s.referring_physician_name, coalesce(e.institution_name, ''), s.number_of_series, s.number_of_instances, s.size_bytes,
    s.received_at, coalesce(e.source, ''), s.availability"""


def page_statement(asked: StudyFilter) -> tuple[str, list[object]]:
    """One row more than the page, to tell whether there is a next one. Pure. raises: BadIdentifier"""
    conditions = Conditions()
    clauses = _clauses(asked, conditions)
    expression, kind = SORTS[asked.sort]
    way, beyond = ("DESC", "<") if asked.descending else ("ASC", ">")
    if asked.after is not None:
        value, number = asked.after
        place = f"({conditions.parameter(value, kind)}, {conditions.parameter(number, 'bigint')})"
        clauses.append(f"({expression}, s.id) {beyond} {place}")
    sql = f"""WITH page AS MATERIALIZED (
            SELECT {expression} AS place, s.id, s.patient FROM studies s JOIN patients p ON p.id = s.patient
            {_where(clauses)} ORDER BY 1 {way}, s.id {way} LIMIT {int(asked.limit) + 1})
        SELECT page.place, page.id, {COLUMNS}
        FROM page JOIN studies s ON s.id = page.id JOIN patients p ON p.id = page.patient
        LEFT JOIN LATERAL (
            SELECT x.institution_name, x.source FROM series x WHERE x.study = s.id ORDER BY x.id LIMIT 1) e ON true
        ORDER BY page.place {way}, page.id {way}"""  # noqa: S608 - names, operators and parameter numbers only
    return sql, conditions.parameters


def count_statement(asked: StudyFilter) -> tuple[str, list[object]]:
    """How many match, at most one more than is to be counted. Pure. raises: BadIdentifier"""
    conditions = Conditions()
    clauses = _clauses(asked, conditions)
    sql = f"""SELECT count(*) FROM (
        SELECT FROM studies s JOIN patients p ON p.id = s.patient {_where(clauses)}
        LIMIT {int(asked.counted_up_to) + 1}) matching"""  # noqa: S608 - as above
    return sql, conditions.parameters


def _where(clauses: list[str]) -> str:
    return f"WHERE {' AND '.join(f'({clause})' for clause in clauses)}" if clauses else ""


def _clauses(asked: StudyFilter, conditions: Conditions) -> list[str]:
    clauses = []
    for column, text in (
        ("p.patient_id", asked.patient_id),
        ("s.accession_number", asked.accession_number),
        ("s.study_description", asked.study_description),
    ):
        if text.strip():
            clauses.append(f"{column} ILIKE {conditions.parameter(_anywhere(text))}")
    for prefix, name in (
        ("p.patient_name", asked.patient_name),
        ("s.referring_physician_name", asked.referring_physician_name),
    ):
        if name.strip():
            pattern = conditions.parameter(_anywhere(fold(name)))
            clauses.append(" OR ".join(f"{prefix}_{group} LIKE {pattern}" for group in _NAME_GROUPS))
    for column, text in (("institution_name", asked.institution), ("source", asked.source)):
        if text.strip():
            pattern = conditions.parameter(_anywhere(text))
            clauses.append(
                f"EXISTS (SELECT FROM series x WHERE x.study = s.id AND x.{column} ILIKE {pattern})"
            )
    if asked.patient_sex:
        clauses.append(f"p.patient_sex = {conditions.parameter(asked.patient_sex)}")
    if asked.modalities:
        clauses.append(f"s.modalities_in_study && {conditions.parameter(list(asked.modalities), 'text[]')}")
    if asked.availabilities:
        wanted = conditions.parameter(list(asked.availabilities), "text[]")
        clauses.append(f"s.availability = ANY ({wanted})")
    if asked.patient is not None:
        clauses.append(f"s.patient = {conditions.parameter(asked.patient, 'bigint')}")
    if asked.study_instance_uid:
        clauses.append(f"s.study_instance_uid = {conditions.parameter(asked.study_instance_uid)}")
    for column, day in (
        ("s.study_date", asked.study_date),
        ("p.patient_birth_date", asked.patient_birth_date),
    ):
        if day and (clause := conditions.scalar(column, "DA", day)):
            clauses.append(clause)
    for sign, moment in zip((">=", "<"), asked.received, strict=True):
        if moment is not None:
            clauses.append(f"s.received_at {sign} {conditions.parameter(moment, 'timestamptz')}")
    if asked.anything.strip():
        clauses.append(_said_anywhere(asked.anything, conditions))
    if (seen := scope_clause(asked.scope, conditions.parameter)) is not None:
        clauses.append(seen)
    return clauses


def _said_anywhere(text: str, conditions: Conditions) -> str:
    """Each table is searched by its own trigram index; an OR over both would read everything."""
    folded, plain = conditions.parameter(_anywhere(fold(text))), conditions.parameter(_anywhere(text))
    names = " OR ".join(f"q.patient_name_{group} LIKE {folded}" for group in _NAME_GROUPS)
    uid = conditions.parameter(text.strip())
    return f"""s.id IN (
        SELECT t.id FROM studies t JOIN patients q ON q.id = t.patient WHERE {names} OR q.patient_id ILIKE {plain}
        UNION ALL SELECT t.id FROM studies t WHERE t.accession_number ILIKE {plain} OR t.study_description ILIKE {plain}
        UNION ALL SELECT t.id FROM studies t WHERE t.study_instance_uid = {uid})"""  # noqa: S608 - parameter numbers only


def _anywhere(text: str) -> str:
    """A LIKE pattern: the text anywhere, its own wildcards at work, those of SQL not."""
    return values.like_pattern(f"*{text.strip()}*")
