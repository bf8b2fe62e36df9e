"""Pages of a search: order, offset, what is left, within a scope; and no more at once than may be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import trio
import trio.testing

from config.settings import DatabaseSettings
from pacs_actors.archive import web_find
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.matching import FindQuery, Root
from pacs_actors.archive.scope import EVERYTHING, ScopeRule, StudyScope
from pacs_actors.archive.web_find import Found, WebFind
from pacs_actors.database import Database
from protocols.dataset.attributes import INDEXED, Level
from protocols.errors import Unavailable
from tests.pacs_actors.archive.entries import MR, entry
from tests.postgres_fixture import Server

TAG = {each.keyword: each.tag for each in INDEXED}
STUDIES = 30


class Caught:
    """Progress of an index that has caught up, or of one that never does."""

    others = None

    def __init__(self) -> None:
        self.page, self.is_behind = self, False

    def watermark(self) -> int:
        return 1

    def behind(self, _: int) -> bool:
        return self.is_behind

    def hasten(self) -> None: ...


@pytest.fixture(scope="module")
def archive(postgres: Server, migrated: str) -> str:
    """Studies 1 to 30 in that order, each of two series and two instances; every third of MR."""
    dsn = postgres.create_database(template=migrated)

    async def fill() -> None:
        async with Database(dsn, DatabaseSettings(connections=1)) as database:
            for n in range(1, STUDIES + 1):
                kind: dict[str, Any] = {"sop_class": MR} if n % 3 == 0 else {}
                both = [
                    entry(k, study=n, series=k, patient=f"P{n}", t00080020=f"202401{n:02d}", **kind)
                    for k in (1, 2)
                ]
                await Catalogue(database).index_batch(both)

    trio.run(fill)
    return dsn


@pytest.fixture
async def find(archive: str) -> AsyncIterator[WebFind]:
    async with Database(archive, DatabaseSettings(connections=3)) as database:
        yield WebFind(Catalogue(database), Caught(), catch_up_s=0.05)  # type: ignore[arg-type]


def query(level: Level = Level.STUDY, scope: StudyScope = EVERYTHING, **keys: str) -> FindQuery:
    returns = (TAG["PatientID"], TAG["StudyInstanceUID"])
    asked = {TAG[name]: value for name, value in keys.items()}
    return FindQuery(Root.STUDY, level, asked, returns, relational=True, scope=scope, newest_first=True)


def numbers(found: Found) -> list[int]:
    return [int(row[0][1:]) for row in found.rows]


async def test_the_newest_come_first_from_any_offset(find: WebFind) -> None:
    assert numbers(await find.page(query(), 0, 100)) == list(range(STUDIES, 0, -1))
    for offset in (0, 7, 28, 30, 31, 10**12):
        expected = list(range(STUDIES, 0, -1))[offset : offset + 5]
        assert numbers(await find.page(query(), offset, 5)) == expected


async def test_what_is_left_behind_the_page_is_counted(find: WebFind) -> None:
    page = await find.page(query(), 4, 10)
    assert (page.further, page.exact) == (16, True)
    assert (await find.page(query(), 20, 10)).further == 0
    assert (await find.page(query(), 0, 0)).further == STUDIES
    assert (await find.page(query(StudyDate="20240110-20240120"), 0, 4)).further == 7


async def test_counting_ends_at_its_limit(find: WebFind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_find, "COUNTED_UP_TO", 6)
    page = await find.page(query(), 0, 5)
    assert (page.further, page.exact) == (6, False)
    assert await find.page(query(), 19, 5) == Found(
        page.returns, (await find.page(query(), 19, 5)).rows, 6, True
    )


async def test_counting_that_takes_too_long_is_given_up_and_the_page_comes(
    find: WebFind, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(connection: asyncpg.Connection, *_: object, **__: object) -> int:
        number: int = await original(connection, "SELECT 1 FROM pg_sleep(30)", timeout=0.05)
        return number

    original = asyncpg.Connection.fetchval
    monkeypatch.setattr(asyncpg.Connection, "fetchval", slowly)
    with trio.fail_after(10):
        page = await find.page(query(), 0, 5)
        assert (len(page.rows), page.further, page.exact) == (5, 0, False)
        monkeypatch.undo()
        assert (await find.page(query(), 0, 5)).further == 25


async def test_pages_and_counts_are_of_what_the_asker_may_see(find: WebFind) -> None:
    scope = StudyScope(rules=(ScopeRule(modalities=("MR",)),))
    assert numbers(await find.page(query(scope=scope), 0, 100)) == list(range(30, 0, -3))
    page = await find.page(query(scope=scope), 2, 3)
    assert (numbers(page), page.further) == ([24, 21, 18], 5)
    assert (await find.page(query(scope=scope, PatientID="P1"), 0, 10)).rows == []
    assert len((await find.page(query(Level.IMAGE, scope), 0, 100)).rows) == 20
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        assert await find.page(query(level, StudyScope()), 0, 10) == Found(
            (TAG["PatientID"], TAG["StudyInstanceUID"]), []
        )


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
async def test_deep_pages_join_without_gap_or_repetition(
    find: WebFind, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_find, "DEEP", 4)
    whole = (await find.page(query(level), 0, 200)).rows
    pages = [(await find.page(query(level), offset, 4)).rows for offset in range(0, len(whole) + 4, 4)]
    assert [row for page in pages for row in page] == whole
    # Also for who begins in the middle, where no page ended.
    assert (await find.page(query(level), 9, 4)).rows == whole[9:13]


async def test_a_place_that_one_asker_reached_is_not_anothers(
    find: WebFind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_find, "DEEP", 1)
    await find.page(query(), 0, 5)
    scope = StudyScope(rules=(ScopeRule(modalities=("MR",)),))
    assert numbers(await find.page(query(scope=scope), 5, 5)) == [15, 12, 9, 6, 3]
    assert numbers(await find.page(query(StudyDate="20240101-20240110"), 5, 5)) == [5, 4, 3, 2, 1]


async def test_so_many_at_once_and_no_more_wait(find: WebFind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_find, "MOST_WAITING", 3)
    release, running = trio.Event(), 0

    async def hold(*_: object) -> Found:
        nonlocal running
        running += 1
        await release.wait()
        return Found((), [])

    monkeypatch.setattr(find, "_page", hold)
    async with trio.open_nursery() as nursery:
        for _ in range(web_find.AT_ONCE + 3):
            nursery.start_soon(find.page, query(), 0, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert running == web_find.AT_ONCE
        with pytest.raises(Unavailable):
            await find.page(query(), 0, 1)
        release.set()
    assert running == web_find.AT_ONCE + 3


async def test_a_search_does_not_answer_from_an_index_that_is_behind(find: WebFind) -> None:
    find.progress.is_behind = True  # type: ignore[attr-defined]
    with pytest.raises(Unavailable):
        await find.page(query(), 0, 1)
