"""Where a share link leads: a page without scripts that opens the study in the viewer.

Opening takes a click: programs that look at links in mails must not use one up, or be counted as whoever it was meant for.
"""

from __future__ import annotations

import base64
import hashlib
import math
from html import escape
from typing import Final
from urllib.parse import parse_qsl

from pacs_actors.people.passwords import MAX_LENGTH
from pacs_actors.people.reception import SlowDown
from pacs_actors.people.share_desk import NoSuchLink, PasswordNeeded, ShareDesk
from protocols.errors import Unavailable
from web.api.shares import LINK, cookie, from_our_page, viewer_url
from web.context import WebContext
from web.http.answer import Answer
from web.http.request import BadRequest, Request
from web.http.routes import Access, Route
from web.share_texts import TEXTS, Texts, language_of

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2733; --dim: #55636f; --page: #eef2f5; --card: #fff; --line: #73818d;
  --act: #0b6b7a; --on-act: #fff; --bad: #a4262c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf2; --dim: #a9b6c0; --page: #10171d; --card: #1a242c;
  --line: #7d8c98; --act: #52c3d4; --on-act: #06252b; --bad: #ff9a9e; } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main { box-sizing: border-box; width: min(26rem, 100% - 2rem); padding: 2rem; border-radius: .75rem;
  background: var(--card); box-shadow: 0 2px 16px #0003; }
h1 { margin: 0 0 .5rem; font-size: 1.4rem; }
p { margin: 0 0 1.25rem; color: var(--dim); }
p[role=alert] { color: var(--bad); }
label { display: block; margin-bottom: .25rem; }
input { box-sizing: border-box; width: 100%; margin-bottom: 1.25rem; padding: .6rem .75rem; border: 1px solid var(--line);
  border-radius: .4rem; background: var(--card); color: var(--ink); font: inherit; }
button { width: 100%; padding: .7rem 1rem; border: 0; border-radius: .4rem; background: var(--act); color: var(--on-act);
  font: inherit; font-weight: 600; cursor: pointer; }
input:focus-visible, button:focus-visible { outline: 3px solid var(--act); outline-offset: 2px; }
"""
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; img-src data:; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
_MAX_FORM_BYTES: Final = 16 * 1024  # a password of 1024 characters, each as twelve
_FORM: Final = "application/x-www-form-urlencoded"


def routes(context: WebContext) -> list[Route]:
    pages = SharePages(context.shares)
    path = LINK + "{secret}"
    return [
        Route(
            method="GET", path=path, access=Access.PUBLIC, handler=pages.show, summary="The page of a share link"
        ),
        Route(
            method="POST", path=path, access=Access.PUBLIC, handler=pages.open, summary="Open a share link"
        ),
    ]  # fmt: skip


class SharePages:
    def __init__(self, desk: ShareDesk) -> None:
        self._desk = desk

    async def show(self, request: Request) -> Answer:
        try:
            asks = await self._desk.has_password(request.values["secret"], request.address)
        except (NoSuchLink, Unavailable) as error:
            return _refused(request, error)
        return _page(request, form=True, asks=asks)

    async def open(self, request: Request) -> Answer:
        from_our_page(request)
        password = await _password(request)
        try:
            opened = await self._desk.open(request.values["secret"], password, request.address)
        except (NoSuchLink, PasswordNeeded, SlowDown, Unavailable) as error:
            return _refused(request, error)
        return Answer(303, (("location", viewer_url(opened)), cookie(opened, request)))


async def _password(request: Request) -> str:
    """What the form brings; "" if it brings none. raises: BadRequest"""
    body = await request.body(_MAX_FORM_BYTES)
    if not body:
        return ""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise BadRequest("Send the form of this page.", 415)
    try:
        fields = parse_qsl(body.decode("ascii"), max_num_fields=4)
    except ValueError:  # not ASCII, or too many fields
        raise BadRequest("Send the form of this page.") from None
    return dict(fields).get("password", "")[: MAX_LENGTH + 1]


def _refused(request: Request, error: NoSuchLink | PasswordNeeded | SlowDown | Unavailable) -> Answer:
    texts = TEXTS[language_of(request.headers.get("accept-language", ""))]
    match error:
        case NoSuchLink():
            return _page(request, 404, alert=texts.gone)
        case PasswordNeeded():
            return _page(request, 403, alert=texts.wrong if error.wrong else "", form=True, asks=True)
        case SlowDown():
            after = ("retry-after", str(math.ceil(error.wait_s)))
            return _page(request, 429, after, alert=texts.slow, form=True, asks=True)
        case Unavailable():
            return _page(request, 503, ("retry-after", "2"), alert=texts.later)


def _page(
    request: Request, status: int = 200, *headers: tuple[str, str], alert: str = "", form: bool = False, asks: bool = False
) -> Answer:  # fmt: skip
    language = language_of(request.headers.get("accept-language", ""))
    return Answer(
        status,
        (
            ("content-type", "text/html; charset=utf-8"),
            ("content-language", language),
            ("content-security-policy", _POLICY),
            ("vary", "accept-language"),
            *headers,
        ),
        _html(language, TEXTS[language], alert, form=form, asks=asks).encode(),
    )


def _html(language: str, texts: Texts, alert: str, *, form: bool, asks: bool) -> str:
    """The form goes to the page's own address, so the secret is not in the page."""
    parts = [f"<h1>{escape(texts.title)}</h1>"]
    if form:
        parts.append(f"<p>{escape(texts.asks if asks else texts.text)}</p>")
    if alert:
        parts.append(f'<p role="alert">{escape(alert)}</p>')
    if form:
        field = (
            f'<label for="password">{escape(texts.label)}</label>'
            f'<input id="password" name="password" type="password" maxlength="{MAX_LENGTH}" required autofocus'
            ' autocomplete="off">'
        )
        parts.append(
            f'<form method="post">{field if asks else ""}<button type="submit">{escape(texts.open)}</button></form>'
        )
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f'<link rel="icon" href="data:,"><title>{escape(texts.title)}</title><style>{_STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>"
    )
