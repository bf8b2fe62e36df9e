"""Chromium, driven by Playwright, for tests of what people see: fixtures ``browser`` and ``visit``.

Their tests are plain functions, not async ones: Playwright's calls block. Tests that need the fixtures are skipped where there is
no Chromium.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, sync_playwright
from playwright.sync_api import Error as PlaywrightError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip
PATIENCE_S = 40.0
_LONGEST_TEST_S = 100.0  # less than pytest's own timeout, whose signal Playwright's loop does not survive
_TELL_VIOLATIONS = """
document.addEventListener('securitypolicyviolation', event =>
    console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


class Visit:
    """A page, and all that it said and asked for.

    errors:    the console's errors and what scripts threw, violations of the policy among them
    requests:  URLs in their order, without data: and blob:
    failed:    requests that got no answer, and why; those that the page itself aborted are left out
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.failed: list[str] = []
        page.set_default_timeout(PATIENCE_S * 1000)
        page.add_init_script(_TELL_VIOLATIONS)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(f"thrown: {error}"))
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_failure)

    def outside(self, root: str) -> list[str]:
        """Requests to anywhere but ``root`` (scheme, host and port)."""
        return [url for url in self.requests if url != root and not url.startswith(f"{root}/")]

    def of_policy(self) -> list[str]:
        """Errors of the content security policy."""
        marks = ("policy:", "content security policy", "evalerror")
        return [error for error in self.errors if any(mark in error.lower() for mark in marks)]

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            where = message.location.get("url", "")
            self.errors.append(f"{message.text} ({where})")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.requests.append(request.url)

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":
            self.failed.append(f"{request.url}: {request.failure}")


@pytest.fixture(scope="module")
def browser_mark() -> str:
    """A switch that says which Chromium is ours."""
    return f"--started-by-test={uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def browser(browser_mark: str) -> Iterator[Browser]:
    """One browser for a module: while it is there its thread has a running asyncio loop, which other modules do not expect."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        with killed_if_stuck(browser_mark):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*SWITCHES, browser_mark])
        yield browser
        with killed_if_stuck(browser_mark):
            browser.close()


@pytest.fixture
def visit(browser: Browser, browser_mark: str) -> Iterator[Callable[..., Visit]]:
    """``visit(url, **options of the context)`` opens a page in a session of its own, without cookies of others.

    routes:  pattern of URLs -> who answers instead of the server
    """
    contexts: list[BrowserContext] = []

    def open_page(
        url: str, *, routes: Mapping[str, Callable[[Route], None]] | None = None, **options: Any
    ) -> Visit:
        context = browser.new_context(**options)
        contexts.append(context)
        for pattern, answer in (routes or {}).items():
            context.route(pattern, answer)
        visited = Visit(context.new_page())
        visited.page.goto(url)
        return visited

    with killed_if_stuck(browser_mark):
        yield open_page
        for context in contexts:
            with suppress(PlaywrightError):  # the test has closed it
                context.close()


@contextmanager
def killed_if_stuck(mark: str, within_s: float = _LONGEST_TEST_S) -> Iterator[None]:
    """Not all of Playwright's calls have a deadline; all of them end with the browser."""
    timer = threading.Timer(within_s, _kill, [mark])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _kill(mark: str) -> None:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mark.encode() in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)
