"""The viewer in the hands of somebody who may look and no more, or who has no business with a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.browser import Visit, killed_if_stuck
from tests.system import peers, viewer_data
from tests.system.server import Server
from tests.system.viewer_hands import CONFIRMED, PANE, measure, save
from tests.system.web_peer import search
from web.static_files import STATIC

pytestmark = pytest.mark.skipif(
    not (STATIC / "ohif" / "index.html").is_file(), reason="the viewer is not built"
)
NAME, PASSWORD = "onlooker", "nine lamps by the river"


@pytest.fixture(scope="module")
def onlooker(clinic: Server, browser: Browser) -> Iterator[BrowserContext]:
    """May find and view what is CT, and nothing else."""
    role = {
        "name": "onlookers", "actions": ["study.search", "study.view"], "scope": {"rules": [{"modalities": ["CT"]}]},
    }  # fmt: skip
    assert clinic.ask("POST", "/api/v1/roles", role, token=clinic.token)[0] == 201
    user = {"username": NAME, "password": PASSWORD, "roles": ["onlookers"]}
    assert clinic.ask("POST", "/api/v1/users", user, token=clinic.token)[0] == 201
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    given = {"username": NAME, "password": PASSWORD}
    assert context.request.post(f"{clinic.url}/api/v1/login", data=given, headers={"origin": clinic.url}).ok
    context.add_init_script(CONFIRMED)
    yield context
    context.close()


@pytest.fixture
def viewer(clinic: Server, onlooker: BrowserContext, browser_mark: str) -> Iterator[Callable[[str], Visit]]:
    def open_study(study: str) -> Visit:
        seen = Visit(onlooker.new_page())
        seen.page.goto(f"{clinic.url}/ohif/viewer?StudyInstanceUIDs={study}")
        return seen

    with killed_if_stuck(browser_mark):
        yield open_study


def test_who_may_not_store_is_offered_neither_report_nor_upload_and_told_at_once_where_one_is_asked_for(
    clinic: Server, viewer: Callable[[str], Visit]
) -> None:
    slices = viewer_data.stack(2)
    assert set(peers.send(clinic, *slices)) == {0}
    seen = viewer(slices[0].study)
    seen.page.locator(PANE).first.wait_for()
    with seen.page.expect_response(lambda answer: "/frames/" in answer.url) as frame:
        seen.page.reload()
    assert frame.value.status == 200
    measure(seen)
    seen.page.get_by_text("CSV", exact=True).wait_for()
    assert seen.page.get_by_text("Create SR").count() == 0
    # What the viewer asks on its own when measurements would be lost.
    prompt = "study => window.commandsManager.run('promptSaveReport', { StudyInstanceUID: study, data: {} })"
    seen.page.evaluate(prompt, slices[0].study)
    seen.page.get_by_text("Ask an administrator for the permission study.store").first.wait_for()
    assert seen.page.get_by_placeholder("Report name").count() == 0
    assert seen.page.locator("[data-cy=data-row-details-primary]").count() == 1, (
        "what was drawn is still there"
    )
    seen.page.goto(f"{clinic.url}/ohif/")
    seen.page.get_by_text("Study List").first.wait_for()
    assert seen.page.get_by_text("Upload").count() == 0
    assert search(clinic, f"studies/{slices[0].study}/series", Modality="SR") == []


def test_who_may_not_store_any_more_finds_no_report_that_is_nowhere(
    clinic: Server, viewer: Callable[[str], Visit]
) -> None:
    """The right was taken away, or is thought to be there, while the viewer is open."""
    slices = viewer_data.stack(2)
    assert set(peers.send(clinic, *slices)) == {0}
    seen = viewer(slices[0].study)
    seen.page.locator(PANE).first.wait_for()
    seen.page.evaluate("window.config.mayStore = true")
    measure(seen)
    save(seen, "Kept nowhere")
    seen.page.get_by_text("Ask an administrator for the permission study.store").first.wait_for()
    panel = seen.page.locator("[data-cy=studyBrowser-panel]")
    panel.get_by_text("Grey").first.wait_for()
    assert panel.get_by_text("Kept nowhere").count() == 0
    assert seen.page.locator("[data-cy=data-row-details-primary]").count() == 1, (
        "what was drawn is still there"
    )
    assert search(clinic, f"studies/{slices[0].study}/series", Modality="SR") == []


def test_a_study_outside_of_the_scope_is_one_that_does_not_exist(
    clinic: Server, viewer: Callable[[str], Visit]
) -> None:
    (foreign,) = viewer_data.stack(1, Modality="MR", PatientName="Foreign^Name")
    assert peers.send(clinic, foreign) == [0]
    texts = []
    for study in (foreign.study, viewer_data.new_uid()):
        seen = viewer(study)
        seen.page.get_by_text("not available at this time").wait_for()
        texts.append(seen.page.inner_text("body"))
        assert not [url for url in seen.requests if "/metadata" in url or "/frames/" in url]
        seen.page.close()
    assert texts[0] == texts[1]
    assert "Foreign" not in texts[0]
