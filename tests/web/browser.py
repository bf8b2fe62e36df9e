"""Headless Chromium over its DevTools protocol, for tests of what people see."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_SWITCHES = (  # noqa: SIM905
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-port=0"
).split()
_TROUBLE = {"Log.entryAdded", "Runtime.exceptionThrown"}


class Page:
    """trouble: errors of scripts, refused resources, violations of the content security policy."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection, self._calls, self._session = connection, 0, ""
        self.trouble: list[str] = []

    async def open(self, url: str) -> None:
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Log", "Runtime", "Page"):
            await self._call(f"{domain}.enable")
        await self._call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str, within_s: float = 15) -> None:
        """Wait for the page to make an expression true; while it is loading, parts of it are not there yet."""
        careful = f"(() => {{ try {{ return !!({expression}); }} catch {{ return false; }} }})()"
        with trio.fail_after(within_s):
            while not await self.evaluate(careful):
                await trio.sleep(0.02)

    async def _call(self, method: str, **params: object) -> dict[str, Any]:
        self._calls += 1
        message: dict[str, object] = {"id": self._calls, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._connection.send_message(json.dumps(message))
        while True:
            answer = json.loads(await self._connection.get_message())
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") in _TROUBLE:
                self.trouble.append(json.dumps(answer["params"]))


@asynccontextmanager
async def browse(url: str, profile: Path) -> AsyncIterator[Page]:
    """A page in a browser of its own, whose profile is kept in ``profile``."""
    assert CHROMIUM is not None
    log = profile / "browser.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: ASYNC220
            [CHROMIUM, *_SWITCHES, f"--user-data-dir={profile}", "about:blank"], stderr=errors
        )
    try:
        with trio.fail_after(30):
            while not (found := re.search(r"ws://\S+", log.read_text(errors="replace"))):
                assert process.poll() is None, log.read_text(errors="replace")
                await trio.sleep(0.05)
        async with open_websocket_url(found.group(0), max_message_size=2**26) as connection:
            page = Page(connection)
            await page.open(url)
            yield page
    finally:
        process.kill()
        process.wait()
