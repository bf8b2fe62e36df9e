"""The panel's other pages on a real server: people, tokens, system; every page at both widths and in both schemes."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.panel.conftest import barriers, log_in

PAGES = ["/", "/system", "/people", "/roles"]
NEW_PASSWORD = "correct horse battery staple 7"


def test_every_page_is_accessible_light_on_a_tablet_and_fits_its_width(panel, root):
    visited = panel("/tokens", viewport={"width": 820, "height": 1100}, reduced_motion="reduce")
    page = visited.page
    page.get_by_role("button", name="Light colours").click()
    for path in PAGES:
        page.goto(f"{root}{path}")
        expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "light")
        expect(page.get_by_role("table").first).to_be_visible()
        assert (path, barriers(page)) == (path, [])
        assert page.evaluate("document.documentElement.scrollWidth") <= 820
    assert visited.of_policy() == []


def test_a_user_is_added_and_can_log_in_with_their_own_pages_only(panel, visit, root):
    page = panel("/people").page
    page.get_by_role("button", name="Add a user").click()
    dialog = page.get_by_role("dialog", name="Add a user")
    dialog.get_by_label("User name").fill("reader")
    dialog.get_by_label("First password").fill(NEW_PASSWORD)
    dialog.get_by_label("Viewer").check()
    assert barriers(page) == []
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name=re.compile("reader"))).to_contain_text("Viewer")

    other = visit(root, locale="en-GB").page
    other.locator("input[autocomplete=username]").fill("reader")
    other.locator("input[autocomplete=current-password]").fill(NEW_PASSWORD)
    other.locator("button[type=submit]").click()
    menu = other.get_by_role("navigation", name="Pages")
    expect(menu.get_by_role("link", name="Studies")).to_be_visible()
    for hidden in ("Users", "Audit", "Settings", "Deleted"):
        expect(menu.get_by_role("link", name=hidden)).to_have_count(0)
    expect(other.get_by_role("button", name="Upload")).to_have_count(0)


def test_a_role_is_made_of_permissions_and_rules(panel):
    page = panel("/roles").page
    page.get_by_role("button", name="Add a role").click()
    dialog = page.get_by_role("dialog", name="Add a role")
    dialog.get_by_label("Name", exact=False).first.fill("ct readers")
    dialog.get_by_label("Download").check()
    dialog.get_by_label("Only studies that fit").check()
    dialog.get_by_role("button", name="Add a rule").click()
    expect(dialog.get_by_text("at least one condition")).to_be_visible()
    expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    dialog.get_by_label("Modalities").first.fill("CT")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("columnheader", name=re.compile("ct readers"))).to_be_visible()
    expect(page.get_by_text("1 rule", exact=True).first).to_be_visible()


def test_a_token_is_shown_once_and_revoked(panel, server):
    page = panel("/tokens").page
    page.get_by_role("button", name="Make a token").click()
    dialog = page.get_by_role("dialog", name="Make a token")
    dialog.get_by_label("Name").fill("export")
    dialog.get_by_role("button", name="Make a token").click()
    secret = page.get_by_role("dialog", name="export").locator("code").inner_text()
    assert server.ask("GET", "/api/v1/studies", token=secret)[0] == 200
    page.get_by_role("button", name="Done").click()
    row = page.get_by_role("row", name=re.compile("export"))
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    assert server.ask("GET", "/api/v1/studies", token=secret)[0] == 401


def test_the_system_page_shows_workers_actors_and_queues(panel):
    page = panel("/system").page
    expect(page.get_by_role("heading", name="Worker 0")).to_be_visible()
    expect(page.get_by_role("region", name="Actors, Worker 0").get_by_role("row").nth(3)).to_be_visible()
    expect(page.get_by_role("region", name="Queues, Worker 0").locator("meter").first).to_be_visible()
    expect(page.get_by_role("img", name="Ingest")).to_be_visible()


def test_a_language_is_chosen_and_kept(panel):
    page = panel("/people").page
    page.get_by_role("button", name="Language").click()
    page.get_by_role("menuitem", name="Русский").click()
    expect(page.get_by_role("heading", name="Пользователи")).to_be_visible()
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    page.get_by_role("button", name="Язык").click()
    page.get_by_role("menuitem", name="English").click()
    expect(page.get_by_role("heading", name="Users")).to_be_visible()


def test_logging_out_ends_it(visit, root):
    page = visit(f"{root}/people", locale="en-GB").page
    log_in(page)
    page.get_by_role("button", name="Account of").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.wait_for_url(re.compile("/login"))
    page.goto(page.url.replace("/login", "/people"))
    page.wait_for_url(re.compile(r"/login\?next=%2Fpeople"))
