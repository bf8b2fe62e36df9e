"""Roles: which actions, on which studies. And the permissions that there are."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote

from msgspec import Meta, Struct

from pacs_actors.people.accounts import Role, RoleScope, actions_of, scope_problem, unknown_actions
from pacs_actors.people.reception import Reception
from pacs_actors.people.rights import DESCRIPTIONS, Action
from web.api.me import ShortText
from web.api.paging import PAGE_QUERY
from web.api.users import may_not_give
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Route

_TAG: Final = "people"
_COLUMNS: Final = ("name", "description", "actions")
Actions = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)]
RoleName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f/\\\x7f]+$")]


class RolePage(Struct, frozen=True):
    items: list[Role]
    next: str | None
    total: int
    total_exact: bool


class NewRole(Struct, frozen=True, forbid_unknown_fields=True):
    name: RoleName
    description: ShortText = ""
    actions: Actions = ()
    scope: RoleScope = RoleScope()


class ChangedRole(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole role but its name. name: may be sent along; must be the same"""

    description: ShortText = ""
    actions: Actions = ()
    scope: RoleScope = RoleScope()
    name: str = ""


class Permission(Struct, frozen=True):
    action: str
    description: str


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context.people)

    def route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
        access = Action.PEOPLE_READ if method == "GET" else Action.PEOPLE_WRITE
        return Route(
            method=method, path=f"/api/v1{path}", access=access, handler=handler, summary=summary, tag=_TAG, **more
        )  # fmt: skip

    return [
        route("GET", "/roles", desk.list, "Every role", answer=RolePage, query=PAGE_QUERY),
        route("POST", "/roles", desk.add, "Add a role", body=NewRole, answer=Role, status=201),
        route("PUT", "/roles/{name}", desk.replace, "Change a role", body=ChangedRole, answer=Role),
        route("DELETE", "/roles/{name}", desk.delete, "Remove a role that nobody has", status=204),
        route("GET", "/permissions", desk.permissions, "What a role can allow", answer=list[Permission]),
    ]


class _Desk:
    def __init__(self, people: Reception) -> None:
        self._people, self._directory, self._audit = people, people.directory, people.audit

    async def list(self, request: Request) -> Answer:
        return whole_list(request, "roles", await self._directory.roles(), _COLUMNS)

    async def permissions(self, _: Request) -> Answer:
        return json_answer([Permission(action.value, DESCRIPTIONS[action]) for action in Action])

    async def add(self, request: Request) -> Answer:
        asked = await request.json(NewRole)
        role = _checked(request, Role(asked.name, asked.description, asked.actions, asked.scope))
        await self._directory.add_role(role)
        await self._tell(request, role, "created")
        return json_answer(
            role, 201, "application/json", ("location", f"/api/v1/roles/{quote(role.name, safe='')}")
        )

    async def replace(self, request: Request) -> Answer:
        asked, name = await request.json(ChangedRole), request.values["name"]
        if asked.name not in ("", name):
            raise BadRequest("A role keeps its name: add another one, and remove this.")
        before = await self._asked_for(request)
        role = _checked(request, Role(name, asked.description, asked.actions, asked.scope), before)
        if not await self._directory.replace_role(role):
            raise NotFound
        await self._tell(request, role, "changed")
        return json_answer(role)

    async def delete(self, request: Request) -> Answer:
        role = await self._asked_for(request)
        _checked(request, role)
        if not await self._directory.delete_role(role.name):
            raise NotFound
        await self._tell(request, role, "deleted")
        return Answer(204)

    async def _asked_for(self, request: Request) -> Role:
        for role in await self._directory.roles():
            if role.name == request.values["name"]:
                return role
        raise NotFound

    async def _tell(self, request: Request, role: Role, change: str) -> None:
        self._people.forget()
        actions = " ".join(role.actions)
        await self._audit.permission_changed(request.actor, f"role {role.name}", change, actions=actions)


def _checked(request: Request, *roles: Role) -> Role:
    """The first, if the caller has what all of them give. raises: BadRequest, Forbidden"""
    if unknown := unknown_actions(roles[0].actions):
        raise BadRequest(f"There is no permission {', '.join(unknown)}.")
    if problem := scope_problem(roles[0].scope):
        raise BadRequest(problem)
    may_not_give(request, actions_of(roles), [role.scope for role in roles])
    return roles[0]
