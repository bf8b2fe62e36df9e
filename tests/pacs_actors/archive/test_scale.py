"""Plans at scale: what people ask for all day must not walk through a table."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest

from pacs_actors.archive.matching import FindQuery, Root, plan
from pacs_actors.database import SERVER_SETTINGS
from protocols.dataset.attributes import INDEXED, Level
from tests.pacs_actors.archive.generate_rows import generate
from tests.postgres_fixture import Server

TAG = {each.keyword: each.tag for each in INDEXED}
RETURNS = tuple(
    TAG[name]
    for name in (
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        "StudyDate",
        "ModalitiesInStudy",
        "AccessionNumber",
    )
)
QUERIES = [
    (Level.PATIENT, {"PatientID": "PAT00000077"}),
    (Level.STUDY, {"PatientID": "PAT00000077"}),
    (Level.STUDY, {"StudyInstanceUID": "1.2.826.0.1.3680043.10.543.77"}),
    (Level.STUDY, {"StudyInstanceUID": "1.2\\1.3\\1.4"}),
    (Level.STUDY, {"AccessionNumber": "ACC000000077"}),
    (Level.STUDY, {"AccessionNumber": "*00000077*"}),
    (Level.STUDY, {"PatientName": "smith77^anna"}),
    (Level.STUDY, {"PatientName": "Smith77*"}),
    (Level.STUDY, {"PatientName": "*smith77^*"}),
    (Level.STUDY, {"PatientID": "*000077*"}),
    (Level.STUDY, {"StudyDescription": "*Knee 77*"}),
    (Level.STUDY, {"ReferringPhysicianName": "ref^doc77"}),
    (Level.STUDY, {"StudyDate": "20200105"}),
    (Level.STUDY, {"StudyDate": "20200105-20200107"}),
    (Level.STUDY, {"StudyDate": "20200105-20200107", "StudyTime": "10-11", "combined": "yes"}),
    (Level.STUDY, {"PatientBirthDate": "19500101"}),
    (Level.STUDY, {"PatientName": "smyth77", "fuzzy": "yes"}),
    (Level.SERIES, {"StudyInstanceUID": "1.2.826.0.1.3680043.10.543.77"}),
    (
        Level.IMAGE,
        {
            "StudyInstanceUID": "1.2.826.0.1.3680043.10.543.77",
            "SeriesInstanceUID": "1.2.826.0.1.3680043.10.543.77.1",
        },
    ),
    (Level.IMAGE, {"SOPInstanceUID": "1.2.826.0.1.3680043.10.543.77.1.1"}),
]


# What PostgreSQL makes of a statement that it has seen some times, without looking at the values.
_EXPLAIN_GENERIC = """CREATE FUNCTION explain_generic(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
    BEGIN RETURN QUERY EXECUTE 'EXPLAIN (GENERIC_PLAN) ' || statement; END $$"""


@pytest.fixture(scope="module")
def large(postgres: Server, migrated: str) -> str:
    dsn = postgres.create_database(template=migrated)

    async def fill() -> None:
        connection = await asyncpg.connect(dsn)
        await generate(connection, 20_000, 2, 2)
        await connection.execute(_EXPLAIN_GENERIC)
        await connection.close()

    asyncio.run(fill())
    return dsn


@pytest.mark.parametrize(("level", "keys"), QUERIES)
@pytest.mark.parametrize("generic", [True, False])
def test_no_table_is_walked_through(large: str, level: Level, keys: dict[str, str], generic: bool) -> None:
    asked = {TAG[name]: value for name, value in keys.items() if name in TAG}
    query = FindQuery(
        Root.PATIENT,
        level,
        asked,
        RETURNS,
        relational=True,
        fuzzy="fuzzy" in keys,
        combined_datetime="combined" in keys,
    )
    found = plan(query)

    async def explain() -> str:
        connection = await asyncpg.connect(large, server_settings=SERVER_SETTINGS)
        try:
            if generic:
                rows = await connection.fetch("SELECT explain_generic($1)", found.sql)
            else:
                rows = await connection.fetch(f"EXPLAIN {found.sql}", *found.parameters)
            return "\n".join(row[0] for row in rows)
        finally:
            await connection.close()

    text = asyncio.run(explain())
    assert ("$1" in text) == generic
    # To read all of a small table for a hash join can pay; to look through all rows for those that match
    # never does.
    assert not re.search(r"Seq Scan on [^\n]*\n +Filter", text), text
    # The order by id must not be bought with a walk through the primary key.
    assert not re.search(r"Index Scan using studies_pkey on studies s [^\n]*\n +Filter", text), text
