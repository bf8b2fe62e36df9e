"""Finding instances for the web: by all three UIDs, within a scope, believed for a moment and no longer."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from pacs_actors.archive import web_locate
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.archive.scope import EVERYTHING, NOTHING, ScopeRule, StudyScope
from pacs_actors.archive.web_locate import WebLocator
from pacs_actors.node_page import NodePage
from tests.pacs_actors.archive.entries import entry

STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"


@pytest.fixture
def locator(catalogue: Catalogue) -> WebLocator:
    page = NodePage(NodePage.create(1).fd, 1, slot=0)
    page.set_recovered()
    return WebLocator(catalogue, IndexProgress(page, lambda: 1), catch_up_s=5)


def uid(number: int, series: str = SERIES) -> str:
    return f"{series}.{number}"


async def test_an_instance_is_found_by_all_of_its_uids_only(
    catalogue: Catalogue, locator: WebLocator
) -> None:
    await catalogue.index_batch([entry(1), entry(2), entry(1, study=2)])
    for _ in range(3):  # asked, remembered, with its neighbours
        found = await locator.instance(EVERYTHING, STUDY, SERIES, uid(1))
        assert found is not None
        assert (found.sop_instance_uid, found.patient_id, found.data_offset) == (uid(1), "P1", 400)
        assert found.key == entry(1).stored.key
        for study, series, instance in (
            ("1.2.3.2", SERIES, uid(1)),
            (STUDY, "1.2.3.2.1", uid(1)),
            (STUDY, SERIES, "1.2.9"),
        ):
            assert await locator.instance(EVERYTHING, study, series, instance) is None


async def test_a_scope_hides_what_others_have_just_seen(catalogue: Catalogue, locator: WebLocator) -> None:
    await catalogue.index_batch([entry(1), entry(1, study=2)])
    own = StudyScope(rules=(ScopeRule(studies=("1.2.3.2",)),))
    for _ in range(3):
        assert await locator.instance(EVERYTHING, STUDY, SERIES, uid(1)) is not None
        for scope in (own, NOTHING):
            assert await locator.instance(scope, STUDY, SERIES, uid(1)) is None
            assert await locator.instances(scope, STUDY) == []
        assert await locator.instance(own, "1.2.3.2", "1.2.3.2.1", "1.2.3.2.1.1") is not None


async def test_a_series_that_is_walked_through_costs_two_looks(
    catalogue: Catalogue, locator: WebLocator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalogue.index_batch([entry(number) for number in range(1, 41)])
    asked: list[str | None] = []
    fetch = WebLocator._fetch

    async def counted(self: WebLocator, *parts: Any, **more: Any) -> Any:
        asked.append(parts[3])
        return await fetch(self, *parts, **more)

    monkeypatch.setattr(WebLocator, "_fetch", counted)
    monkeypatch.setattr(web_locate, "BELIEVED_S", 600.0)
    for number in range(1, 41):
        found = await locator.instance(EVERYTHING, STUDY, SERIES, uid(number))
        assert found is not None
        assert found.sop_instance_uid == uid(number)
    assert asked == [uid(1), None]


async def test_what_is_deleted_is_gone_within_two_seconds(catalogue: Catalogue, locator: WebLocator) -> None:
    await catalogue.index_batch([entry(1), entry(2)])
    assert await locator.instance(EVERYTHING, STUDY, SERIES, uid(1)) is not None

    async def delete(connection: Any) -> None:
        await connection.execute("DELETE FROM instances WHERE sop_instance_uid = $1", uid(1))

    await catalogue.database.run(delete)
    with trio.fail_after(2.0 + 5.0):  # the rest is for a busy machine
        while await locator.instance(EVERYTHING, STUDY, SERIES, uid(1)) is not None:
            await trio.sleep(0.05)
    assert web_locate.BELIEVED_S <= 2.0


async def test_a_study_comes_in_the_order_of_its_numbers(catalogue: Catalogue, locator: WebLocator) -> None:
    await catalogue.index_batch([entry(10), entry(2), entry(1, series=2), entry(1)])
    found = await locator.instances(EVERYTHING, STUDY)
    assert [one.sop_instance_uid for one in found] == [uid(1), uid(2), uid(10), "1.2.3.1.2.1"]
    assert [one.sop_instance_uid for one in await locator.instances(EVERYTHING, STUDY, SERIES)] == [
        uid(1),
        uid(2),
        uid(10),
    ]
    assert await locator.instances(EVERYTHING, STUDY, "1.2.9") == []
