"""What the database says of storage, for whoever watches: failed moves, the clock, growth."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from config.settings import DatabaseSettings
from pacs_actors.archive.figures import Figures
from pacs_actors.database import Database
from pacs_actors.lifecycle import storage_figures
from pacs_actors.lifecycle.moves import Move, Moves, Order
from pacs_actors.lifecycle.storage_figures import StorageFigures, forecast

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, DatabaseSettings(connections=2)) as opened:
        yield opened


async def execute(database: Database, *statements: str) -> None:
    async def unit(connection: asyncpg.Connection) -> None:
        for statement in statements:
            await connection.execute(statement)

    await database.run(unit)


async def ended(moves: Moves, study: str, to: str, how: str) -> None:
    await moves.order([Order(study, "", to, "by hand")])
    await moves.end(cast(Move, await moves.take(["nas", "vault"], 60)), how, "")  # type: ignore[arg-type]


async def test_a_failed_move_counts_for_a_day_or_until_it_has_succeeded(database: Database) -> None:
    moves, figures = Moves(database), Figures(database)

    async def failed() -> int:
        return (await figures.waiting()).moves_failed

    assert await failed() == 0
    await ended(moves, "1.2.3", "nas", "failed")
    await ended(moves, "1.2.4", "nas", "failed")
    assert await failed() == 2
    await ended(moves, "1.2.3", "vault", "done")
    assert await failed() == 2, "that was another move"
    await ended(moves, "1.2.3", "nas", "failed")
    assert await failed() == 3
    await ended(moves, "1.2.3", "nas", "done")
    assert await failed() == 1
    await execute(database, "UPDATE tier_moves SET ended_at = ended_at - interval '25 hours'")
    assert await failed() == 0


async def test_a_clock_is_in_doubt_until_somebody_confirms_it(database: Database) -> None:
    figures = Figures(database)
    assert (await figures.waiting()).clock_doubted_since is None
    await execute(database, "INSERT INTO lifecycle_clock (seen_at) VALUES (now())")
    assert (await figures.waiting()).clock_doubted_since is None
    await execute(database, "UPDATE lifecycle_clock SET doubted_since = '2026-01-02T00:00:00Z'")
    assert (await figures.waiting()).clock_doubted_since == NOW
    await execute(database, "UPDATE lifecycle_clock SET doubted_since = NULL")
    assert (await figures.waiting()).clock_doubted_since is None


async def test_the_outlook_has_room_as_it_is_and_growth_of_the_last_month(
    database: Database, tmp_path: Path
) -> None:
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    empty = await StorageFigures(database, tmp_path, 0).outlook()
    assert empty.full_on is None and empty.total_bytes == disk.f_blocks * disk.f_frsize
    # Half as much as there is room came within twenty days: that leaves forty, as far as nobody else fills or empties this disk.
    await execute(
        database,
        "INSERT INTO patients (patient_id) VALUES ('P')",
        f"""INSERT INTO studies (patient, study_instance_uid, received_at, size_bytes)
            SELECT id, '1.2.' || n, now() - interval '10 days' * n, {free} / 2 * (n = 1)::int FROM patients,
            generate_series(1, 2) n""",
    )
    figures = StorageFigures(database, tmp_path, 0)
    outlook = await figures.outlook()
    assert outlook.full_on is not None
    today = datetime.now(UTC).date()
    assert today + timedelta(days=20) <= outlook.full_on <= today + timedelta(days=60)
    assert (await figures.outlook()).full_on is not None, "believed for a while"
    kept = await StorageFigures(database, tmp_path, free * 2).outlook()
    assert kept.free_bytes == 0, "the reserve is no room"


async def test_figures_of_where_studies_are_never_read_all_instances(database: Database) -> None:
    """Nor all copies: of nine hundred studies that are elsewhere three are looked at one by one."""
    await execute(
        database,
        "INSERT INTO patients (patient_id) VALUES ('P')",
        """INSERT INTO studies (patient, study_instance_uid, received_at, availability, number_of_instances)
            SELECT id, '1.2.' || n, now(), 'OFFLINE', 10 FROM patients, generate_series(1, 900) n""",
        "INSERT INTO series (study, series_instance_uid, availability) SELECT id, '1.3.' || id, 'OFFLINE' FROM studies",
        """INSERT INTO instances (series, sop_instance_uid, sop_class_uid, transfer_syntax_uid, object_key, slot, batch, size_bytes,
                data_offset, digest, availability, source, received_at)
            SELECT id, '1.4.' || id || '.' || n, '1.2', '1.2', id || '/' || n, 0, 1, 100, 0, '\\x00', 'OFFLINE', 'A', now()
            FROM series, generate_series(1, 10) n""",
        """INSERT INTO object_copies (sop_instance_uid, object_digest, store, key, transfer_syntax_uid, stored_bytes,
                stored_digest, verified_at)
            SELECT sop_instance_uid, digest, 'vault', md5(object_key), '1.2', 50, digest, now() FROM instances""",
        """INSERT INTO study_copies (study_instance_uid, store, instances, stored_bytes)
            SELECT study_instance_uid, 'vault', CASE WHEN id <= 3 THEN 9 ELSE 10 END, 500 FROM studies""",
        """UPDATE instances i SET availability = 'ONLINE' FROM series e
            WHERE e.id = i.series AND e.study = 1 AND i.sop_instance_uid LIKE '%.1'""",
        """INSERT INTO tier_moves (study_instance_uid, to_store, why, begun_at, state)
            VALUES ('1.2.9', 'empty', 'a', now(), 'failed')""",
        "ANALYZE",
    )

    async def plans(connection: asyncpg.Connection) -> str:
        steps = list[str]()
        for statement in (storage_figures._ONLINE, storage_figures._STORES):
            steps += [row[0] for row in await connection.fetch(f"EXPLAIN (COSTS OFF) {statement}")]
        return "\n".join(steps)

    plan = await database.run(plans)
    assert "Seq Scan on instances" not in plan and "Seq Scan on object_copies" not in plan, plan
    places = (await StorageFigures(database, Path("/"), 0).read()).places
    assert [(one.store, one.studies, one.instances, one.size_bytes) for one in places] == [
        ("online", 0, 1, 100),
        ("vault", 897, 9000, 450_000),
    ]


@pytest.mark.parametrize(
    ("first", "grown", "free", "days"),
    [
        (NOW - timedelta(days=60), 30, 14, 14),
        (NOW - timedelta(days=10), 10, 14, 14),
        (NOW - timedelta(days=60), 30, 0, 0),
        (NOW - timedelta(hours=23), 30, 14, None),
        (NOW - timedelta(days=60), 0, 14, None),
        (None, 0, 14, None),
        (NOW - timedelta(days=60), 30, 36_500, None),
    ],
)
def test_the_forecast_goes_on_at_the_pace_of_the_last_days(
    first: datetime | None, grown: int, free: int, days: int | None
) -> None:
    expected = None if days is None else NOW.date() + timedelta(days=days)
    assert forecast(NOW, first, grown, 30, free) == expected
