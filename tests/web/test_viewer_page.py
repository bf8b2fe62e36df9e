"""The viewer in a browser, from our own server, without an archive behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from tests.web.serving import site
from web.static_files import STATIC

pytestmark = pytest.mark.skipif(
    not (STATIC / "ohif" / "index.html").is_file(), reason="the viewer is not built"
)


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    """A web server on a thread of its own, for the tests of a browser block theirs."""
    started, known = threading.Event(), dict[str, Any]()

    async def run() -> None:
        async with site(static=STATIC) as here:
            known.update(port=here.port, token=trio.lowlevel.current_trio_token(), stop=trio.Event())
            started.set()
            await known["stop"].wait()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        assert started.wait(10)
        yield f"http://127.0.0.1:{known['port']}"
    finally:
        trio.from_thread.run_sync(known["stop"].set, trio_token=known["token"])
        thread.join(10)


def archive_without_studies(route):
    route.fulfill(status=200, content_type="application/dicom+json", body="[]")


@pytest.fixture
def viewer(visit, root):
    return lambda path: visit(f"{root}{path}", routes={"**/dicom-web/**": archive_without_studies})


def test_the_viewer_starts_and_asks_nobody_else(viewer, root):
    page = viewer("/ohif/")
    page.page.get_by_text("No studies available").wait_for()
    page.page.wait_for_load_state("networkidle")
    assert page.outside(root) == []
    assert page.errors == []
    assert page.failed == []
    asked = [url.removeprefix(root) for url in page.requests]
    assert any(path.startswith("/dicom-web/studies?") for path in asked)
    assert all(path.startswith(("/ohif/", "/dicom-web/")) for path in asked)


def test_a_route_of_the_viewer_can_be_opened_directly(viewer, root):
    page = viewer("/ohif/viewer?StudyInstanceUIDs=1.2.3")
    page.page.get_by_text("not available at this time").wait_for()
    page.page.wait_for_load_state("networkidle")
    assert any("StudyInstanceUID=1.2.3" in url for url in page.requests)
    assert page.outside(root) == []
    assert page.errors == []


def test_a_study_of_somebody_who_is_not_logged_in_leads_to_the_login(visit, root):
    stranger = {"**/dicom-web/**": lambda route: route.fulfill(status=401, body="")}
    page = visit(f"{root}/ohif/viewer?StudyInstanceUIDs=1.2.3", routes=stranger)
    page.page.wait_for_url(f"{root}/?next=%2Fohif%2Fviewer%3FStudyInstanceUIDs%3D1.2.3")
