"""Logging in by way of an identity provider: there and back again."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from pacs_actors.people.access_tokens import NotRecognised
from pacs_actors.people.tickets import digest
from web.authenticator import cookies, session_cookie
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Access, Route

_BEGIN: Final = "/api/v1/login/oidc"
_BACK: Final = "/api/v1/login/oidc/callback"
_COOKIE: Final = "pacs_oidc"
_PATIENCE_S: Final = 600
_LOCAL: Final = re.compile(r"/(?![/\\])[!-~]{0,1000}")


class Provider(Struct, frozen=True):
    """name: for the button. url: where it leads"""

    name: str
    url: str


class LoginOptions(Struct, frozen=True):
    oidc: Provider | None


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context)
    return [
        Route(
            method="GET", path="/api/v1/login/options", access=Access.PUBLIC, handler=desk.options, tag="login",
            summary="How one can log in besides by name and password", answer=LoginOptions,
        ),
        Route(
            method="GET", path=_BEGIN, access=Access.PUBLIC, handler=desk.begin, tag="login", status=302,
            summary="To the identity provider", query={"return_to": "Path of ours to come back to"},
        ),
        Route(
            method="GET", path=_BACK, access=Access.PUBLIC, handler=desk.back, tag="login", status=303,
            summary="Back from the identity provider", query={"code": "", "state": "", "iss": "", "error": ""},
        ),
    ]  # fmt: skip


class _Desk:
    def __init__(self, context: WebContext) -> None:
        self._settings, self._desk = context.settings.people, context.oidc

    async def options(self, _: Request) -> Answer:
        offered = None if self._desk is None else Provider(self._settings.oidc_name, _BEGIN)
        return json_answer(LoginOptions(offered))

    async def begin(self, request: Request) -> Answer:
        if self._desk is None:
            raise NotFound
        return_to = request.parameter("return_to", "/")
        if not _LOCAL.fullmatch(return_to):
            raise BadRequest("return_to is a path of this server.")
        begun = await self._desk.begin(request.root + _BACK, return_to)
        return Answer(302, (("location", begun.url), _state_cookie(_bound(begun.state), request.root)))

    async def back(self, request: Request) -> Answer:
        """The state must be the one that this browser was given: nobody can be logged in as somebody else by a link."""
        if self._desk is None:
            raise NotFound
        state, code = request.parameter("state"), request.parameter("code")
        kept = cookies(request.headers.get("cookie", "")).get(_COOKIE)
        if not state or len(state) > 256 or kept != _bound(state):
            raise NotRecognised("This login was begun elsewhere, or took too long. Try again.")
        if not code or len(code) > 4096:
            raise NotRecognised("The identity provider has not let you in.")
        arrived = await self._desk.finish(
            state, code, request.parameter("iss"), request.root + _BACK, request.address
        )
        lifetime_s = self._settings.session_lifetime_s
        cookie = session_cookie(arrived.login.session_secret, root=request.root, lifetime_s=lifetime_s)
        return Answer(303, (("location", arrived.return_to), cookie, _state_cookie("", request.root)))


def _bound(state: str) -> str:
    """What the cookie keeps: who reads it cannot make the state of it."""
    return digest(state).hex()


def _state_cookie(value: str, root: str) -> tuple[str, str]:
    secure = "; Secure" if root.startswith("https://") else ""
    age_s = _PATIENCE_S if value else 0
    return (
        "set-cookie",
        f"{_COOKIE}={value}; Path={_BEGIN}; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}",
    )
