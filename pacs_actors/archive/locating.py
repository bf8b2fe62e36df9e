"""Which stored instances a C-MOVE or C-GET identifier names (PS3.4 C.4.2.2.1), and where their objects
are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive import key_values as values
from pacs_actors.archive.answer_columns import LEVELS
from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.matching import UNIQUE_KEY, Root, level_of
from pacs_actors.archive.scope import EVERYTHING, StudyScope, scope_clause
from protocols.dataset.attributes import BY_TAG, Level
from protocols.dataset.identifier import Identifier
from protocols.errors import BadIdentifier, Refusal

MAX_LOCATED: Final = 200_000
_ROWS_A_STATEMENT: Final = 5_000
_COLUMN: Final = {
    Level.PATIENT: "p.patient_id", Level.STUDY: "s.study_instance_uid",
    Level.SERIES: "e.series_instance_uid", Level.IMAGE: "i.sop_instance_uid",
}  # fmt: skip


class TooMany(Refusal):
    """A701H: more matches than we are willing to count (PS3.4 C.4.2.1.5)."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_LOCATED} instances", dimse_status=0xA701, http_status=400)


class LocatedInstance(Struct, frozen=True, gc=False):
    """A stored instance and its object.

    key:         of the object in its store
    size_bytes:  of the whole Part 10 file
    data_offset: where the data set begins in it
    digest:      xxh3-128 of the file from byte 128 on
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    key: str
    size_bytes: int
    data_offset: int
    digest: bytes
    study_instance_uid: str
    series_instance_uid: str


class Location(Struct, frozen=True):
    """The values of the unique keys, by level; a level that is not there does not narrow.

    scope: the studies that the asker may see
    """

    level: Level
    wanted: dict[Level, list[str]]
    scope: StudyScope = EVERYTHING


def location(
    identifier: Identifier, root: Root, *, relational: bool, scope: StudyScope = EVERYTHING
) -> Location:
    """What an identifier asks for.

    raises: BadIdentifier for a level that the root does not have, or a unique key that is missing: that of
            the
            level always, those above it unless relational retrieval was negotiated
    """
    # A level above the root's own, asked for under the wrong root, is served as well: nothing else can be
    # meant.
    level = level_of(identifier.level, Root.PATIENT if root is Root.STUDY else root)
    wanted: dict[Level, list[str]] = {}
    for each in LEVELS[: LEVELS.index(level) + 1]:
        tag = UNIQUE_KEY[each]
        key = identifier.keys.get(tag, "")
        if values.is_universal(key):
            if each is level or (each in root.levels and not relational):
                raise BadIdentifier(f"without {BY_TAG[tag].keyword}")
            continue
        wanted[each] = values.split_values(key, BY_TAG[tag].vr)
        if each is Level.PATIENT and (len(wanted[each]) > 1 or values.has_wildcard(key)):
            raise BadIdentifier("more than one PatientID")
    return Location(level, wanted, scope)


async def fetch_located(connection: asyncpg.Connection, asked: Location) -> list[LocatedInstance]:
    """raises: TooMany"""
    if asked.level is Level.IMAGE:
        return await _instances(connection, asked, None)
    clauses, parameters = _clauses(asked)
    series = await connection.fetch(
        f"""SELECT e.id, e.number_of_instances FROM series e JOIN studies s ON s.id = e.study
            JOIN patients p ON p.id = s.patient WHERE {clauses}
            ORDER BY s.id, dicom_number(e.series_number) NULLS LAST, e.id""",  # noqa: S608 - fixed column names
        *parameters,
    )
    if sum(row[1] for row in series) > MAX_LOCATED:
        raise TooMany
    located: list[LocatedInstance] = []
    for some in _portions([(row[0], row[1]) for row in series]):
        located += await _instances(connection, asked, some)
    return located


async def _instances(
    connection: asyncpg.Connection, asked: Location, series: Sequence[int] | None
) -> list[LocatedInstance]:
    """The instances asked for, of all or of some series, in the order of the latter."""
    if series is None:
        clauses, parameters = _clauses(asked)
        order = "s.id, dicom_number(e.series_number) NULLS LAST, e.id"
    else:
        clauses, parameters = "e.id = ANY ($1::bigint[])", [list(series)]
        order = "array_position($1::bigint[], e.id)"
    rows = await connection.fetch(
        f"""SELECT i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size_bytes,
                i.data_offset, i.digest, s.study_instance_uid, e.series_instance_uid
            FROM instances i JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study
            JOIN patients p ON p.id = s.patient WHERE {clauses}
            ORDER BY {order}, dicom_number(i.instance_number) NULLS LAST, i.id""",  # noqa: S608 - as above
        *parameters,
    )
    return [LocatedInstance(*row) for row in rows]


def _clauses(asked: Location) -> tuple[str, list[object]]:
    conditions = Conditions()
    clauses = [
        f"{_COLUMN[level]} = ANY ({conditions.parameter(values, 'text[]')})"
        for level, values in asked.wanted.items()
    ]
    seen = scope_clause(asked.scope, conditions.parameter)
    return " AND ".join([*clauses, *([seen] if seen else [])]), conditions.parameters


def _portions(series: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Cut (series, number of instances) into statements of a bounded number of rows, a large series apart."""
    some: list[int] = []
    rows = 0
    for number, instances in series:
        if some and rows + instances > _ROWS_A_STATEMENT:
            yield some
            some, rows = [], 0
        some.append(number)
        rows += instances
    if some:
        yield some
