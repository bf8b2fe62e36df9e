"""In front of the viewer: which addresses wait, for whom, and what the viewer is told of whoever is logged in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import pytest
from msgspec import structs

from pacs_actors.archive.scope import StudyScope
from pacs_actors.people.rights import Action, Principal
from protocols.errors import Unavailable
from tests.fakes.people import ADMINISTRATOR
from tests.web.serving import Answer, Site, site
from web.viewer_door import MOST_STUDIES, asked_studies

VIEWER = "/ohif/viewer?StudyInstanceUIDs="


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("static") / "ohif"
    folder.mkdir()
    (folder / "index.html").write_text("<title>viewer</title>")
    (folder / "app-config.js").write_text("window.config = {};")
    (folder / "plain.css").write_text("a{}")
    return folder.parent


class Archive:
    """asked: what it was asked about"""

    def __init__(self, *away: str) -> None:
        self.away, self.asked = away, list[tuple[Sequence[str], StudyScope]]()

    async def __call__(self, studies: Sequence[str], scope: StudyScope) -> list[str]:
        self.asked.append((studies, scope))
        if "0" in self.away:
            raise Unavailable("PostgreSQL: away")
        return [study for study in studies if study in self.away]


def waits(answer: Answer) -> list[str]:
    """The studies that a page waits for; none if it is the viewer's."""
    page = answer.body.decode()
    if "<title>viewer</title>" in page:
        return []
    found = re.search(r'data-studies="([^"]*)"', page)
    assert found is not None and answer.headers["cache-control"] == "no-store"
    return found[1].split()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("StudyInstanceUIDs=1.2.3", ("1.2.3",)),
        ("studyinstanceuids=1.2,1.3&StudyInstanceUIDs=1.4;1.2", ("1.2", "1.3", "1.4")),
        ("StudyInstanceUIDs=1%2E2&hangingProtocolId=x", ("1.2",)),
        ("", ()),
        ("SeriesInstanceUIDs=1.2", ()),
        ("StudyInstanceUIDs=../../etc,1.2'--,%00", ()),
        ("StudyInstanceUIDs=" + ",".join(f"1.{n}" for n in range(MOST_STUDIES + 1)), ()),
        ("&".join(["StudyInstanceUIDs=1.2"] * 65), ()),
        ("StudyInstanceUIDs=1.2&a=" + "x" * 20_000, ()),
    ],
)
def test_studies_of_an_address_are_few_and_uids(query: str, expected: tuple[str, ...]) -> None:
    assert asked_studies(query.encode()) == expected
    assert asked_studies(b"\xff" + query.encode()) == ()


async def test_the_address_of_a_study_that_is_away_waits_and_others_are_the_viewer(built: Path) -> None:
    archive = Archive("1.2.3", "1.2.5")
    async with site(static=built, away=archive) as here:
        assert waits(await here.get(f"{VIEWER}1.2.4")) == []
        assert waits(await here.get(f"{VIEWER}1.2.3")) == ["1.2.3"]
        assert waits(await here.get(f"{VIEWER}1.2.3,1.2.4,1.2.5")) == ["1.2.3", "1.2.5"]
        assert waits(await here.get("/ohif/segmentation?StudyInstanceUIDs=1.2.3")) == ["1.2.3"]
        assert archive.asked[-1][1] == ADMINISTRATOR.scope
        asked = len(archive.asked)
        assert (await here.get("/ohif/plain.css?StudyInstanceUIDs=1.2.3")).body == b"a{}"
        assert waits(await here.get("/ohif/?StudyInstanceUIDs=")) == []
        assert (await here.get("/ohif/missing.js?StudyInstanceUIDs=1.2.3")).status == 404
        assert len(archive.asked) == asked


@pytest.mark.parametrize("lacking", [None, Action.VIEW, Action.SEARCH])
async def test_nothing_is_said_of_studies_to_who_may_not_look(built: Path, lacking: Action | None) -> None:
    less = (
        None if lacking is None else structs.replace(ADMINISTRATOR, actions=ADMINISTRATOR.actions - {lacking})
    )
    archive = Archive("1.2.3")
    async with site(static=built, away=archive, strangers=less) as here:
        assert waits(await here.get(f"{VIEWER}1.2.3")) == []
    assert archive.asked == []


async def test_the_viewer_itself_says_what_is_wrong_while_nobody_knows(built: Path) -> None:
    async with site(static=built, away=Archive("0")) as here:
        assert waits(await here.get(f"{VIEWER}1.2.3")) == []
        forged = await here.get(f"{VIEWER}1.2.3", "Authorization: Bearer forged")
        assert waits(forged) == []


async def test_the_page_that_waits_runs_its_own_script_only_and_speaks_the_readers_language(
    built: Path,
) -> None:
    async with site(static=built, away=Archive("1.2.3")) as here:
        answer = await here.get(f"{VIEWER}1.2.3", "Accept-Language: ru-RU,ru;q=0.9")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "'sha256-" in policy
        assert answer.headers["content-language"] == "ru"
        page = answer.body.decode()
        texts = re.search(r'data-texts="([^"]*)"', page)
        assert texts is not None and json.loads(unescape(texts[1]))["again"] == "Повторить"


async def told(here: Site) -> dict[str, bool]:
    answer = await here.get("/ohif/app-config.js")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("text/javascript")
    first, rest = answer.body.split(b"\n", 1)
    assert rest == b"window.config = {};"
    known: dict[str, bool] = json.loads(first.removeprefix(b"window.pacs=").removesuffix(b";"))
    return known


@pytest.mark.parametrize(
    ("who", "may"),
    [
        (ADMINISTRATOR, True),
        (structs.replace(ADMINISTRATOR, actions=ADMINISTRATOR.actions - {Action.STORE}), False),
        (None, False),
    ],
)
async def test_the_viewer_is_told_whether_whoever_is_logged_in_may_store(
    built: Path, who: Principal | None, may: bool
) -> None:
    async with site(static=built, strangers=who) as here:
        assert await told(here) == {"mayStore": may}
