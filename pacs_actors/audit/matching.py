"""Which rows of the audit: filters, scope, order and place in a list, as SQL. Pure; every value is a parameter.

Who may not see every study sees the rows about studies that they may see, and no row that names another one as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import EVERYTHING, StudyScope, scope_clause
from pacs_actors.audit import events
from protocols.messages.audit import AuditQuery

COLUMNS: Final = (
    "a.id, a.at, a.recorded_at, a.event, a.outcome, a.who, a.via, a.address, a.patient_id, a.uids, "
    "a.details::text AS details, encode(a.hash, 'hex') AS hash"
)
# As an index has it, and as ``studies`` compares UIDs.
_STUDY: Final = """(coalesce(a.uids[1], '') COLLATE "C")"""
# Column of the list -> (expression, type); each has an index. Nothing of these comes from outside.
SORTS: Final[Mapping[str, tuple[str, str]]] = {
    "id": ("a.id", "bigint"),
    "at": ("a.at", "timestamptz"),
    "event": ("a.event", "text"),
    "outcome": ("left(a.outcome, 256)", "text"),
    "who": ("a.who", "text"),
    "via": ("left(a.via, 256)", "text"),
    "address": ("left(a.address, 256)", "text"),
    "patient_id": ("a.patient_id", "text"),
    "uids": (_STUDY, "text"),
}
# Of these, what follows the study lies in it; of all others it may be another study.
_BELOW_A_STUDY: Final = [events.DELETED, events.UNDELETED, events.ERASED]


class Listing(Struct, frozen=True, kw_only=True):
    """What to list, and in which order.

    scope:  of whoever asks
    sort:   a key of SORTS
    after:  sort value and id of the row that the page before ended with
    until:  rows up to this one: a list that is taken whole ends, however quickly the audit grows
    """

    query: AuditQuery = AuditQuery()
    scope: StudyScope = EVERYTHING
    sort: str = "id"
    descending: bool = True
    after: tuple[Any, int] | None = None
    until: int | None = None


def page_statement(asked: Listing, limit: int) -> tuple[str, list[object]]:
    """The rows of a page; the last column is what ``after`` is made of."""
    conditions = Conditions()
    clauses = [*query_clauses(asked.query, conditions), *scope_clauses(asked.scope, conditions)]
    expression, kind = SORTS[asked.sort]
    way, beyond = ("DESC", "<") if asked.descending else ("ASC", ">")
    if asked.until is not None:
        clauses.append(f"a.id <= {conditions.parameter(asked.until, 'bigint')}")
    if asked.after is not None:
        value, number = asked.after
        if asked.sort == "id":
            clauses.append(f"a.id {beyond} {conditions.parameter(number, 'bigint')}")
        else:
            place = f"({conditions.parameter(value, kind)}, {conditions.parameter(number, 'bigint')})"
            clauses.append(f"({expression}, a.id) {beyond} {place}")
    order = f"a.id {way}" if asked.sort == "id" else f"{expression} {way}, a.id {way}"
    sql = (
        f"SELECT {COLUMNS}, {expression} AS place FROM audit_events a WHERE {_all(clauses)} "  # noqa: S608 - our words
        f"ORDER BY {order} LIMIT {int(limit)}"
    )
    return sql, conditions.parameters


def count_statement(asked: Listing, most: int) -> tuple[str, list[object]]:
    """How many rows match, at most one more than ``most``."""
    conditions = Conditions()
    clauses = [*query_clauses(asked.query, conditions), *scope_clauses(asked.scope, conditions)]
    sql = (
        f"SELECT count(*) FROM (SELECT FROM audit_events a WHERE {_all(clauses)} LIMIT {int(most) + 1}) found"  # noqa: S608
    )
    return sql, conditions.parameters


def rows_statement(query: AuditQuery, newest: int | None) -> tuple[str, list[object]]:
    """Every row that matches, oldest first; newest: only that many, newest first."""
    conditions = Conditions()
    order = "ORDER BY a.id" if newest is None else f"ORDER BY a.id DESC LIMIT {int(newest)}"
    where = _all(query_clauses(query, conditions))
    return f"SELECT {COLUMNS} FROM audit_events a WHERE {where} {order}", conditions.parameters  # noqa: S608


def query_clauses(query: AuditQuery, conditions: Conditions) -> list[str]:
    """Only what is asked for, so that an index serves it."""
    asked: tuple[tuple[str, object, str], ...] = (
        ("a.at >= {}", query.since, "timestamptz"),
        ("a.at < {}", query.until, "timestamptz"),
        ("a.event = ANY ({})", list(query.events), "text[]"),
        ("a.outcome = ANY ({})", list(query.outcomes), "text[]"),
        ("a.who = {}", query.who, "text"),
        ("a.via = {}", query.via, "text"),
        ("a.address = {}", query.address, "text"),
        ("a.patient_id = {}", query.patient_id, "text"),
        ("a.uids @> ARRAY[{}]", query.uid, "text"),
        (
            "strpos(lower(concat_ws(' ', a.event, a.who, a.address, a.patient_id, a.details::text)), lower({})) > 0",
            query.text,
            "text",
        ),
    )
    return [
        clause.format(conditions.parameter(value, kind))
        for clause, value, kind in asked
        if value not in (None, "", [])
    ]


def scope_clauses(scope: StudyScope, conditions: Conditions) -> list[str]:
    seen = scope_clause(scope, conditions.parameter)
    if seen is None:
        return []
    studies = f"SELECT s.study_instance_uid FROM studies s WHERE {seen}"  # noqa: S608 - made of our words
    below = conditions.parameter(_BELOW_A_STUDY, "text[]")
    return [
        f"{_STUDY} IN ({studies})",
        f"""(cardinality(a.uids) = 1 OR a.event = ANY ({below}) OR NOT EXISTS (
            SELECT FROM unnest(a.uids[2:]) u WHERE NOT EXISTS ({studies} AND s.study_instance_uid = u COLLATE "C")))""",
    ]


def _all(clauses: list[str]) -> str:
    return " AND ".join(clauses) or "true"
