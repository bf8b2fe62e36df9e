"""The viewer on a running server, in Chromium: what was stored over DIMSE is what the pixels on the screen say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import imagecodecs
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.browser import Visit, killed_if_stuck
from tests.system import peers, viewer_data
from tests.system.peers import CT, EXPLICIT
from tests.system.server import ADMIN_PASSWORD, Server
from tests.system.viewer_data import COLOURS, GREYS
from tests.system.viewer_hands import CONFIRMED, PANE, measure, save
from tests.system.web_peer import search, value
from web.static_files import STATIC

pytestmark = pytest.mark.skipif(
    not (STATIC / "ohif" / "index.html").is_file(), reason="the viewer is not built"
)
WITHIN_S = 40.0
Quarters = list[tuple[int, ...]]


@pytest.fixture(scope="module")
def session(node: Server, browser: Browser) -> Iterator[BrowserContext]:
    """An administrator's, for all tests here: what a browser has loaded once it keeps."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    given = {"username": "admin", "password": ADMIN_PASSWORD}
    answer = context.request.post(f"{node.url}/api/v1/login", data=given, headers={"origin": node.url})
    assert answer.status == 200, answer.text()
    context.add_init_script(CONFIRMED)
    yield context
    context.close()


@pytest.fixture
def viewer(
    node: Server, session: BrowserContext, browser_mark: str, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Visit]]:
    """Opens a study; nothing may be asked of others, nor violate the policy, nor fail."""
    visits: list[Visit] = []

    def open_study(study: str) -> Visit:
        seen = Visit(session.new_page())
        visits.append(seen)
        seen.page.goto(f"{node.url}/ohif/viewer?StudyInstanceUIDs={study}")
        return seen

    long = request.node.get_closest_marker("slow") is not None
    with killed_if_stuck(browser_mark, 580 if long else 100):
        yield open_study
        for seen in visits:
            assert [url for url in seen.outside(node.url) if not url.startswith("chrome")] == []
            assert long or (seen.errors, seen.failed) == ([], [])
            seen.page.close()


def picture(seen: Visit) -> np.ndarray[Any, Any]:
    """What the first viewport shows: (rows, columns, 3) uint8."""
    return imagecodecs.png_decode(seen.page.locator(PANE).first.screenshot())[..., :3]


def quarters(seen: Visit) -> Quarters:
    """Colours in the middle of the quarters of the square that the viewport shows."""
    shown = picture(seen)
    half = min(shown.shape[:2]) // 2
    row, column, off = shown.shape[0] // 2, shown.shape[1] // 2, half // 2
    places = [
        (row - off, column - off),
        (row - off, column + off),
        (row + off, column - off),
        (row + off, column + off),
    ]
    return [tuple(int(value) for value in shown[y, x]) for y, x in places]


def turned(values: tuple[Any, ...], times: int) -> Quarters:
    """The quarters, after as many quarter turns to the left."""
    square = np.array([value if isinstance(value, tuple) else (value,) * 3 for value in values]).reshape(
        2, 2, 3
    )
    return [tuple(int(value) for value in each) for each in np.rot90(square, times).reshape(4, 3)]


def until(seen: Visit, condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}; errors: {seen.errors}"
        seen.page.wait_for_timeout(100)


def shows(seen: Visit, expected: Quarters, tolerance: int = 3) -> None:
    until(
        seen,
        lambda: np.abs(np.subtract(quarters(seen), expected)).max() <= tolerance,
        f"never saw {expected}, but {quarters(seen)}",
    )


def choose(seen: Visit, series: str) -> None:
    """Show another series, by its description in the list of series."""
    seen.page.locator("[data-cy=studyBrowser-panel]").get_by_text(series, exact=True).first.dblclick()


SYNTAXES = {
    "Explicit": EXPLICIT,
    "Implicit": peers.IMPLICIT,
    "JPEG lossless": viewer_data.LOSSLESS,
    "JPEG-LS": viewer_data.JPEG_LS,
    "JPEG 2000": viewer_data.JPEG_2000,
    "HTJ2K": viewer_data.HTJ2K,
    "RLE": viewer_data.RLE,
}


def test_every_transfer_syntax_is_decoded_to_the_same_picture(
    node: Server, viewer: Callable[[str], Visit]
) -> None:
    """A series for each; each is turned by a quarter against the one before, so that none can pass for its neighbour."""
    common = {"StudyInstanceUID": viewer_data.new_uid(), "PatientID": "SYNTAXES"}
    series = [
        viewer_data.grey(CT, syntax, turns=turns, SeriesDescription=name, SeriesNumber=turns + 1, **common)
        for turns, (name, syntax) in enumerate(SYNTAXES.items())
    ]
    assert set(peers.send(node, *series)) == {0}
    seen = viewer(common["StudyInstanceUID"])
    for turns, name in enumerate(SYNTAXES):
        if turns:
            choose(seen, name)
        shows(seen, turned(GREYS, turns))


def test_kinds_of_images_are_shown_and_scrolled(node: Server, viewer: Callable[[str], Visit]) -> None:
    common = {"StudyInstanceUID": viewer_data.new_uid(), "PatientID": "KINDS"}
    slices = viewer_data.stack(4, viewer_data.MR_IMAGE, Modality="MR", SeriesDescription="Stack", **common)
    radiograph = viewer_data.grey(
        viewer_data.CR_IMAGE, Modality="CR", turns=2, SeriesDescription="Radiograph", SeriesNumber=2, **common
    )
    loop = viewer_data.cine(SeriesDescription="Loop", SeriesNumber=3, **common)
    assert set(peers.send(node, *slices, radiograph, loop)) == {0}
    seen = viewer(common["StudyInstanceUID"])
    shows(seen, turned(GREYS, 3))  # the uppermost slice comes first
    seen.page.locator(PANE).first.hover()
    for turns in (2, 1, 0):
        seen.page.mouse.wheel(0, 100)
        shows(seen, turned(GREYS, turns))
    choose(seen, "Radiograph")
    shows(seen, turned(GREYS, 2))
    choose(seen, "Loop")
    shows(seen, turned(COLOURS, 0), 12)
    seen.page.locator(PANE).first.hover()
    seen.page.mouse.wheel(0, 100)
    shows(seen, turned(COLOURS, 1), 12)


def test_segments_and_contours_lie_on_their_images(node: Server, viewer: Callable[[str], Visit]) -> None:
    slices = viewer_data.stack(3)
    assert set(
        peers.send(node, *slices, viewer_data.structures(slices), viewer_data.segmentation(slices))
    ) == {0}
    seen = viewer(slices[0].study)
    shows(seen, turned(GREYS, 2))

    choose(seen, "Contours")
    seen.page.locator("[data-cy=yes-hydrate-btn]").click()
    until(
        seen,
        lambda: share(seen, lambda red, green, blue: (green > 200) & (red < 80) & (blue < 80)) > 0.0005,
        "no contour",
    )

    choose(seen, "Segments")
    seen.page.locator("[data-cy=yes-hydrate-btn]").click()
    # A quarter of the image, half transparent, on grey.
    until(
        seen,
        lambda: share(seen, lambda red, green, blue: (red > green + 60) & (red > blue + 60)) > 0.1,
        "no segment",
    )


def share(seen: Visit, of: Callable[..., Any]) -> float:
    """The part of the viewport's pixels for which this is so."""
    red, green, blue = np.moveaxis(picture(seen).astype(int), -1, 0)
    return float(np.mean(of(red, green, blue)))


def test_documents_reports_and_waveforms_are_shown(node: Server, viewer: Callable[[str], Visit]) -> None:
    letter, report, ecg = (
        viewer_data.document(),
        peers.example("test-SR.dcm"),
        peers.example("waveform_ecg.dcm"),
    )
    assert set(peers.send(node, letter, report, ecg)) == {0}
    seen = viewer(letter.study)
    until(
        seen,
        lambda: share(seen, lambda red, green, blue: (red > 200) & (green < 60) & (blue < 60)) > 0.02,
        "no page",
    )
    seen = viewer(report.study)
    seen.page.get_by_text("A mass of 3 cm was detected.").wait_for()
    seen = viewer(ecg.study)
    until(seen, lambda: share(seen, lambda red, green, blue: red > 150) > 0.01, "no curves")


_FILM = """async () => {
    const type = 'video/mp4;codecs=avc1.42E01E';
    if (!globalThis.MediaRecorder || !MediaRecorder.isTypeSupported(type)) return null;
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 128;
    const drawing = canvas.getContext('2d'), recorder = new MediaRecorder(canvas.captureStream(15), {mimeType: type});
    const parts = [], ended = new Promise(resolve => recorder.onstop = resolve);
    recorder.ondataavailable = event => parts.push(event.data);
    recorder.start();
    for (let frame = 0; frame < 20; frame++) {
        drawing.fillStyle = frame % 2 ? 'rgb(220, 30, 30)' : 'rgb(225, 30, 30)';
        drawing.fillRect(0, 0, 128, 128);
        await new Promise(resolve => setTimeout(resolve, 66));
    }
    recorder.stop();
    await ended;
    return Array.from(new Uint8Array(await new Blob(parts).arrayBuffer()));
}"""


def test_a_film_is_played(node: Server, session: BrowserContext, viewer: Callable[[str], Visit]) -> None:
    maker = session.new_page()
    stream = maker.evaluate(_FILM)
    maker.close()
    if stream is None:
        pytest.skip("this Chromium makes no H.264")
    film = viewer_data.film(bytes(stream))
    assert peers.send(node, film) == [0]
    seen = viewer(film.study)
    until(
        seen,
        lambda: share(seen, lambda red, green, blue: (red > 180) & (green < 80) & (blue < 80)) > 0.1,
        "no red film",
    )


def test_a_study_that_says_next_to_nothing_of_itself_is_shown(
    node: Server, viewer: Callable[[str], Visit]
) -> None:
    silent = dict.fromkeys(
        ["Modality", "PatientName", "StudyDate", "StudyTime", "StudyDescription", "SeriesDescription", "SeriesNumber",
         "ImageOrientationPatient", "ImagePositionPatient", "FrameOfReferenceUID", "PixelSpacing"]
    )  # fmt: skip
    image = viewer_data.grey(peers.SECONDARY_CAPTURE, **silent)
    assert peers.send(node, image) == [0]
    shows(viewer(image.study), turned(GREYS, 0))


def test_a_measurement_is_saved_and_found_again(node: Server, viewer: Callable[[str], Visit]) -> None:
    slices = viewer_data.stack(3)
    assert set(peers.send(node, *slices)) == {0}
    before = search(node, "studies", StudyInstanceUID=slices[0].study)
    seen = viewer(slices[0].study)
    shows(seen, turned(GREYS, 2))
    length = measure(seen)
    save(seen, "Length of something")
    seen.page.locator("[data-cy=studyBrowser-panel]").get_by_text("Length of something").wait_for()

    (report,) = search(node, f"studies/{slices[0].study}/series", Modality="SR")
    assert value(report, "0008103E") == "Length of something"
    (after,) = search(node, "studies", StudyInstanceUID=slices[0].study)
    blanked = {
        tag for tag, element in before[0].items() if "Value" in element and "Value" not in after.get(tag, {})
    }
    assert blanked == set()

    again = viewer(slices[0].study)
    shows(again, turned(GREYS, 2))
    choose(again, "Length of something")
    again.page.locator("[data-cy=yes-hydrate-btn]").click()
    again.page.locator("[data-cy=trackedMeasurements-btn]").click()
    again.page.locator("[data-cy=data-row-details-primary]").get_by_text(length).wait_for()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_bundled_file_leaves_the_viewer_blank(node: Server, viewer: Callable[[str], Visit]) -> None:
    """pydicom's own files, whatever they hold; what cannot be decoded is said on the console, and leaves the page as it is."""
    shown = 0
    files = [path for path in peers.bundled() if path.suffix == ".dcm" and path.parent.name == "test_files"]
    for path in files:
        if path.stat().st_size > 2_000_000 or peers.from_file(path) is None:
            continue
        instance = peers.example(path.name)
        if peers.send(node, instance) != [0]:
            continue
        seen = viewer(instance.study)
        seen.page.locator(PANE).first.wait_for()
        seen.page.locator(
            "[data-cy=study-browser-thumbnail], [data-cy=study-browser-thumbnail-no-image]"
        ).first.wait_for()
        assert seen.of_policy() == []
        shown += 1
        seen.errors.clear()
        seen.page.close()
    assert shown > 40
