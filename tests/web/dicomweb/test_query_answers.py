"""Searches as answers: what the asker may see, and what the settings change."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pacs_actors.archive.scope import NOTHING, ScopeRule, StudyScope
from tests.pacs_actors.archive.entries import MR, entry
from tests.web.dicomweb.conftest import Told, Web
from web.context import WebContext
from web.dicomweb import query
from web.http.answer import Answer

MR_ONLY = StudyScope(rules=(ScopeRule(modalities=("MR",)),))


@pytest.fixture
async def web(context: WebContext) -> Web:
    """Studies 1 to 6, the even ones of MR."""
    for n in range(1, 7):
        kind: dict[str, Any] = {"sop_class": MR} if n % 2 == 0 else {}
        both = [entry(k, study=n, patient=f"P{n}", t00080050=f"A{n}", **kind) for k in (1, 2)]
        await context.archive.catalogue.index_batch(both)
    told = context.archive.audit
    assert isinstance(told, Told)
    return Web(context, query.routes, told)


def results(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200 and isinstance(answer.body, bytes)
    found: list[dict[str, Any]] = json.loads(answer.body)
    return found


def header(answer: Answer, name: str) -> str | None:
    return dict(answer.headers).get(name)


async def test_the_asker_finds_what_they_may_see_at_every_level_and_nesting(web: Web) -> None:
    for path, number in (("studies", 3), ("series", 3), ("instances", 6), ("instances?PatientID=P2", 2)):
        assert len(results(await web.get(f"/dicom-web/{path}", MR_ONLY))) == number
    for path in (
        "studies/1.2.3.1/series",
        "studies/1.2.3.1/instances",
        "studies/1.2.3.1/series/1.2.3.1.1/instances",
    ):
        assert results(await web.get(f"/dicom-web/{path}", MR_ONLY)) == []
        assert results(await web.get(f"/dicom-web/{path}")) != []
        seen = path.replace("1.2.3.1", "1.2.3.2")
        assert results(await web.get(f"/dicom-web/{seen}", MR_ONLY)) != []
        assert results(await web.get(f"/dicom-web/{seen}", NOTHING)) == []


async def test_limits_and_what_is_left_are_of_what_the_asker_may_see(web: Web) -> None:
    page = await web.get("/dicom-web/studies?limit=1", MR_ONLY)
    assert header(page, "warning") == "299 pacs.example: There are 2 additional results that can be requested"
    rest = await web.get("/dicom-web/studies?limit=2&offset=1", MR_ONLY)
    assert [one["00080050"]["Value"] for one in results(page) + results(rest)] == [["A6"], ["A4"], ["A2"]]
    assert header(rest, "warning") is None


async def test_counts_asked_for_are_of_what_the_asker_may_see(web: Web) -> None:
    more = entry(9, study=9, patient="P2", t00080050="A9")
    await web.context.archive.catalogue.index_batch([more])
    path = "/dicom-web/studies?PatientID=P2&includefield=NumberOfPatientRelatedStudies"
    assert [one["00201200"]["Value"] for one in results(await web.get(path, MR_ONLY))] == [[1]]
    assert [one["00201200"]["Value"] for one in results(await web.get(path))] == [[2], [2]]


async def test_what_is_cut_off_beyond_counting_is_said_so(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs_actors.archive.web_find.COUNTED_UP_TO", 3)
    page = await web.get("/dicom-web/instances?limit=2")
    assert (
        header(page, "warning")
        == "299 pacs.example: There are more than 3 additional results that can be requested"
    )


async def test_no_match_is_204_where_the_settings_say_so(web: Web) -> None:
    settings = web.context.settings
    changed = msgspec.structs.replace(settings.web, no_matches_204=True)
    context = msgspec.structs.replace(web.context, settings=msgspec.structs.replace(settings, web=changed))
    other = Web(context, query.routes, web.told)
    answer = await other.get("/dicom-web/studies?PatientID=nobody")
    assert (answer.status, answer.body) == (204, b"")
    assert len(results(await other.get("/dicom-web/studies"))) == 6


async def test_addresses_begin_with_the_root_of_the_request_whatever_it_holds(web: Web) -> None:
    for host in ("pacs.example:8443", 'x"y\\z'):
        [study] = results(await web.get("/dicom-web/studies?AccessionNumber=A1", host=host))
        assert study["00081190"]["Value"] == [f"https://{host}/dicom-web/studies/1.2.3.1"]


async def test_every_search_is_told_to_the_audit(web: Web) -> None:
    await web.get("/dicom-web/studies?PatientID=P1", name="ann")
    await web.get("/dicom-web/instances", NOTHING, name="bob")
    assert web.told.queries == [("ann", "STUDY", 1), ("bob", "IMAGE", 0)]


async def test_long_answers_come_whole(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.dicomweb.query._ROWS_AT_ONCE", 5)
    uids = {one["00080018"]["Value"][0] for one in results(await web.get("/dicom-web/instances"))}
    assert len(uids) == 12
