"""The pages of those who run the archive, on a real server: nodes, audit, settings, alerts. And whom they are not for."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.panel.conftest import NO_VIEWER, barriers, log_in, rows
from tests.system.peers import make, send
from tests.system.server import free_port

UI = Path(__file__).resolve().parents[2] / "web" / "ui"
NODE = UI.parents[1] / ".venv" / "node" / "bin"
UID = "1.2.826.0.1.3680043.8.498.77.{}"
PASSWORD = "correct horse battery staple 7"
ELSEWHERE = ["https://evil.example/", "/\\evil.example", "/login?next=/login", "/api/v1/me"]


def test_a_node_is_added_answers_is_changed_and_removed(panel, server):
    page = panel("/nodes").page
    for ae_title, port in (("PACS", server.dicom_port), ("GONE", free_port())):
        page.get_by_role("button", name="Add a node").click()
        dialog = page.get_by_role("dialog", name="Add a node")
        dialog.get_by_label("AE title").first.fill(ae_title)
        dialog.get_by_label("Host").fill("127.0.0.1")
        dialog.get_by_label("Port").fill(str(port))
        assert ae_title != "GONE" or barriers(page) == []
        dialog.get_by_role("button", name="Save").click()
        expect(dialog).to_have_count(0)
    for ae_title, outcome in (("PACS", re.compile(r"Answered in \d+ ms")), ("GONE", "No answer")):
        row = page.get_by_role("row", name=re.compile(ae_title))
        row.get_by_role("button", name=f"C-ECHO: {ae_title}").click()
        expect(row.get_by_role("status")).to_contain_text(outcome)
    page.get_by_role("button", name="Edit: GONE").click()
    dialog = page.get_by_role("dialog", name="Node GONE")
    dialog.get_by_label("Host").fill("192.0.2.7")
    dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name=re.compile("GONE"))
    expect(row).to_contain_text("192.0.2.7")
    row.get_by_role("button", name="Delete: GONE").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert barriers(page) == []


def test_the_audit_is_searched_unfolded_verified_and_taken_along(panel, root):
    visited = panel("/?q=PANEL-4")
    page = visited.page
    rows(page).get_by_role("link", name="Panel4, Test").click()
    expect(page.get_by_role("tab", name="1 series")).to_be_visible()
    page.goto(f"{root}/audit?event=login")
    table = page.get_by_role("region", name="Audit")
    expect(table.get_by_role("row", name=re.compile("Sign-in")).first).to_be_visible()
    expect(table.get_by_text("Stored")).to_have_count(0)
    table.get_by_role("button", name="Details").first.click()
    expect(table.get_by_text("session").first).to_be_visible()
    page.locator(".filter-bar").get_by_role("button", name=re.compile("^What")).click()
    page.get_by_text("Stored", exact=True).click()
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("event=store"))
    page.get_by_role("textbox", name="Patient ID").fill("PANEL-4")
    expect(table.get_by_role("row", name=re.compile("Stored.*PANEL-4")).first).to_be_visible()
    expect(table.get_by_text("PANEL-3")).to_have_count(0)
    by_who = table.get_by_role("columnheader", name="Who")
    by_who.get_by_role("button").click()
    expect(page).to_have_url(re.compile("sort=who"))
    expect(by_who).to_have_attribute("aria-sort", "ascending")
    when = table.get_by_role("columnheader", name="When")
    when.get_by_role("button").click()
    expect(when).to_have_attribute("aria-sort", "descending")
    when.get_by_role("button").click()
    expect(page).to_have_url(re.compile("sort=id"))
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_text("Chain intact")).to_be_visible()
    assert barriers(page) == []
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as waiting:
        page.get_by_role("menuitem", name="CSV").click()
    with waiting.value.path().open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["event"], line["patient_id"]) for line in lines} == {("store", "PANEL-4")}
    assert visited.of_policy() == []


def test_a_live_setting_is_changed_after_a_review_and_taken_back(panel, server):
    page = panel("/settings").page
    search = page.get_by_role("textbox", name="Search settings")
    search.fill("web.undo_s")
    row = page.get_by_role("row", name=re.compile(r"web\.undo_s"))
    usual = row.get_by_role("cell").nth(1).inner_text()
    row.get_by_role("button", name="Change web.undo_s").click()
    dialog = page.get_by_role("dialog", name="Change web.undo_s")
    expect(dialog.get_by_role("button", name="Review")).to_be_disabled()
    dialog.get_by_label("web.undo_s", exact=True).fill("-5")
    dialog.get_by_role("button", name="Review").click()
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    dialog.get_by_role("button", name="Edit").click()
    dialog.get_by_label("web.undo_s", exact=True).fill("7200")
    dialog.get_by_role("button", name="Review").click()
    expect(dialog.locator(".added")).to_have_text("7200")
    assert barriers(page) == []
    dialog.get_by_role("button", name="Apply").click()
    expect(row).to_contain_text("7200")
    expect(row).to_contain_text("changed by admin")
    row.get_by_role("button", name="Take the change of web.undo_s back").click()
    expect(row.get_by_role("cell").nth(1)).to_have_text(usual)
    search.fill("dicom.ae_title")
    expect(page.get_by_role("row", name=re.compile("dicom.ae_title"))).to_be_visible()
    expect(page.get_by_role("button", name="Change dicom.ae_title")).to_have_count(0)


def test_an_alert_is_on_every_page_until_it_is_over(panel, server):
    page = panel("/tokens").page
    uid = make().uid
    send(server, *(make(SOPInstanceUID=uid, PatientName=name) for name in ("One^A", "Two^B")))
    badge = page.get_by_role(
        "link", name=re.compile(r"^\d+ alerts?$")
    )  # a disk that is nearly full is one, too
    expect(badge).to_be_visible()
    badge.click()
    expect(page.get_by_role("status", name="What needs attention")).to_contain_text("quarantine")
    page.get_by_role("heading", name="System").hover()
    expect(page.get_by_role("tooltip")).to_have_count(0)
    assert barriers(page) == []


def test_the_panels_types_are_those_of_the_servers_description(server, tmp_path):
    node = shutil.which("node", path=f"{os.environ['PATH']}:{NODE}")
    if node is None or not (UI / "node_modules" / "openapi-typescript").is_dir():
        pytest.skip('openapi-typescript is not installed: "make ui-panel"')
    description, made = tmp_path / "openapi.json", tmp_path / "schema.d.ts"
    description.write_bytes(server.get("/api/v1/openapi.json")[1])
    subprocess.run([node, UI / "dev" / "api.mjs", description, made], check=True, timeout=60)
    kept = (UI / "src" / "api" / "schema.d.ts").read_text()
    assert made.read_text() == kept, 'run "npm run api" in web/ui while a server runs (PACS_URL)'


def test_workers_and_actors_that_are_well_are_shown_as_well(panel):
    page = panel("/system").page
    worker = page.get_by_role("region", name="Worker 0", exact=True)
    expect(worker.locator(".section-head .state")).to_have_attribute("data-tone", "good")
    actors = page.get_by_role("region", name="Actors, Worker 0").locator(".state")
    expect(actors.nth(3)).to_be_visible()
    assert set(actors.evaluate_all("all => all.map(one => one.dataset.tone)")) <= {"good", "ended"}


@pytest.fixture(scope="module")
def users(server):
    """Somebody who may view and nothing else, and somebody who may only see the nodes."""
    for name, role, actions in (
        ("viewer-only", "viewers", ["study.search", "study.view"]),
        ("nodes-only", "node watchers", ["nodes.read"]),
    ):
        body = {"name": role, "actions": actions, "scope": {"everything": True}}
        assert server.ask("POST", "/api/v1/roles", body, token=server.token)[0] == 201
        user = {"username": name, "password": PASSWORD, "roles": [role]}
        assert server.ask("POST", "/api/v1/users", user, token=server.token)[0] == 201


def as_user(visit, url, name):
    page = visit(url, locale="en-GB").page
    log_in(page, PASSWORD, name)
    page.get_by_role("navigation", name="Pages").wait_for()
    return page


def test_who_may_only_view_finds_no_button_that_is_not_for_them(visit, root, users):
    page = as_user(visit, f"{root}/study/{UID.format(4)}", "viewer-only")
    expect(page.get_by_role("link", name="Open in viewer")).to_be_visible()
    expect(page.get_by_role("button", name="All tags")).to_have_count(4)
    for hidden in ("Download", "Share", "Delete"):
        expect(page.get_by_role("button", name=hidden)).to_have_count(0)
        expect(page.get_by_role("link", name=hidden)).to_have_count(0)
    expect(page.get_by_role("tab")).to_have_count(1)
    links = page.get_by_role("navigation", name="Pages").get_by_role("link")
    assert links.all_inner_texts() == ["Studies", "API tokens"]
    page.goto(f"{root}/?q=PANEL-4")
    page.get_by_role("checkbox", name="Select PANEL-4").check()
    bar = page.get_by_role("region", name="Selected studies")
    assert [button.get_attribute("aria-label") for button in bar.get_by_role("button").all()] == [
        "Clear the selection"
    ]
    page.goto(f"{root}/audit")
    expect(page.get_by_text("This page is not for your account")).to_be_visible()
    assert barriers(page) == []


def test_who_may_not_search_studies_begins_with_a_page_of_theirs(visit, root, users):
    page = as_user(visit, root, "nodes-only")
    page.wait_for_url(f"{root}/nodes")
    expect(page.get_by_text(re.compile("No nodes yet|PACS")).first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("C-ECHO|Add a node|Edit"))).to_have_count(0)


def test_a_session_that_ends_leads_to_the_login_and_back(panel, root):
    page = panel("/?q=PANEL").page
    expect(rows(page)).to_have_count(6)
    page.context.clear_cookies()
    page.get_by_role("button", name="Study date", exact=True).click()
    page.wait_for_url(re.compile("/login"))
    log_in(page)
    expect(rows(page).first).to_contain_text("PANEL-6")
    expect(page).to_have_url(f"{root}/?q=PANEL&sort=-study_date")


def test_the_viewer_sends_to_the_login_which_leads_back_to_it(visit, root):
    viewer = f"/ohif/viewer?StudyInstanceUIDs={UID.format(1)}"
    page = visit(
        f"{root}/?next={viewer.replace('?', '%3F').replace('=', '%3D')}", locale="en-GB", routes=NO_VIEWER
    ).page
    log_in(page)
    page.wait_for_url(f"{root}{viewer}", wait_until="commit")


def test_the_login_leads_to_no_other_site(panel, root):
    page = panel().page
    for evil in ELSEWHERE:
        page.evaluate("evil => location.assign(`/?next=${encodeURIComponent(evil)}`)", evil)
        page.wait_for_url(f"{root}/")
        expect(rows(page).first).to_be_visible()
