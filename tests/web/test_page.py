"""The status page in a real browser, if there is one."""

from __future__ import annotations

import re
import socket

import msgspec
import pytest
import trio

from config.settings import WebSettings
from tests.fakes.live import fake_live
from tests.fakes.node_status import HOSTILE, FakeStatus, association, worker
from tests.fakes.people import ADMINISTRATOR, FixedAuthenticator
from tests.web.browser import CHROMIUM, browse
from tests.web.serving import NOTHING_BUILT, site
from web.api.login import Credentials
from web.app import create_app
from web.assets import load
from web.http.answer import Answer, json_answer, problem_answer
from web.http.request import Request
from web.http.routes import Access, Route
from web.server import Shutdown, serve

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
LIVE = "document.body.dataset.link === 'live' && !!document.querySelector('.card')"


def test_the_page_has_no_inline_script_or_style():
    page = load()["index.html"].body.decode()
    assert "style=" not in page
    assert "<style" not in page
    assert page.count("<script") == page.count('<script type="module" src="/status/') == 1
    assert not re.search(r"<[^>]*\son\w+=", page)


def test_scripts_never_write_markup():
    for name, asset in load().items():
        if name.endswith(".js"):
            for way in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
                assert way not in asset.body, name


def test_everything_the_page_asks_for_is_there():
    files = load()
    texts = b"".join(asset.body for asset in files.values()).decode()
    named = {part.split('"')[0] for part in texts.split('"/status/')[1:]}
    named |= {part.split('"')[0] for part in texts.split('from "./')[1:]}
    assert named
    assert named <= set(files)


@needs_browser
async def test_the_page_shows_the_node_and_keeps_hostile_text_inert(tmp_path):
    async with site() as here, browse(f"http://127.0.0.1:{here.port}/", tmp_path) as page:
        await page.until(LIVE)
        await page.until("document.querySelectorAll('#studies-table tbody tr').length === 5")
        assert await page.evaluate("document.getElementById('badge').textContent") == "Live"
        assert await page.evaluate("document.getElementById('associations').textContent") == "3"
        assert HOSTILE in await page.evaluate("document.getElementById('studies-table').textContent")
        assert await page.evaluate("document.getElementById('x')") is None
        assert await page.evaluate("document.querySelectorAll('.card').length") == 2
        here.source.change_worker(
            0, associations=(association(f"{HOSTILE}"),), accepting=False, why_not="full"
        )
        await page.until("document.getElementById('associations').textContent === '2'")
        await page.until("document.getElementById('alerts').textContent.includes('full')")
        assert await page.evaluate("document.getElementById('x')") is None
        assert page.trouble == []


@needs_browser
async def test_an_empty_node_says_how_to_send_the_first_image(tmp_path):
    source = FakeStatus()
    source.studies = ()
    source.change(workers=(worker(0, stored_instances=0),), ae_title="ARCHIVE", dicom="127.0.0.1:104")
    async with site(source) as here, browse(f"http://127.0.0.1:{here.port}/", tmp_path) as page:
        await page.until(LIVE)
        await page.until("!document.getElementById('studies-empty').hidden")
        command = await page.evaluate("document.getElementById('command-dcmtk').textContent")
        assert command == "storescu -aec ARCHIVE +sd +r 127.0.0.1 104 FOLDER"
        assert await page.evaluate("document.getElementById('associations-table').hidden") is True
        invitation = "document.getElementById('invitation').textContent"
        assert "first image" in await page.evaluate(invitation)
        source.change_worker(0, stored_instances=1)
        await page.until(f"!{invitation}.includes('first')")


@needs_browser
async def test_the_ingest_rate_is_the_growth_of_the_counters(tmp_path):
    async with site() as here, browse(f"http://127.0.0.1:{here.port}/", tmp_path) as page:
        await page.until(LIVE)
        for _ in range(12):
            one = here.source.value.workers[0]
            stored, size = one.stored_instances + 100, one.stored_bytes + 100_000_000
            here.source.change(at=here.source.value.at + 1)
            here.source.change_worker(0, stored_instances=stored, stored_bytes=size)
            total = f"{stored + here.source.value.workers[1].stored_instances:,}"
            await page.until(f"document.getElementById('stored').textContent === '{total}'")
        await page.until("document.getElementById('instances-rate').textContent === '100'")
        assert await page.evaluate("document.getElementById('bytes-rate').textContent") == "100"
        # A worker that was restarted counts from nothing: no negative rate.
        here.source.change(at=here.source.value.at + 1)
        here.source.change_worker(0, pid=9, stored_instances=0, stored_bytes=0)
        await page.until("!document.getElementById('instances-rate').textContent.includes('-')")


@needs_browser
async def test_a_lost_connection_is_shown_and_comes_back(tmp_path):
    settings = msgspec.convert({"live_interval_s": 0.05}, WebSettings)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        async def life(shutdown, task_status):
            source = FakeStatus()
            app = create_app(
                source, settings, FixedAuthenticator(strangers=ADMINISTRATOR), static=NOTHING_BUILT,
                live=fake_live(source, settings),
            )  # fmt: skip
            await serve(app, listening, settings, shutdown=shutdown, task_status=task_status)

        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        async with trio.open_nursery() as nursery:
            first, second = Shutdown(), Shutdown()

            await nursery.start(life, first)
            async with browse(url, tmp_path) as page:
                await page.until(LIVE)
                first.set()
                await page.until("document.body.dataset.link === 'lost'")
                assert "lost" in await page.evaluate("document.getElementById('badge').textContent")
                await page.until("document.getElementById('link-note').textContent.includes('reconnecting')")
                await nursery.start(life, second)
                await page.until(LIVE)
            second.set()


@needs_browser
async def test_a_stranger_is_asked_to_log_in_and_sees_nothing_before(tmp_path):
    tried = []

    async def login(request: Request) -> Answer:
        given = await request.json(Credentials)
        tried.append(given.username)
        if given.password != "right":
            return problem_answer(401, "The user name or the password is wrong.")
        here.people.strangers = ADMINISTRATOR
        return json_answer({})

    route = Route(
        method="POST", path="/api/v1/login", access=Access.PUBLIC, handler=login, summary="", body=Credentials
    )
    async with (
        site(strangers=None, routes=[route]) as here,
        browse(f"http://127.0.0.1:{here.port}/status", tmp_path) as page,
    ):
        await page.until("!document.getElementById('login').hidden")
        assert await page.evaluate("document.querySelectorAll('.card').length") == 0
        assert await page.evaluate("getComputedStyle(document.getElementById('main')).display") == "none"
        for password in ("wrong", "right"):
            await page.evaluate(
                "document.getElementById('username').value = 'jane';"
                f"document.getElementById('password').value = '{password}';"
                "document.getElementById('login-button').click()"
            )
            if password == "wrong":
                await page.until("document.getElementById('login-problem').textContent.includes('wrong')")
        await page.until(LIVE)
        assert await page.evaluate("document.getElementById('login').hidden") is True
        assert tried == ["jane", "jane"]
