"""Which instance stands for a series or a study: the middle one of its first series of images. All SQL of this wing."""

from __future__ import annotations

from typing import Final

import asyncpg

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import StudyScope, scope_clause
from pacs_actors.archive.web_locate import ServedInstance

# Series of these come behind all others.
_WITHOUT_PICTURES: Final = [
    "SR", "PR", "KO", "DOC", "REG", "FID", "SEG", "RTSTRUCT", "RTPLAN", "RTRECORD", "RTDOSE", "ECG", "EPS", "HD", "PLAN", "RWV",
    "ANN", "AU",
]  # fmt: skip
_INSTANCE: Final = """
    SELECT i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size_bytes, i.data_offset, i.digest,
        s.study_instance_uid, e.series_instance_uid, p.patient_id
    FROM instances i JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study JOIN patients p ON p.id = s.patient
    WHERE e.id = $1 ORDER BY dicom_number(i.instance_number) NULLS LAST, i.id OFFSET $2 LIMIT 1"""


async def representative(
    catalogue: Catalogue, scope: StudyScope, study: str, series: str | None = None
) -> ServedInstance | None:
    """None: there is no such study or series for the asker. raises: Unavailable"""
    conditions = Conditions()
    clauses = [f"s.study_instance_uid = {conditions.parameter(study, 'text')}"]
    if series is not None:
        clauses.append(f"e.series_instance_uid = {conditions.parameter(series, 'text')}")
    seen = scope_clause(scope, conditions.parameter)
    if seen is not None:
        clauses.append(seen)
    last = conditions.parameter(_WITHOUT_PICTURES, "text[]")
    first_series = f"""SELECT e.id, e.number_of_instances FROM series e JOIN studies s ON s.id = e.study
        JOIN patients p ON p.id = s.patient WHERE {" AND ".join(clauses)}
        ORDER BY coalesce(e.modality = ANY ({last}), false), dicom_number(e.series_number) NULLS LAST, e.id
        LIMIT 1"""  # noqa: S608 - fixed words

    async def unit(connection: asyncpg.Connection) -> ServedInstance | None:
        found = await connection.fetchrow(first_series, *conditions.parameters)
        if found is None:
            return None
        row = await connection.fetchrow(_INSTANCE, found[0], max(0, found[1] // 2))
        return None if row is None else ServedInstance(*row)

    return await catalogue.database.run(unit)
