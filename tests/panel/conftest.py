"""A server with a few studies, and somebody logged in to it by the panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, StorageState, expect

from tests.browser import Visit, browser, browser_mark, visit
from tests.system.peers import Instance, example, make, send
from tests.system.server import ADMIN_PASSWORD, Server, running
from web.static_files import STATIC

__all__ = ["browser", "browser_mark", "visit"]

AXE = Path(__file__).resolve().parents[2] / "web" / "ui" / "node_modules" / "axe-core" / "axe.min.js"
STUDIES = 6
expect.set_options(
    timeout=20_000
)  # the usual five seconds are short for a machine that tests other things, too
NO_VIEWER = {"**/ohif/*.js": lambda route: route.abort()}  # where it is enough that somebody got there
_IMPACTS = {"serious", "critical", "moderate"}


def studies() -> list[Instance]:
    """Study number i has i images; the one of each second is MR."""
    made = []
    for number in range(1, STUDIES + 1):
        study, series = f"1.2.826.0.1.3680043.8.498.77.{number}", f"1.2.826.0.1.3680043.8.498.77.{number}.1"
        for image in range(number):
            made.append(
                make(
                    StudyInstanceUID=study,
                    SeriesInstanceUID=series,
                    PatientName=f"Panel{number}^Test",
                    PatientID=f"PANEL-{number}",
                    StudyDate=f"2024010{number}",
                    StudyDescription=f"Description {number}",
                    AccessionNumber=f"ACC{number}",
                    Modality="MR" if number % 2 == 0 else "CT",
                    InstanceNumber=str(image + 1),
                )
            )
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not (STATIC / "panel" / "index.html").is_file():
        pytest.skip('the panel is not built: "make ui-panel"')
    folder = tmp_path_factory.mktemp("panel")
    with running(Server(folder / "data", workers=1)) as server:
        assert set(send(server, *studies(), example("CT_small.dcm"))) == {0}
        yield server


@pytest.fixture
def root(server: Server) -> str:
    return f"http://127.0.0.1:{server.web_port}"


def rows(page: Page) -> Locator:
    """Of the list of studies."""
    return page.locator("tbody tr[aria-rowindex]")


def log_in(page: Page, password: str = ADMIN_PASSWORD, name: str = "admin") -> None:
    page.locator("input[autocomplete=username]").fill(name)
    page.locator("input[autocomplete=current-password]").fill(password)
    page.locator("button[type=submit]").click()


@pytest.fixture(scope="module")
def session(browser: Browser, server: Server) -> StorageState:
    """The administrator's cookie: one login for all tests of a module that do not end it."""
    context = browser.new_context()
    given = {"username": "admin", "password": ADMIN_PASSWORD}
    assert context.request.post(f"http://127.0.0.1:{server.web_port}/api/v1/login", data=given).ok
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def panel(visit: Callable[..., Visit], root: str, session: StorageState) -> Callable[..., Visit]:
    """``panel(path, **options of the context)``: the page as the administrator sees it."""

    def open_page(path: str = "/", **options: Any) -> Visit:
        usual = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", "storage_state": session}
        visited = visit(f"{root}{path}", **{**usual, **options})
        visited.page.get_by_role("navigation", name="Pages").wait_for()
        return visited

    return open_page


def barriers(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 AA: rule, element."""
    if not AXE.is_file():
        pytest.skip('axe is not installed: "make ui-panel"')
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """async () => (await axe.run(document, {
            runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
            rules: {'target-size': {enabled: true}},
        })).violations"""
    )
    return [
        f"{violation['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for violation in found
        if violation["impact"] in _IMPACTS
        for node in violation["nodes"]
    ]
