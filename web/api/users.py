"""Users: who there is, what roles they have. Nobody gives rights that they do not have themselves."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from pacs_actors.people.accounts import RoleScope, User, actions_of, scope_problem, username_problem
from pacs_actors.people.directory import UserChange
from pacs_actors.people.reception import Reception
from pacs_actors.people.rights import Action
from web.api.me import NO_NUL, Language, ShortText
from web.api.paging import PAGE_QUERY
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, Forbidden, NotFound, Request
from web.http.routes import Route

_TAG: Final = "people"
_COLUMNS: Final = (
    "username", "id", "display_name", "email", "department", "language", "enabled", "roles", "has_password", "issuer",
    "created_at", "last_login_at",
)  # fmt: skip
Roles = Annotated[tuple[Annotated[str, Meta(max_length=64, pattern=NO_NUL)], ...], Meta(max_length=64)]
Password = Annotated[str, Meta(max_length=1024)]


class UserPage(Struct, frozen=True):
    items: list[User]
    next: str | None
    total: int
    total_exact: bool


class NewUser(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """password: none for somebody whom the identity provider knows. Its repr shows none."""

    username: Annotated[str, Meta(min_length=1, max_length=128)]
    display_name: ShortText = ""
    password: Password | None = None
    roles: Roles = ()
    enabled: bool = True
    email: ShortText = ""
    department: ShortText = ""
    language: Language = ""
    scope: RoleScope | None = None

    def __repr__(self) -> str:
        return f"NewUser(username={self.username!r})"


class ChangedUser(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    display_name: ShortText | UnsetType = UNSET
    roles: Roles | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    email: ShortText | UnsetType = UNSET
    department: ShortText | UnsetType = UNSET
    language: Language | UnsetType = UNSET
    scope: RoleScope | UnsetType | None = UNSET


class GivenPassword(Struct, frozen=True, forbid_unknown_fields=True):
    """Its repr shows no password."""

    password: Password

    def __repr__(self) -> str:
        return "GivenPassword()"


class Ended(Struct, frozen=True):
    """How many sessions and tokens there were."""

    ended: int


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context.people)

    def route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
        access = Action.PEOPLE_READ if method == "GET" else Action.PEOPLE_WRITE
        return Route(
            method=method, path=f"/api/v1/users{path}", access=access, handler=handler, summary=summary, tag=_TAG, **more
        )  # fmt: skip

    return [
        route("GET", "", desk.list, "Everybody", answer=UserPage, query=PAGE_QUERY),
        route("POST", "", desk.add, "Add somebody", body=NewUser, answer=User, status=201),
        route("GET", "/{user_id}", desk.show, "One user", answer=User),
        route("PATCH", "/{user_id}", desk.change, "Change a user", body=ChangedUser, answer=User),
        route("DELETE", "/{user_id}", desk.delete, "Remove a user, their logins and tokens", status=204),
        route(
            "POST", "/{user_id}/password", desk.password, "Set a user's password; ends their sessions",
            body=GivenPassword, status=204,
        ),
        route("POST", "/{user_id}/revoke", desk.revoke, "End all sessions and tokens of a user", answer=Ended),
    ]  # fmt: skip


class _Desk:
    def __init__(self, people: Reception) -> None:
        self._people, self._directory, self._audit = people, people.directory, people.audit

    async def list(self, request: Request) -> Answer:
        return whole_list(request, "users", await self._directory.users(), _COLUMNS)

    async def show(self, request: Request) -> Answer:
        return json_answer(await self._asked_for(request))

    async def add(self, request: Request) -> Answer:
        asked = await request.json(NewUser)
        problem = username_problem(asked.username) or (asked.scope and scope_problem(asked.scope))
        if problem:
            raise BadRequest(problem)
        await self._may_give(request, asked.roles, asked.scope)
        user = User(
            id=0,
            username=asked.username,
            display_name=asked.display_name,
            email=asked.email,
            department=asked.department,
            language=asked.language,
            enabled=asked.enabled,
            roles=asked.roles,
            scope=asked.scope,
        )
        hashed = None
        if asked.password is not None:
            hashed = await self._people.hash_of(asked.password, asked.username)
        made = await self._directory.add(user, hashed)
        await self._audit.user_changed(request.actor, made.username, "created", roles=", ".join(made.roles))
        return json_answer(made, 201, "application/json", ("location", f"/api/v1/users/{made.id}"))

    async def change(self, request: Request) -> Answer:
        asked = await request.json(ChangedUser)
        before = await self._somebody_below(request)
        if asked.scope and (problem := scope_problem(asked.scope)):
            raise BadRequest(problem)
        if asked.roles is not UNSET or asked.scope is not UNSET:
            roles = before.roles if isinstance(asked.roles, UnsetType) else asked.roles
            await self._may_give(request, roles, None if isinstance(asked.scope, UnsetType) else asked.scope)
        change = UserChange(
            display_name=asked.display_name,
            email=asked.email,
            department=asked.department,
            language=asked.language,
            enabled=asked.enabled,
            roles=asked.roles,
            scope=asked.scope,
        )
        after = await self._directory.change(before.id, change)
        if after is None:
            raise NotFound
        self._people.forget()
        if set(before.roles) != set(after.roles) or before.scope != after.scope:
            listed = ", ".join(after.roles)
            await self._audit.permission_changed(request.actor, after.username, "roles", roles=listed)
        what = "changed"
        if before.enabled != after.enabled:
            what = "enabled" if after.enabled else "disabled"
        await self._audit.user_changed(request.actor, after.username, what)
        return json_answer(after)

    async def delete(self, request: Request) -> Answer:
        user = await self._somebody_below(request)
        await self._directory.delete(user.id)
        self._people.forget()
        await self._audit.user_changed(request.actor, user.username, "deleted")
        return Answer(204)

    async def password(self, request: Request) -> Answer:
        asked = await request.json(GivenPassword)
        user = await self._somebody_below(request)
        await self._people.set_password(user, asked.password, request.actor)
        return Answer(204)

    async def revoke(self, request: Request) -> Answer:
        user = await self._somebody_below(request)
        ended = await self._people.credentials.end_all(user.id)
        self._people.forget()
        await self._audit.user_changed(request.actor, user.username, "revoked", ended=ended)
        return json_answer(Ended(ended))

    async def _asked_for(self, request: Request) -> User:
        user_id = request.values["user_id"]
        if not (user_id.isascii() and user_id.isdigit() and len(user_id) < 19):
            raise NotFound
        user = await self._directory.user(int(user_id))
        if user is None:
            raise NotFound
        return user

    async def _somebody_below(self, request: Request) -> User:
        """The user of the path, if they may do nothing that the caller may not. raises: NotFound, Forbidden"""
        user = await self._asked_for(request)
        await self._may_give(request, user.roles, user.scope)
        return user

    async def _may_give(self, request: Request, roles: tuple[str, ...], scope: RoleScope | None) -> None:
        """raises: Forbidden if somebody with these roles could do or see what the caller cannot"""
        known = [role for role in await self._directory.roles() if role.name in roles]
        may_not_give(request, actions_of(known), [role.scope for role in known] + ([scope] if scope else []))


def may_not_give(request: Request, actions: frozenset[Action], scopes: Any) -> None:
    """raises: Forbidden for rights that the caller does not have"""
    missing = sorted(action.value for action in actions - request.who.actions)
    if missing:
        raise Forbidden(f"You would give what you do not have yourself: {', '.join(missing)}.")
    if not request.who.scope.everything and any(scope.everything or scope.rules for scope in scopes):
        raise Forbidden("Only who sees every study decides what others see.")
