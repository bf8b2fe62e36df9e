"""Whoever is logged in, about themselves."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from pacs_actors.people.accounts import RoleScope, User
from pacs_actors.people.directory import UserChange
from pacs_actors.people.reception import Reception
from pacs_actors.people.rights import Principal
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, Forbidden, Request, Unauthorised
from web.http.routes import Access, Route

_TAG = "me"
Language = Annotated[str, Meta(pattern="^([a-z]{2}(-[A-Za-z]{2,4})?)?$")]
NO_NUL: Final = r"^[^\x00]*$"  # which PostgreSQL's text cannot hold
ShortText = Annotated[str, Meta(max_length=256, pattern=NO_NUL)]


class Me(Struct, frozen=True):
    """via: session or token"""

    name: str
    display_name: str
    roles: tuple[str, ...]
    actions: tuple[str, ...]
    language: str
    via: str


class AboutMe(Struct, frozen=True, forbid_unknown_fields=True):
    display_name: ShortText | UnsetType = UNSET
    language: Language | UnsetType = UNSET


class NewPassword(Struct, frozen=True):
    """Its repr shows no password."""

    old: Annotated[str, Meta(max_length=1024)]
    new: Annotated[str, Meta(max_length=1024)]

    def __repr__(self) -> str:
        return "NewPassword()"


def me_of(principal: Principal, user: User) -> Me:
    actions = tuple(sorted(action.value for action in principal.actions))
    return Me(user.username, user.display_name, user.roles, actions, user.language, principal.via.value)


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context.people)
    return [
        Route(
            method="GET", path="/api/v1/me", access=Access.SIGNED_IN, handler=desk.show, tag=_TAG,
            summary="Who is logged in, and what they may do", answer=Me,
        ),
        Route(
            method="PATCH", path="/api/v1/me", access=Access.IN_PERSON, handler=desk.change, tag=_TAG,
            summary="Change one's own display name or language", body=AboutMe, answer=Me,
        ),
        Route(
            method="POST", path="/api/v1/me/password", access=Access.IN_PERSON, handler=desk.password, tag=_TAG,
            summary="Change one's own password; ends one's other sessions", body=NewPassword, status=204,
        ),
    ]  # fmt: skip


class _Desk:
    def __init__(self, people: Reception) -> None:
        self._people = people

    async def show(self, request: Request) -> Answer:
        return json_answer(me_of(request.who, await self._user(request)))

    async def change(self, request: Request) -> Answer:
        asked = await request.json(AboutMe)
        user = await self._user(request)
        if asked.display_name not in (UNSET, user.display_name) and await self._sees_by_name(user):
            raise Forbidden("What you see depends on your display name: an administrator changes it.")
        change = UserChange(display_name=asked.display_name, language=asked.language)
        changed = await self._people.directory.change(user.id, change)
        if changed is None:
            raise Unauthorised
        await self._people.audit.user_changed(request.actor, user.username, "changed")
        return json_answer(me_of(request.who, changed))

    async def password(self, request: Request) -> Answer:
        asked = await request.json(NewPassword)
        user = await self._user(request)
        if not user.has_password:
            raise BadRequest("The identity provider keeps this password.", 409)
        await self._people.change_password(user, asked.old, asked.new, request.who, request.address)
        return Answer(204)

    async def _user(self, request: Request) -> User:
        user_id = request.who.user_id
        user = None if user_id is None else await self._people.directory.user(user_id)
        if user is None:
            raise Unauthorised
        return user

    async def _sees_by_name(self, user: User) -> bool:
        roles = await self._people.directory.roles()
        scopes = [role.scope for role in roles if role.name in user.roles] + [user.scope or RoleScope()]
        return any(rule.own_referring for scope in scopes for rule in scope.rules)
