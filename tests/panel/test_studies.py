"""Login, the list of studies and one study, as people use them."""

from __future__ import annotations

import re

import pydicom
import pytest
from playwright.sync_api import expect
from pydicom.data import get_testdata_file

from tests.panel.conftest import STUDIES, barriers, log_in, rows
from web.static_files import STATIC

UID = "1.2.826.0.1.3680043.8.498.77.{}"


def test_a_stranger_is_sent_to_the_login_and_then_to_where_they_wanted(visit, root):
    page = visit(f"{root}/?modality=MR", locale="en-GB").page
    page.wait_for_url(re.compile("/login"))
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    assert barriers(page) == []
    log_in(page)
    expect(rows(page)).to_have_count(STUDIES // 2)
    assert "modality=MR" in page.url


def test_the_first_page_is_the_list_latest_first_and_breaks_no_policy(panel, root):
    visited = panel()
    page = visited.page
    expect(rows(page)).to_have_count(STUDIES + 1)
    expect(page.get_by_text(f"{STUDIES + 1} studies")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert visited.of_policy() == []
    assert visited.outside(root) == []
    assert barriers(page) == []


def test_filters_and_order_are_the_servers_and_live_in_the_address(panel):
    page = panel().page
    page.get_by_label("Filter: Patient", exact=True).fill("panel")
    expect(rows(page)).to_have_count(STUDIES)
    page.get_by_role("button", name="Study date", exact=True).click()
    expect(rows(page).first).to_contain_text(f"PANEL-{STUDIES}")
    page.get_by_role("button", name="Study date", exact=True).click()
    expect(rows(page).first).to_contain_text("PANEL-1")
    page.get_by_role("button", name="Filter: Modality").click()
    page.get_by_label("MR", exact=True).check()
    page.keyboard.press("Escape")
    expect(rows(page)).to_have_count(STUDIES // 2)
    expect(page).to_have_url(re.compile(r"patient_name=panel.*modality=MR.*sort=study_date"))
    page.reload()
    expect(rows(page)).to_have_count(STUDIES // 2)
    expect(rows(page).first).to_contain_text("PANEL-2")
    page.get_by_role("button", name="Clear filters").click()
    expect(rows(page)).to_have_count(STUDIES + 1)
    page.go_back()
    expect(rows(page)).to_have_count(STUDIES // 2)


def test_columns_are_chosen(panel):
    page = panel().page
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Study UID", exact=True).check()
    page.get_by_label("Patient ID", exact=True).uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("columnheader", name="Study UID")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Patient ID")).to_have_count(0)


def test_keys_move_select_and_open_but_not_inside_fields(panel):
    page = panel("/?q=PANEL&sort=study_date").page
    expect(rows(page)).to_have_count(STUDIES)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_text("1 study selected")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("textbox", name="Search studies")).to_be_focused()
    page.keyboard.type("jx?")
    expect(page.get_by_role("textbox", name="Search studies")).to_have_value("PANELjx?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(rows(page)).to_have_count(STUDIES + 1)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    assert barriers(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/study/"))


def test_the_viewer_is_one_click_away(panel):
    page = panel("/?q=PANEL-3").page
    link = page.get_by_role("link", name="Open in viewer: PANEL-3")
    expect(link).to_have_attribute("href", f"/ohif/viewer?StudyInstanceUIDs={UID.format(3)}")


def test_the_viewer_is_fetched_ahead_while_the_list_is_read(panel):
    if not (STATIC / "ohif" / "index.html").is_file():
        pytest.skip('the viewer is not built: "make ui-viewer"')
    visited = panel("/tokens")
    with visited.page.expect_request(re.compile(r"/ohif/app\.bundle\..*\.js$")):
        visited.page.get_by_role("link", name="Studies").click()
    assert visited.of_policy() == []


def test_the_palette_finds_studies_and_pages(panel):
    page = panel().page
    expect(rows(page)).to_have_count(STUDIES + 1)
    page.keyboard.press("Control+k")
    # Filling waits until the palette is there; keys would be lost before.
    page.get_by_placeholder("Page, patient, ID, accession number…").fill("PANEL-5")
    page.get_by_role("button", name=re.compile("Panel5, Test")).click()
    page.wait_for_url(re.compile(f"/study/{UID.format(5)}"))
    expect(page.get_by_role("heading", name="Panel5, Test")).to_be_visible()


def test_a_study_shows_its_series_and_images(panel):
    visited = panel(f"/study/{UID.format(4)}")
    page = visited.page
    expect(page.get_by_role("heading", name="Panel4, Test")).to_be_visible()
    expect(page.get_by_role("tab", name="1 series")).to_be_visible()
    expect(page.get_by_role("region", name="Images of the series").locator("tbody tr")).to_have_count(4)
    assert visited.of_policy() == []
    assert barriers(page) == []


def test_a_study_that_is_not_there_says_so(panel):
    page = panel("/study/1.2.3").page
    expect(page.get_by_text("does not exist")).to_be_visible()


def test_files_are_uploaded_and_what_is_no_dicom_is_named(panel, tmp_path):
    page = panel("/?q=UPLOADED").page
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    dataset.PatientID, dataset.PatientName = "UPLOADED", "Up^Load"
    dataset.save_as(tmp_path / "image.dcm")
    (tmp_path / "notes.txt").write_text("no image")
    page.get_by_test_id("upload-files").set_input_files([tmp_path / "image.dcm", tmp_path / "notes.txt"])
    expect(page.get_by_text("1 file stored")).to_be_visible()
    expect(page.get_by_text("not a DICOM file")).to_be_visible()
    expect(rows(page)).to_have_count(1)
    assert barriers(page) == []


@pytest.mark.parametrize(
    ("locale", "lang", "heading", "total"),
    [
        ("zh-CN", "zh-Hans", "患者", "项检查"),
        pytest.param("ru-RU", "ru", "Пациент", "исследован", marks=pytest.mark.slow),
    ],
)
def test_the_panel_speaks_the_browsers_language(visit, root, locale, lang, heading, total):
    page = visit(root, locale=locale, viewport={"width": 820, "height": 1100}, color_scheme="light").page
    expect(page.locator("html")).to_have_attribute("lang", lang)
    log_in(page)
    expect(page.get_by_role("columnheader", name=heading, exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(rf"^\d+ {total}"))).to_be_visible()
    assert barriers(page) == []
