"""What waits and what is held, in figures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from config.settings import DatabaseSettings
from pacs_actors.archive import figures as figures_module
from pacs_actors.archive.figures import Figures, Totals
from pacs_actors.archive.scope import EVERYTHING, NOTHING, ScopeRule, StudyScope
from pacs_actors.database import Database
from protocols.errors import Unavailable
from tests.postgres_fixture import Server


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, DatabaseSettings(connections=2)) as database:
        yield database


async def test_an_empty_archive_holds_nothing_and_nothing_waits(database: Database) -> None:
    figures = Figures(database)
    held = await figures.holdings()
    assert (held.totals.studies, held.by_modality, held.by_month) == (0, (), ())
    waiting = await figures.waiting()
    assert (waiting.commitments, waiting.deletions, waiting.quarantined) == ({}, 0, 0)
    assert await figures.quarantined() == [] == await figures.commitments()


async def test_quarantine_of_the_last_day_is_counted(database: Database) -> None:
    async def unit(connection: asyncpg.Connection) -> None:
        await connection.execute(
            """INSERT INTO quarantine (sop_instance_uid, object_key, first_key, digest, size_bytes, why, source, quarantined_at)
            SELECT n::text, n::text, 'x', '', 1, 'conflict', 'CT', now() - n * interval '20 hours' FROM generate_series(0, 4) n"""
        )

    await database.run(unit)
    assert (await Figures(database).waiting()).quarantined == 2
    assert len(await Figures(database).quarantined()) == 5


async def test_of_a_scope_only_its_own_studies_are_counted(database: Database) -> None:
    async def unit(connection: asyncpg.Connection) -> None:
        for patient, study, modality, instances in (
            ("A", "1.1", "CT", 3),
            ("A", "1.2", "MR", 5),
            ("B", "1.3", "MR", 7),
        ):
            await connection.execute(
                """WITH p AS (
                    INSERT INTO patients (patient_id) VALUES ($1)
                    ON CONFLICT (patient_id, issuer_of_patient_id, only_study) DO UPDATE SET patient_sex = '' RETURNING id),
                s AS (
                    INSERT INTO studies (patient, study_instance_uid, modalities_in_study, number_of_series,
                        number_of_instances, size_bytes, received_at)
                    SELECT id, $2, ARRAY[$3], 1, $4, $4 * 10, now() FROM p RETURNING id)
                INSERT INTO series (study, series_instance_uid, modality, number_of_instances, size_bytes)
                SELECT id, $2 || '.1', $3, $4, $4 * 10 FROM s""",
                patient, study, modality, instances,
            )  # fmt: skip
        await connection.execute("INSERT INTO archive_totals VALUES (0, 2, 3, 3, 15, 150)")

    await database.run(unit)
    figures = Figures(database)

    async def of(scope: StudyScope) -> tuple[Totals, list[tuple[str, int]], list[tuple[int, int]]]:
        held = await figures.holdings(scope)
        modalities = [(each.modality, each.instances) for each in held.by_modality]
        return held.totals, modalities, [(each.studies, each.size_bytes) for each in held.by_month]

    magnetic = StudyScope(rules=(ScopeRule(modalities=("MR",)),))
    assert await of(EVERYTHING) == (Totals(2, 3, 3, 15, 150), [("MR", 12), ("CT", 3)], [(3, 150)])
    assert await of(magnetic) == (Totals(2, 2, 2, 12, 120), [("MR", 12)], [(2, 120)])
    assert await of(NOTHING) == (Totals(0, 0, 0, 0, 0), [], [])
    assert await of(EVERYTHING) == (Totals(2, 3, 3, 15, 150), [("MR", 12), ("CT", 3)], [(3, 150)])


async def test_what_is_remembered_of_scopes_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "_MOST_SCOPES", 2)
    figures = Figures(database)
    for number in range(5):
        await figures.holdings(StudyScope(rules=(ScopeRule(studies=(f"1.{number}",)),)))
    assert len(figures._holdings) == 2


async def test_within_a_scope_only_its_own_objects_are_in_quarantine(database: Database) -> None:
    async def unit(connection: asyncpg.Connection) -> None:
        await connection.execute(
            """INSERT INTO quarantine (sop_instance_uid, object_key, first_key, digest, size_bytes, why, source)
            VALUES ('1.1.1.1', 'a', 'x', '', 1, 'conflict', 'CT')"""
        )

    await database.run(unit)
    figures = Figures(database)
    assert len(await figures.quarantined(EVERYTHING)) == 1
    assert await figures.quarantined(StudyScope(rules=(ScopeRule(modalities=("MR",)),))) == []


async def test_before_the_tables_are_there_it_is_unavailable(postgres: Server) -> None:
    settings = DatabaseSettings(connections=2)
    async with Database(postgres.create_database(), settings) as database:
        await database.wait_ready(10)
        with pytest.raises(Unavailable):
            await Figures(database).waiting()
