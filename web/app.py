"""The web front end as one ASGI application: hot routes first, then the Quart pages.

What holds for every answer is done here, so that no route can forget it: security headers, the check of
Host, and the end of a response that must not be cancelled half way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

from config.settings import WebSettings
from web.hosts import host_is_ours
from web.live import LiveFanOut
from web.pages import create_pages
from web.problems import MISDIRECTED
from web.status import StatusSource
from web.studies import RecentStudies

_POLICY: Final = (
    b"default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class WebApp:
    """An ASGI application. Whoever serves it also runs ``live.run``; there is no lifespan.

    bare:  path prefix -> ASGI application that is asked instead of the pages; the longest prefix wins
    """

    def __init__(
        self,
        source: StatusSource,
        settings: WebSettings,
        bare: Mapping[str, ASGIFramework] | None = None,
    ) -> None:
        studies = RecentStudies(source)
        self._settings = settings
        self.live = LiveFanOut(source, settings, studies)
        self.pages = create_pages(source, self.live, studies)
        self._bare = sorted((bare or {}).items(), key=lambda route: -len(route[0]))

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] not in {"http", "websocket"}:
            raise NotImplementedError(scope["type"])
        safely = _Sender(send)
        if not host_is_ours(_host(scope), self._settings.host, self._settings.hosts):
            await _refuse_host(scope, safely)
            return
        await self._route(scope["path"])(scope, receive, safely)

    def _route(self, path: str) -> ASGIFramework:
        for prefix, app in self._bare:
            if path.startswith(prefix):
                return app
        return self.pages


def create_app(
    status: StatusSource, settings: WebSettings, bare: Mapping[str, ASGIFramework] | None = None
) -> WebApp:
    """The application for one worker. raises: OSError when the page's files are missing"""
    return WebApp(status, settings, bare)


class _Sender:
    """``send`` with our headers, and with the last piece of a body protected.

    hypercorn tells the application of the end of the exchange from inside that send; Quart-Trio then
    cancels it, and neither is the socket of an HTTP/1.0 client closed nor the idle timer of another one
    started. The connection has its own deadline.
    """

    def __init__(self, send: ASGISendCallable) -> None:
        self._send = send

    async def __call__(self, message: ASGISendEvent) -> None:
        # Our own events are plain dicts; hypercorn's types would want a cast for each.
        event: dict[str, Any] = dict(message)
        if event["type"] in {"http.response.start", "websocket.http.response.start"}:
            given = [(bytes(name).lower(), bytes(value)) for name, value in event.get("headers", ())]
            names = {name for name, _ in given}
            event["headers"] = given + [header for header in SECURITY_HEADERS if header[0] not in names]
        await trio.lowlevel.checkpoint()  # hypercorn drops what is sent to a client that left, without one
        last = event["type"] == "http.response.body" and not event.get("more_body", False)
        with trio.CancelScope(shield=last):
            await self._send(event)  # type: ignore[arg-type]


def _host(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"host":
            return bytes(value).decode("latin-1")
    return None


async def _refuse_host(scope: Scope, send: _Sender) -> None:
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(MISDIRECTED))]
    start: Any = {"type": f"{kind}.start", "status": 421, "headers": headers}
    body: Any = {"type": f"{kind}.body", "body": MISDIRECTED, "more_body": False}
    await send(start)
    await send(body)
