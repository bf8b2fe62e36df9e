"""The web front end as one ASGI application: hot routes first, then the Quart pages.

What holds for every answer is done here, so that no route can forget it: security headers, the check of
Host, and the end of a response that must not be cancelled half way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

from config.settings import WebSettings
from pacs_actors.operations import logs
from web.dicomweb import PREFIX as DICOMWEB
from web.hosts import host_is_ours, split_host
from web.http import cors
from web.http.front import Front
from web.http.gate import Authenticator, Gate
from web.http.public_root import networks, seen_from
from web.http.request import ROOT
from web.http.routes import Route
from web.live import LiveFanOut
from web.pages import create_pages
from web.problems import MISDIRECTED
from web.static_files import (
    PANEL_HASHED,
    STATIC,
    VIEWER_HASHED,
    VIEWER_POLICY,
    StaticFiles,
)
from web.status import StatusSource
from web.viewer_door import Away, ViewerDoor

_POLICY: Final = (
    b"default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; frame-ancestors 'none'"
)
# What a browser may run scripts of. Elsewhere the policy breaks things: on a worker's script it is the worker's.
_PAGES: Final = (b"text/html", b"application/xhtml+xml", b"text/xml", b"application/xml")
SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
# For this name only: others of the same domain are not ours to promise for (RFC 6797).
_TLS_FROM_NOW_ON: Final = (b"strict-transport-security", b"max-age=31536000")


class WebApp:
    """An ASGI application. Whoever serves it also runs ``live.run``; there is no lifespan.

    hot:     routes that are served without Quart: DICOMweb's; api: all others
    bare:    path prefix -> ASGI application that is asked instead of the pages; the longest prefix wins
    static:  the folder of the built viewer (at /ohif/) and panel (everywhere that no page is)
    away:    which studies nobody can show before they are recalled; None: none
    """

    def __init__(
        self,
        source: StatusSource,
        settings: WebSettings,
        authenticator: Authenticator,
        hot: Iterable[Route],
        api: Iterable[Route],
        bare: Mapping[str, ASGIFramework],
        static: Path,
        live: LiveFanOut,
        away: Away | None,
    ) -> None:
        gate = Gate(authenticator)
        self._settings, self._trusted = settings, networks(settings.trusted_proxies)
        own = split_host((settings.public_root or "").partition("://")[2].partition("/")[0])
        self._names = (*settings.hosts, own[0]) if own else settings.hosts
        self.hot, self.api = tuple(hot), tuple(api)
        self.live = live
        viewer = StaticFiles(static / "ohif", "/ohif/", VIEWER_HASHED, VIEWER_POLICY)
        self._panel = StaticFiles(static / "panel", "/", PANEL_HASHED)
        missing = [name for name, files in (("viewer", viewer), ("panel", self._panel)) if not files.built]
        self.pages = create_pages(source, self.live, gate, self.api, missing)
        if missing:
            logs.warning("user_interface_not_built", missing=missing, remedy="make ui")
        front = {DICOMWEB: Front(self.hot, gate)} if self.hot else {}
        door = ViewerDoor(viewer, "/ohif/", authenticator, away)
        mounted: dict[str, ASGIFramework] = {"/ohif": door, **front, **bare}
        self._bare = sorted(mounted.items(), key=lambda route: -len(route[0]))
        self._own = {_first_segment(rule.rule) for rule in self.pages.url_map.iter_rules()} - {""}

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] not in {"http", "websocket"}:
            raise NotImplementedError(scope["type"])
        settings, headers, path = self._settings, list(scope["headers"]), scope["path"]
        client = scope.get("client")
        seen = seen_from(
            client[0] if client else "", scope["scheme"], headers, self._trusted, settings.public_root
        )
        safely = _Sender(send, cors.answered_to(path, headers, settings.cors_origins))
        if seen.root.startswith("https://"):
            safely.more.append(_TLS_FROM_NOW_ON)
        if not host_is_ours(_host(scope), settings.host, self._names):
            await _refuse_host(scope, safely)
            return
        allowed = cors.preflight(str(scope.get("method")), path, headers, settings.cors_origins)
        if allowed is not None:
            await _answer_preflight(allowed, send)
            return
        known: Any = {**scope, "client": (seen.address, 0), ROOT: seen.root}
        await self._route(path)(known, receive, safely)

    def _route(self, path: str) -> ASGIFramework:
        for prefix, app in self._bare:
            if path.startswith(prefix):
                return app
        if self._panel.built and _first_segment(path) not in self._own and self._panel.serves(path):
            return self._panel
        return self.pages


def create_app(
    status: StatusSource,
    settings: WebSettings,
    authenticator: Authenticator,
    *,
    hot: Iterable[Route] = (),
    api: Iterable[Route] = (),
    bare: Mapping[str, ASGIFramework] | None = None,
    static: Path = STATIC,
    live: LiveFanOut | None = None,
    away: Away | None = None,
) -> WebApp:
    """The application for one worker. raises: OSError when the page's files are missing"""
    fan_out = live or LiveFanOut(settings, ())
    return WebApp(status, settings, authenticator, hot, api, bare or {}, static, fan_out, away)


class _Sender:
    """``send`` with our headers, and with the last piece of a body protected. more: further headers

    hypercorn tells the application of the end of the exchange from inside that send; Quart-Trio then
    cancels it, and neither is the socket of an HTTP/1.0 client closed nor the idle timer of another one
    started. The connection has its own deadline.
    """

    def __init__(self, send: ASGISendCallable, added: cors.Headers) -> None:
        self._send, self.more = send, added

    async def __call__(self, message: ASGISendEvent) -> None:
        # Our own events are plain dicts; hypercorn's types would want a cast for each.
        event: dict[str, Any] = dict(message)
        if event["type"] in {"http.response.start", "websocket.http.response.start"}:
            given = [(bytes(name).lower(), bytes(value)) for name, value in event.get("headers", ())]
            names = {name for name, _ in given}
            ours = [header for header in _added(given) if header[0] not in names]
            event["headers"] = given + ours + self.more
            await self._send(event)  # type: ignore[arg-type]
            return
        last = event["type"] == "http.response.body" and not event.get("more_body", False)
        if not last:
            await (
                trio.lowlevel.checkpoint()
            )  # hypercorn drops what is sent to a client that left, without one
        with trio.CancelScope(shield=last):
            await self._send(event)  # type: ignore[arg-type]


def _added(given: list[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    kind = dict(given).get(b"content-type", b"").partition(b";")[0].strip().lower()
    return (*SECURITY_HEADERS, (b"content-security-policy", _POLICY)) if kind in _PAGES else SECURITY_HEADERS


def _first_segment(path: str) -> str:
    return path.lstrip("/").partition("/")[0]


def _host(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"host":
            return bytes(value).decode("latin-1")
    return None


async def _answer_preflight(headers: cors.Headers, send: ASGISendCallable) -> None:
    start: Any = {"type": "http.response.start", "status": 204, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _refuse_host(scope: Scope, send: _Sender) -> None:
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(MISDIRECTED))]
    start: Any = {"type": f"{kind}.start", "status": 421, "headers": headers}
    body: Any = {"type": f"{kind}.body", "body": MISDIRECTED, "more_body": False}
    await send(start)
    await send(body)
