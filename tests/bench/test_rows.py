from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from bench import rows
from bench.population import Run
from tests.postgres_fixture import Server, postgres

__all__ = ["postgres"]


def test_rows_are_the_population_and_their_counters_agree(postgres: Server) -> None:
    run = Run.new()
    said: list[int] = []
    dsn = postgres.create_database()

    async def filled() -> dict[str, Any]:
        connection = await asyncpg.connect(dsn)
        try:
            await rows.fill(run, 7, 3, said.append, connection)
            await rows.fill(Run.new(), 2, 3, said.append, connection)
            return {
                "uids": await connection.fetch("SELECT sop_instance_uid FROM instances"),
                "studies": await connection.fetch(
                    "SELECT * FROM studies s JOIN patients p ON p.id = s.patient WHERE patient_id LIKE $1",
                    run.tag + "%",
                ),
                "totals": await connection.fetchrow("SELECT * FROM archive_totals"),
            }
        finally:
            await connection.close()

    found = asyncio.run(filled())
    assert said == [21, 6]
    expected = {run.instance_uid(study, instance) for study in range(7) for instance in (1, 2, 3)}
    assert expected <= {row[0] for row in found["uids"]} and len(found["uids"]) == 27
    studies = {row["study_instance_uid"]: row for row in found["studies"]}
    assert len(studies) == 7
    for number in range(7):
        study = run.study(number)
        row = studies[study.study_uid]
        assert (row["patient_id"], row["patient_name"]) == (study.patient_id, study.patient_name)
        assert row["patient_name_alphabetic"] == study.patient_name.lower()
        assert (row["study_date"], row["number_of_instances"]) == (study.study_date, 3)
    assert (found["totals"]["studies"], found["totals"]["instances"]) == (9, 27)
