"""The panel's pages about storage on a real server with a nearline store and an archive."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.panel.conftest import NO_VIEWER, barriers, rows
from tests.system.peers import make, send, wait_until
from tests.system.server import Server, running
from web.static_files import STATIC

NEAR, FAR = "nas", "vault"
UID = "1.2.826.0.1.3680043.8.498.78.{}"
OHIF = "script[src*='/ohif/app.bundle.']"
NO_BUNDLES = {
    "**/ohif/*.bundle.*.js": lambda route: route.abort()
}  # the viewer's page with our configuration, without OHIF
KINDS = {
    1: "XA",
    2: "US",
    3: "NM",
    4: "MG",
    5: "CR",
    6: "OT",
    7: "PX",
    8: "ES",
}  # one study of each, for a test of its own


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not (STATIC / "panel" / "index.html").is_file():
        pytest.skip('the panel is not built: "make ui-panel"')
    folder = tmp_path_factory.mktemp("storage")
    stores = ""
    for name, tier in ((NEAR, "nearline"), (FAR, "archive")):
        (folder / name).mkdir()
        stores += f'[stores.{name}]\nkind = "folder"\ntier = "{tier}"\npath = "{folder / name}"\nreserve_bytes = 0\n'
    (folder / "pacs.toml").write_text(
        f'[lifecycle]\nevery_s = 3600\n[integrity]\ncycle_days = 0\n[backup]\nto = "{folder / "backups"}"\n{stores}'
    )
    with running(
        Server(folder / "data", workers=1, options=("--config", str(folder / "pacs.toml")))
    ) as server:
        made = [
            make(
                StudyInstanceUID=UID.format(number), SeriesInstanceUID=UID.format(f"{number}.1"),
                PatientName=f"Stored{number}^Test", PatientID=f"STORED-{number}", Modality=modality,
                StudyDate="20200101", InstanceNumber=str(image),
            )
            for number, modality in KINDS.items()
            for image in (1, 2, 3)
        ]  # fmt: skip
        assert set(send(server, *made)) == {0}
        yield server


def move(server: Server, number: int, **order: str) -> None:
    """Move a study, and wait until it is there."""
    body = {"study_instance_uid": UID.format(number), **order}
    status, answer = server.ask("POST", "/api/v1/storage/moves", body, token=server.token)
    assert status == 202, answer
    wait_until(
        lambda: server.sql("SELECT 1 FROM tier_moves WHERE state IN ('waiting', 'running')") == [], "moved"
    )


def availability(server: Server, number: int) -> str:
    [found] = server.sql(
        f"SELECT availability FROM studies WHERE study_instance_uid = '{UID.format(number)}'"
    )
    return found


def choose(page: Page, within: Locator, label: str, option: str) -> None:
    within.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_a_policy_is_written_tried_and_run_and_its_move_is_seen_as_it_goes(
    panel: Any, server: Server, root: str
) -> None:
    watcher = panel("/tokens").page
    told: list[str] = []
    watcher.on("websocket", lambda socket: socket.on("framereceived", lambda text: told.append(str(text))))
    watcher.goto(f"{root}/storage/moves")
    expect(watcher.get_by_text("Nothing is under way")).to_be_visible()
    page = panel("/storage/policies").page
    page.get_by_role("button", name="Add a policy").click()
    dialog = page.get_by_role("dialog", name="Add a policy")
    dialog.get_by_role("textbox", name="Name").fill("Angiography away")
    dialog.get_by_label("Study date at least").fill("30")
    dialog.get_by_label("Modalities").first.fill("XA")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Dry run").click()
    expect(dialog.get_by_role("alert")).to_contain_text("move wants to_store")
    choose(page, dialog, "To", NEAR)
    choose(page, dialog, "Compression there", "Zstandard")
    expect(dialog.get_by_role("alert")).to_have_count(0)
    dialog.get_by_role("button", name="Dry run").click()
    expect(dialog.get_by_role("status")).to_contain_text("It would take 1 study")
    expect(dialog.get_by_role("link", name="Stored1, Test")).to_be_visible()
    assert barriers(page) == []
    assert availability(server, 1) == "ONLINE"
    dialog.locator("label", has_text="Enabled").click()
    dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name=re.compile("Angiography away"))
    expect(row).to_contain_text("online → nas · Zstandard")
    expect(row).to_contain_text("XA · taken ≥ 30 days ago")
    page.get_by_role("button", name="Run all now").click()
    gone = watcher.get_by_role("row", name=re.compile("Stored1, Test"))
    expect(gone).to_contain_text("Angiography away")
    expect(gone).to_contain_text("done")
    expect(gone).to_contain_text("3 of 3 images")
    assert any('"moves"' in text and '"change"' in text and UID.format(1) in text for text in told)
    assert barriers(watcher) == []
    row.get_by_role("button", name="History of Angiography away").click()
    history = page.get_by_role("dialog", name="History of Angiography away").get_by_role("row")
    expect(history).to_have_count(2)
    assert barriers(page) == []


def test_a_policy_is_switched_off_changed_and_removed(panel: Any, server: Server) -> None:
    rule = {"action": "copy", "to_store": NEAR, "when": {"modalities": ["OP"], "at_least_bytes": 1_500_000}}
    body = {"name": "Eyes", "enabled": True, "rule": rule}
    assert server.ask("POST", "/api/v1/storage/policies", body, token=server.token)[0] == 201
    page = panel("/storage/policies").page
    row = page.get_by_role("row", name=re.compile("Eyes"))
    row.get_by_role("switch", name="Enable the policy Eyes").click(force=True)
    wait_until(
        lambda: server.sql("SELECT enabled FROM lifecycle_policies WHERE name = 'Eyes'") == ["f"], "off"
    )
    row.get_by_role("button", name="Edit: Eyes").click()
    dialog = page.get_by_role("dialog", name="Policy Eyes")
    expect(dialog.get_by_label("Not smaller than")).to_have_value("1.5 MB")
    choose(page, dialog, "Action", "Delete for good")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("delete wants retention_days")
    dialog.get_by_label("Kept in any case for").fill("3650")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("kept 3650 days")
    [kept] = server.sql(
        "SELECT rule -> 'when' ->> 'at_least_bytes' FROM lifecycle_policies WHERE name = 'Eyes'"
    )
    assert kept == "1500000"
    row.get_by_role("button", name="Delete: Eyes").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def test_a_nearline_study_is_marked_in_the_list_and_comes_back_by_a_click(
    panel: Any, server: Server, root: str
) -> None:
    move(server, 2, from_store="online", to_store=NEAR)
    page = panel("/?q=STORED-2").page
    expect(rows(page).first).to_contain_text("Nearline")
    page.goto(f"{root}/?availability=NEARLINE&columns=patient_name,availability&q=STORED-2")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).get_by_role("link", name="Stored2, Test", exact=True)).to_be_visible()
    page.goto(f"{root}/study/{UID.format(2)}?tab=storage")  # its pictures alone would bring it back
    expect(page.get_by_role("region", name="Copies")).to_contain_text(NEAR)
    assert barriers(page) == []
    page.get_by_role("status").get_by_role("button", name="Recall now").click()
    expect(page.get_by_text("3 of 3 images", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Recall now")).to_have_count(0)
    assert availability(server, 2) == "ONLINE"


def test_an_archived_study_is_recalled_and_then_opened(panel: Any, server: Server, root: str) -> None:
    move(server, 3, from_store="online", to_store=FAR)
    visited = panel(f"/study/{UID.format(3)}", routes=NO_VIEWER)
    page = visited.page
    expect(page.get_by_text("It has to be recalled before")).to_be_visible()
    expect(page.locator(".thumbnail[data-missing]")).to_be_visible()
    assert not [url for url in visited.requests if "/dicom-web/" in url], "looking at it recalls nothing"
    assert availability(server, 3) == "OFFLINE"
    page.goto(f"{root}/?q=STORED-3")
    link = rows(page).get_by_role("link", name="Recall and open: STORED-3")
    page.goto(f"{root}{link.get_attribute('href')}")
    page.wait_for_url(f"{root}/ohif/viewer?StudyInstanceUIDs={UID.format(3)}", wait_until="commit")
    assert availability(server, 3) == "ONLINE"


def test_a_recall_that_fails_says_why_and_can_be_tried_again(panel: Any, server: Server) -> None:
    move(server, 6, from_store="online", to_store=FAR)
    vault = server.data.parent / FAR
    vault.rename(vault.with_name("unplugged"))
    try:
        page = panel(f"/recall/{UID.format(6)}", routes=NO_VIEWER).page
        expect(page.get_by_role("heading", name="Being recalled")).to_be_visible()
        wait_until(lambda: server.sql("SELECT 1 FROM tier_moves WHERE problem <> ''") != [], "it was tried")
        server.sql("UPDATE tier_moves SET state = 'failed', ended_at = now() WHERE state = 'waiting'")
        expect(page.get_by_role("heading", name="It could not be recalled")).to_be_visible()
        expect(page.get_by_role("alert")).not_to_be_empty()
        assert barriers(page) == []
    finally:
        vault.with_name("unplugged").rename(vault)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url(re.compile("/ohif/viewer"), wait_until="commit")


def test_a_link_to_an_archived_study_waits_in_front_of_the_viewer(
    panel: Any, server: Server, root: str
) -> None:
    """Its recall fails, is tried again by a click, and then the same address is the viewer."""
    move(server, 7, from_store="online", to_store=FAR)
    vault, viewer = server.data.parent / FAR, f"/ohif/viewer?StudyInstanceUIDs={UID.format(7)}"
    vault.rename(vault.with_name("unplugged"))
    try:
        page = panel("/tokens", routes=NO_BUNDLES).page
        page.goto(f"{root}{viewer}")
        expect(page.get_by_role("heading", name="The study is being recalled")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("It is tried again: store vault")
        expect(page.get_by_role("status")).to_have_text("0 of 3 images are back")
        assert [each for each in barriers(page) if not each.startswith(("landmark", "region"))] == []
        server.sql("UPDATE tier_moves SET state = 'failed', ended_at = now() WHERE state = 'waiting'")
        expect(page.get_by_role("heading", name="It could not be recalled")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("store vault")
    finally:
        vault.with_name("unplugged").rename(vault)
    page.get_by_role("button", name="Try again").click()
    page.locator(OHIF).wait_for(state="attached")
    assert page.url == f"{root}{viewer}" and availability(server, 7) == "ONLINE"


def test_whoever_has_a_share_link_waits_as_well_and_reads_nothing_of_who_runs_the_archive(
    visit: Any, server: Server
) -> None:
    move(server, 8, from_store="online", to_store=FAR)
    study = f"/api/v1/studies/{UID.format(8)}"
    hold = {"reason": "A court asks for it."}
    assert server.ask("PUT", f"{study}/hold", hold, token=server.token)[0] == 200
    asked = {"note": "", "expires_in_s": 3600, "download": False}
    status, made = server.ask("POST", f"{study}/shares", asked, token=server.token)
    assert status == 201
    vault = server.data.parent / FAR
    vault.rename(vault.with_name("unplugged"))
    try:
        visited = visit(json.loads(made)["url"], locale="ru-RU", routes=NO_BUNDLES)
        page = visited.page
        page.get_by_role("button").click()
        expect(page.get_by_role("heading", name="Исследование возвращается из архива")).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("Возвращено снимков: 0 из 3")
        known = page.evaluate(f"fetch('{study}/storage').then(answer => answer.json())")
        assert (known["availability"], known["hold"], known["copies"]) == ("OFFLINE", None, [])
        assert {(one["asked_by"], one["why"], one["problem"]) for one in known["moves"]} == {("", "", "")}
    finally:
        vault.with_name("unplugged").rename(vault)
    server.sql("UPDATE tier_moves SET due_at = now() WHERE state = 'waiting'")
    page.locator(OHIF).wait_for(state="attached")
    assert visited.of_policy() == []


def test_going_to_an_archived_study_within_the_viewer_waits_as_well(
    panel: Any, server: Server, root: str
) -> None:
    """OHIF goes from its list to a study without asking for a page."""
    move(server, 7, from_store="online", to_store=FAR)
    page = panel("/tokens", routes=NO_BUNDLES).page
    page.goto(f"{root}/ohif/")
    page.evaluate(f"history.pushState({{}}, '', '/ohif/viewer?StudyInstanceUIDs={UID.format(7)}')")
    expect(page.get_by_role("heading", name="The study is being recalled")).to_be_visible()
    page.locator(OHIF).wait_for(state="attached")
    assert availability(server, 7) == "ONLINE"


def test_a_study_under_a_legal_hold_stays(panel: Any, server: Server) -> None:
    page = panel(f"/study/{UID.format(4)}?tab=storage").page
    hold = page.get_by_role("region", name="Legal hold")
    hold.get_by_role("button", name="Place a hold").click()
    dialog = page.get_by_role("dialog", name="Place a hold")
    dialog.get_by_label("Reason").fill("A court\nasks for it.")
    dialog.get_by_role("button", name="Place a hold").click()
    expect(hold).to_contain_text("A court asks for it.")
    expect(hold).to_contain_text("Placed by admin")
    labels = page.get_by_role("region", name="Labels")
    labels.get_by_label("Labels").first.fill("teaching")
    page.keyboard.press("Enter")
    labels.get_by_label("Workflow state").fill("REPORTED")
    labels.get_by_label("Patient class").fill("I")
    labels.get_by_role("button", name="Save").click()
    wait_until(
        lambda: (
            server.sql("SELECT labels, workflow_state, patient_class FROM study_storage WHERE labels <> '{}'")
            == ["{teaching}|REPORTED|I"]
        ),
        "the labels are saved",
    )
    assert barriers(page) == []
    rule = {"action": "remove", "from_store": "online", "when": {"labels": ["teaching"]}}
    preview = server.ask("POST", "/api/v1/storage/preview", rule, token=server.token)[1]
    assert b'"studies":0' in preview
    expect(page.get_by_role("button", name="Move to…")).to_be_disabled()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("legal hold", exact=False).last).to_be_visible()
    hold.get_by_role("button", name="Lift the hold").click()
    page.get_by_role("dialog").get_by_role("button", name="Lift the hold").click()
    expect(hold).to_contain_text("None.")
    page.get_by_role("button", name="Copy to…").click()
    page.get_by_role("dialog").get_by_role("button", name="Done").click()
    expect(page.get_by_role("region", name="Copies")).to_contain_text("complete")


def test_damage_is_found_by_a_click_and_listed_with_what_was_done(panel: Any, server: Server) -> None:
    keys = server.sql(
        "SELECT i.object_key FROM instances i JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study "
        f"WHERE s.study_instance_uid = '{UID.format(5)}' ORDER BY 1"
    )
    [damaged] = [one for one in server.objects() if one.key == keys[0]]
    damaged.flip(damaged.size_bytes - 1)
    page = panel("/storage/integrity").page
    expect(page.get_by_text("Everything is as it should be")).to_be_visible()
    page.get_by_role("button", name="Scrub now").click()
    expect(page.get_by_role("region", name="Scrub")).to_contain_text("1 finding")
    finding = page.get_by_role("region", name="Findings").get_by_role("row", name=re.compile("Corrupt"))
    expect(finding).to_contain_text("in quarantine")
    expect(page.get_by_role("region", name="Quarantine").get_by_role("row", name="damaged")).to_be_visible()
    page.get_by_role("button", name="Compare now").click()
    expect(page.get_by_role("region", name="Reconciliation")).to_contain_text(
        re.compile("finding|Nothing wrong")
    )
    assert barriers(page) == []


def test_a_backup_is_made_by_a_click(panel: Any, server: Server) -> None:
    page = panel("/storage/backups").page
    now = page.get_by_role("button", name="Back up now")
    expect(now).to_be_enabled()  # the first one is made by itself
    now.click()
    page.get_by_role("menuitem", name="differential").click()
    made = page.get_by_role("region", name="Backups").get_by_role("row", name=re.compile("^differential"))
    expect(made).to_contain_text("done")
    expect(made).to_contain_text("whole")
    expect(made).to_contain_text("admin")
    expect(page.locator(".tile").first).to_contain_text(re.compile("Next.*(in 23 hr|tomorrow)"))
    assert barriers(page) == []


def test_an_archive_that_was_restored_says_of_which_backup(panel: Any, server: Server) -> None:
    details = '{"what": "backup", "backup": "20260101T010000Z-full", "instances": 1234}'
    server.sql(
        "INSERT INTO audit_events (at, event, outcome, who, via, address, patient_id, uids, details) "
        f"VALUES (now(), 'imported', 'success', 'root', 'command', '', '', '{{}}', '{details}')"
    )
    page = panel("/storage/backups").page
    banner = page.get_by_role("status").filter(has_text="Restored")
    expect(banner).to_contain_text("1234 images, by root, from 20260101T010000Z-full")
    assert barriers(page) == []


def test_a_doubted_clock_is_confirmed_and_every_page_fits_a_tablet(
    panel: Any, server: Server, root: str
) -> None:
    server.sql("INSERT INTO lifecycle_clock (seen_at) VALUES (now()) ON CONFLICT DO NOTHING")
    server.sql("UPDATE lifecycle_clock SET doubted_since = now()")
    visited = panel("/storage", viewport={"width": 820, "height": 1100}, reduced_motion="reduce")
    page = visited.page
    page.get_by_role("button", name="Light colours").click()
    stores = page.get_by_role("region", name="Stores")
    expect(stores.get_by_role("row", name=re.compile(f"{FAR} archive folder usable"))).to_be_visible()
    expect(page.get_by_role("img", name="Size by modality").locator("canvas")).to_be_visible()
    for path in ("", "/policies", "/moves", "/integrity", "/backups"):
        page.goto(f"{root}/storage{path}")
        expect(page.locator("main .card, main .lead").first).to_be_visible()
        assert path or barriers(page) == []
        assert (path, page.evaluate("document.documentElement.scrollWidth")) == (path, 820)
    page.get_by_role("link", name="Overview").click()
    doubt = page.get_by_role("alert").filter(has_text="The clock has jumped")
    doubt.get_by_role("button", name="The clock is right").click()
    expect(doubt).to_have_count(0)
    assert server.sql("SELECT doubted_since FROM lifecycle_clock") == [""]
    assert visited.of_policy() == []
