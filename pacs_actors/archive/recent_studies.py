"""The studies that something came for most recently, within a scope: a question whose cost has a bound."""

from __future__ import annotations

from typing import Final

import asyncpg

from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import StudyScope, scope_clause
from pacs_actors.archive.study_list import COLUMNS, ListedStudy
from pacs_actors.database import Database

MOST_STUDIES: Final = 100
LOOKED_AT: Final = 2000
"""Newest series: what arrived for others meanwhile may push a study out of those that are looked at."""
_WITHIN_S: Final = 3.0


async def recent_studies(database: Database, scope: StudyScope) -> list[ListedStudy]:
    """The newest first. raises: Unavailable"""
    sql, parameters = _statement(scope)

    async def unit(connection: asyncpg.Connection) -> list[ListedStudy]:
        return [ListedStudy(*record[1:]) for record in await connection.fetch(sql, *parameters)]

    return await database.run(unit, within_s=_WITHIN_S)


def _statement(scope: StudyScope) -> tuple[str, list[object]]:
    conditions = Conditions()
    seen = scope_clause(scope, conditions.parameter) or "true"
    # Series are numbered as they come. MATERIALIZED: the newest first, then the scope, never the other way round.
    sql = f"""WITH newest AS MATERIALIZED (SELECT study, id FROM series ORDER BY id DESC LIMIT {LOOKED_AT}),
            page AS MATERIALIZED (
                SELECT s.id, max(n.id) AS place FROM newest n JOIN studies s ON s.id = n.study
                WHERE {seen} GROUP BY s.id ORDER BY place DESC LIMIT {MOST_STUDIES})
        SELECT page.place, {COLUMNS}
        FROM page JOIN studies s ON s.id = page.id JOIN patients p ON p.id = s.patient
        LEFT JOIN LATERAL (
            SELECT x.institution_name, x.source FROM series x WHERE x.study = s.id ORDER BY x.id LIMIT 1) e ON true
        ORDER BY page.place DESC"""  # noqa: S608 - names, numbers and parameter numbers only
    return sql, conditions.parameters
