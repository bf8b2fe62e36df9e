"""API tokens: for programs, in the name of their owner, with no more than their owner may do."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct, structs

from pacs_actors.people import tickets
from pacs_actors.people.accounts import unknown_actions
from pacs_actors.people.credentials import ApiToken
from pacs_actors.people.reception import Reception
from web.api.paging import PAGE_QUERY
from web.api.roles import Actions
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, Forbidden, NotFound, Request, Unauthorised
from web.http.routes import Access, Route

_TAG: Final = "tokens"
_COLUMNS: Final = ("name", "id", "created_at", "expires_at", "used_at", "actions")
_USUAL_S: Final = 90 * 24 * 3600
_MOST: Final = 100


class TokenPage(Struct, frozen=True):
    items: list[ApiToken]
    next: str | None
    total: int
    total_exact: bool


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """actions: those that the token is for; none: all of its owner's. expires_in_s: 90 days if not said"""

    name: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
    actions: Actions | None = None
    expires_in_s: Annotated[int, Meta(ge=60)] | None = None


class MadeToken(ApiToken, frozen=True):
    """token: the secret; it is not shown again. Its repr does not show it either."""

    token: str

    def __repr__(self) -> str:
        return f"MadeToken(id={self.id})"


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context.people)

    def route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
        return Route(
            method=method, path=f"/api/v1/tokens{path}", access=Access.IN_PERSON, handler=handler, summary=summary,
            tag=_TAG, **more,
        )  # fmt: skip

    return [
        route("GET", "", desk.list, "One's own API tokens", answer=TokenPage, query=PAGE_QUERY),
        route("POST", "", desk.add, "Make an API token", body=NewToken, answer=MadeToken, status=201),
        route("DELETE", "/{token_id}", desk.delete, "End an API token of one's own", status=204),
    ]


class _Desk:
    def __init__(self, people: Reception) -> None:
        self._people, self._credentials = people, people.credentials

    async def list(self, request: Request) -> Answer:
        return whole_list(request, "tokens", await self._credentials.tokens(_owner(request)), _COLUMNS)

    async def add(self, request: Request) -> Answer:
        asked, owner = await request.json(NewToken), _owner(request)
        if unknown := unknown_actions(asked.actions or ()):
            raise BadRequest(f"There is no permission {', '.join(unknown)}.")
        lacking = set(asked.actions or ()) - {action.value for action in request.who.actions}
        if lacking:
            raise Forbidden(f"You do not have the permission {', '.join(sorted(lacking))} yourself.")
        most_s = self._people.settings.api_token_most_s
        lifetime_s = min(_USUAL_S, most_s) if asked.expires_in_s is None else asked.expires_in_s
        if lifetime_s > most_s:
            raise BadRequest(f"A token lives at most {most_s} s.")
        if len(await self._credentials.tokens(owner)) >= _MOST:
            raise BadRequest(f"At most {_MOST} tokens: end one that is not needed.", 409)
        secret = tickets.new_secret(tickets.API_TOKEN)
        made = await self._credentials.add_token(
            owner, asked.name, asked.actions, lifetime_s, tickets.digest(secret)
        )
        await self._tell(request, made, "token created")
        return json_answer(MadeToken(**structs.asdict(made), token=secret), 201)

    async def delete(self, request: Request) -> Answer:
        token_id = request.values["token_id"]
        if not (token_id.isascii() and token_id.isdigit() and len(token_id) < 19):
            raise NotFound
        ended = await self._credentials.end_token(int(token_id), _owner(request))
        if ended is None:
            raise NotFound
        self._people.forget()
        await self._tell(request, ended, "token revoked")
        return Answer(204)

    async def _tell(self, request: Request, token: ApiToken, change: str) -> None:
        await self._people.audit.user_changed(request.actor, token.username, change, token=token.name)


def _owner(request: Request) -> int:
    if request.who.user_id is None:
        raise Unauthorised
    return request.who.user_id
