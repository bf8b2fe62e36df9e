"""Logging in and out, and new tokens for a refresh token."""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta, Struct

from pacs_actors.people.reception import Login, Reception, SlowDown
from web.api.me import Me, me_of
from web.authenticator import no_cookie, session_cookie
from web.context import WebContext
from web.http.answer import Answer, json_answer, problem_answer
from web.http.request import Request
from web.http.routes import Access, Route

_TAG = "login"


class Credentials(Struct, frozen=True):
    """Its repr shows no password."""

    username: Annotated[str, Meta(max_length=256)]
    password: Annotated[str, Meta(max_length=1024)]

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


class RefreshToken(Struct, frozen=True):
    refresh_token: Annotated[str, Meta(max_length=256)]


class LoggedIn(Struct, frozen=True, kw_only=True):
    """expires_in: of the access token, seconds"""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 - the word, not a secret
    expires_in: int
    me: Me


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context.people)
    return [
        Route(
            method="POST", path="/api/v1/login", access=Access.PUBLIC, handler=desk.login, tag=_TAG,
            summary="Log in with name and password: a session cookie and tokens", body=Credentials, answer=LoggedIn,
        ),
        Route(
            method="POST", path="/api/v1/refresh", access=Access.PUBLIC, handler=desk.refresh, tag=_TAG,
            summary="New tokens for a refresh token, which may be used once", body=RefreshToken, answer=LoggedIn,
        ),
        Route(
            method="POST", path="/api/v1/logout", access=Access.SIGNED_IN, handler=desk.logout, tag=_TAG,
            summary="End this session, its cookie and its tokens", status=204,
        ),
    ]  # fmt: skip


class _Desk:
    def __init__(self, people: Reception) -> None:
        self._people = people

    async def login(self, request: Request) -> Answer:
        given = await request.json(Credentials)
        try:
            login = await self._people.login(given.username, given.password, request.address)
        except SlowDown as slow:
            return problem_answer(429, str(slow), ("retry-after", str(math.ceil(slow.wait_s))))
        return self._answer(login, self._cookie(login, request))

    async def refresh(self, request: Request) -> Answer:
        given = await request.json(RefreshToken)
        return self._answer(await self._people.refresh(given.refresh_token, request.address))

    async def logout(self, request: Request) -> Answer:
        await self._people.logout(request.who, request.address)
        return Answer(204, (no_cookie(root=request.root),))

    def _cookie(self, login: Login, request: Request) -> tuple[str, str]:
        lifetime_s = self._people.settings.session_lifetime_s
        return session_cookie(login.session_secret, root=request.root, lifetime_s=lifetime_s)

    def _answer(self, login: Login, *headers: tuple[str, str]) -> Answer:
        answer = LoggedIn(
            access_token=login.access_token,
            refresh_token=login.refresh_token,
            expires_in=login.access_token_s,
            me=me_of(login.principal, login.user),
        )
        return json_answer(answer, 200, "application/json", *headers)
