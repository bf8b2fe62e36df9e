"""What is done to studies in the panel: shared, deleted and brought back, downloaded, dropped, looked into."""

from __future__ import annotations

import csv
import io
import re
import zipfile

import pydicom
import pytest
from playwright.sync_api import expect
from pydicom.data import get_testdata_file

from tests.panel.conftest import NO_VIEWER, barriers, rows
from tests.system import viewer_data
from tests.system.peers import make, send, wait_until

UID = "1.2.826.0.1.3680043.8.498.77.{}"
LINK_PASSWORD = "four blue lanterns"


def test_a_shared_study_opens_without_a_login_and_nothing_else_does(panel, visit, root):
    page = panel(f"/study/{UID.format(3)}").page
    page.get_by_role("button", name="Share", exact=True).click()
    dialog = page.get_by_role("dialog", name="Share 1 study")
    dialog.get_by_role("textbox", name="Password").fill(LINK_PASSWORD)
    dialog.get_by_label("Note").fill("for the surgeon")
    assert barriers(page) == []
    dialog.get_by_role("button", name="Make a link").click()
    link = dialog.locator("code").inner_text()
    dialog.get_by_role("button", name="Done").click()

    guest = visit(link, locale="en-GB", routes=NO_VIEWER).page
    guest.locator("input[type=password]").fill("a guess")
    guest.locator("button[type=submit]").click()
    expect(guest.get_by_role("alert")).to_be_visible()
    guest.locator("input[type=password]").fill(LINK_PASSWORD)
    guest.locator("button[type=submit]").click()
    guest.wait_for_url(re.compile(f"/ohif/viewer.*StudyInstanceUIDs={re.escape(UID.format(3))}"))
    asked = guest.context.request
    found = asked.get(f"{root}/dicom-web/studies").json()
    assert [study["0020000D"]["Value"] for study in found] == [[UID.format(3)]]
    assert asked.get(f"{root}/dicom-web/studies/{UID.format(2)}/metadata").status == 404

    page.get_by_role("tab", name="Share links").click()
    row = page.get_by_role("row", name=re.compile("for the surgeon"))
    expect(row).to_contain_text("valid")
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    assert barriers(page) == []
    guest.goto(link)
    expect(guest.locator("input[type=password]")).to_have_count(0)


def test_what_was_deleted_is_brought_back_at_once_or_later(panel, root):
    page = panel("/?q=PANEL-2").page
    expect(rows(page)).to_have_count(1)
    page.get_by_role("checkbox", name="Select PANEL-2").check()
    page.get_by_role("region", name="Selected studies").get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete 1 study?")
    expect(dialog).to_contain_text("2 images")
    dialog.get_by_role("button", name="Delete").click()
    expect(rows(page)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(rows(page)).to_have_count(1)

    page.goto(f"{root}/study/{UID.format(2)}")
    page.get_by_role("button", name="Delete", exact=True).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url(f"{root}/")
    page.goto(f"{root}/deletions")
    row = page.get_by_role("row", name=re.compile("Panel2"))
    expect(row).to_contain_text("admin")
    assert barriers(page) == []
    row.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Nothing was deleted lately")).to_be_visible()
    page.goto(f"{root}/?q=PANEL-2")
    expect(rows(page)).to_have_count(1)


def test_tags_are_searched_by_number_keyword_and_value(panel):
    page = panel("/?patient_id=1CT1").page
    rows(page).get_by_role("link", name="CompressedSamples, CT1").click()
    page.get_by_role("button", name="All tags").first.click()
    drawer = page.get_by_role("dialog", name="All tags")
    expect(drawer.get_by_role("status")).to_contain_text("tags")
    for wanted in ("0010,0020", "patientid", "1CT1"):
        drawer.get_by_role("textbox", name="Search tags").fill(wanted)
        expect(drawer.get_by_role("row").filter(has_text="(0010,0020)").first).to_contain_text("1CT1")
        expect(drawer.get_by_text("(0008,0060)")).to_have_count(0)
    assert barriers(page) == []


def test_a_search_is_saved_found_again_and_forgotten(panel):
    page = panel("/?modality=MR&sort=-number_of_instances").page
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Saved searches").click()
    page.get_by_label("Save this search as").fill("Large MR")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("button", name="Large MR", exact=True)).to_be_visible()
    assert barriers(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear filters").click()
    expect(page).not_to_have_url(re.compile("modality"))
    page.reload()
    page.get_by_role("button", name="Saved searches").click()
    page.get_by_role("button", name="Large MR", exact=True).click()
    expect(page).to_have_url(re.compile("modality=MR.*sort=-number_of_instances"))
    expect(rows(page).first).to_contain_text("PANEL-6")
    page.get_by_role("button", name="Saved searches").click()
    page.get_by_role("button", name="Delete the search Large MR").click()
    expect(page.get_by_text("None yet")).to_be_visible()


def test_the_list_is_taken_along_as_csv(panel):
    page = panel("/?q=PANEL&sort=study_date").page
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV").click()
    lines = list(csv.DictReader(io.StringIO(waiting.value.path().read_text("utf-8-sig"))))
    assert [line["patient_id"] for line in lines] == [f"PANEL-{number}" for number in range(1, 7)]


def test_one_study_and_several_are_downloaded_as_a_zip(panel):
    page = panel("/?q=PANEL&sort=study_date").page
    # A file dialog cannot be answered here; without it the browser's own download is used.
    page.evaluate("delete window.showSaveFilePicker; delete Window.prototype.showSaveFilePicker")
    for number, images in ((3, 3), (4, 7)):
        page.get_by_role("checkbox", name=f"Select PANEL-{number}").check()
        with page.expect_download() as waiting:
            page.get_by_role("region", name="Selected studies").get_by_text("Download zip").click()
        with zipfile.ZipFile(waiting.value.path()) as archive:
            assert archive.testzip() is None
            dicom = [name for name in archive.namelist() if name.endswith(".dcm")]
            assert len(dicom) == images
            assert pydicom.dcmread(archive.open(dicom[0])).PatientID.startswith("PANEL-")


def test_files_and_folders_are_dropped_onto_the_list(panel, tmp_path):
    page = panel("/?q=DROPPED").page
    folder = tmp_path / "exam" / "series"
    folder.mkdir(parents=True)
    for number, name in enumerate(("CT_small.dcm", "MR_small.dcm")):
        dataset = pydicom.dcmread(get_testdata_file(name))
        dataset.PatientID, dataset.PatientName = f"DROPPED-{number}", "Drop^Ped"
        dataset.save_as([tmp_path, folder][number] / "image.dcm")
    mouse = page.context.new_cdp_session(page)
    files = [str(tmp_path / "image.dcm"), str(tmp_path / "exam")]
    data = {"items": [], "files": files, "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        mouse.send("Input.dispatchDragEvent", {"type": event, "x": 600, "y": 400, "data": data})
        if event == "dragOver":
            expect(page.locator(".drop-hint")).to_be_visible()
    expect(page.get_by_text("2 files stored")).to_be_visible()
    expect(rows(page)).to_have_count(2)
    expect(page.locator(".drop-hint")).to_have_count(0)


def test_a_series_plays_while_it_is_pointed_at(panel, server):
    slices = viewer_data.stack(3, PatientID="CINE", PatientName="Ci^Ne")
    assert set(send(server, *slices)) == {0}
    page = panel("/?q=CINE").page
    page.get_by_role("button", name="Preview: CINE").hover()
    thumbnail = page.locator(".strip .thumbnail")
    still = thumbnail.locator("img").first
    expect(still).to_be_visible()
    wait_until(lambda: still.evaluate("image => image.naturalWidth") > 0, "the thumbnail is shown")
    thumbnail.hover()
    seen = set()
    for count in ("1/3", "2/3", "3/3"):
        expect(thumbnail.locator(".cine-count")).to_have_text(count)
        seen.add(thumbnail.locator(".cine").get_attribute("src"))
    assert len(seen) > 1
    cine = thumbnail.locator(".cine")
    wait_until(lambda: cine.evaluate("image => image.naturalWidth") > 0, "a frame is shown")


def test_an_arrival_is_told_by_the_live_topic_and_moves_nothing(panel, server):
    page = panel("/?q=ARRIVES").page
    told: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda text: told.append(str(text))))
    page.reload()
    expect(page.get_by_text("No study fits")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    first, second = (make(PatientID=f"ARRIVES-{number}", PatientName="Late^One") for number in (1, 2))
    send(server, first)
    expect(rows(page)).to_have_count(1)
    send(server, second)
    pill = page.get_by_role("button", name="1 new study")
    expect(pill).to_be_visible(timeout=15_000)
    expect(rows(page)).to_have_count(1)
    pill.click()
    expect(rows(page)).to_have_count(2)
    changes = [text for text in told if '"studies"' in text and '"change"' in text]
    assert any("ARRIVES-2" in text for text in changes)


@pytest.mark.slow
def test_arrivals_are_asked_for_where_no_websocket_gets_through(panel, server):
    page = panel("/?q=PROXIED").page
    page.context.route_web_socket("**/api/v1/live", lambda socket: socket.close())
    page.reload()
    expect(page.get_by_role("status").filter(has_text="Offline")).to_be_visible()
    send(server, make(PatientID="PROXIED", PatientName="Late^One"))
    expect(rows(page)).to_have_count(1, timeout=25_000)
