"""Changes of settings in the database: in force everywhere, never against a flag, never broken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from config.settings import DatabaseSettings, Settings
from pacs_actors.database import Database
from pacs_actors.settings_book import CHANGED_HERE, SettingsBook
from tests.pacs_actors.archive.conftest import dsn, migrated

__all__ = ["dsn", "migrated"]

KEY = "dicom.max_associations"


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, DatabaseSettings(connections=2)) as database:
        yield database


def book(database: Database, **origins: str) -> SettingsBook:
    return SettingsBook(Settings(), origins, database)


async def left_behind(database: Database, key: str, value: object) -> None:
    """As another release, or a hand, may leave it."""

    async def unit(connection) -> None:
        sql = "INSERT INTO settings_overrides (key, value, changed_by) VALUES ($1, $2::jsonb, 'hand')"
        await connection.execute(sql, key, json.dumps(value))

    await database.run(unit)


async def test_a_change_is_in_force_for_every_book_and_can_be_taken_back(database: Database) -> None:
    one, other = book(database), book(database)
    told: list[int] = []
    other.listen(lambda settings: told.append(settings.dicom.max_associations))
    await one.put(KEY, 7, "admin")
    assert (one.current.dicom.max_associations, one.source(KEY)) == (7, CHANGED_HERE)
    assert other.current.dicom.max_associations == 256
    await other.reread()
    await other.reread()
    assert told == [7]
    assert other.overrides[KEY].changed_by == "admin"
    assert await one.remove(KEY)
    assert not await one.remove(KEY)
    await other.reread()
    assert (one.current, other.current) == (Settings(), Settings())
    assert told == [7, 256]
    assert one.source(KEY) == "default"


@pytest.mark.parametrize("origin", ["--dicom.max_associations", "PACS_DICOM__MAX_ASSOCIATIONS"])
async def test_flags_and_variables_win_over_a_change(database: Database, origin: str) -> None:
    await left_behind(database, KEY, 7)
    flagged, plain = book(database, **{KEY: origin}), book(database, **{KEY: "pacs.toml"})
    for one in (flagged, plain):
        await one.reread()
    assert flagged.current == Settings()
    assert (flagged.fixed_by(KEY), flagged.source(KEY)) == (origin, origin)
    assert (plain.current.dicom.max_associations, plain.fixed_by(KEY)) == (7, None)


async def test_what_does_not_fit_is_ignored_and_the_rest_holds(database: Database) -> None:
    for key, value in (
        (KEY, "many"),
        ("server.data", "elsewhere"),
        ("no.such", 1),
        ("dicom.idle_timeout_s", 5),
    ):
        await left_behind(database, key, value)
    one = book(database)
    await one.reread()
    assert set(one.overrides) == {"dicom.idle_timeout_s"}
    assert one.current.dicom.idle_timeout_s == 5
    assert one.current.server.data == Settings().server.data
