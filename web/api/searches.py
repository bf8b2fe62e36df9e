"""Saved searches: everybody's own."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from pacs_actors.people.rights import Action
from pacs_actors.people.saved_searches import MOST, SavedSearch, SavedSearches
from web.api.paging import page_query
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, Forbidden, NotFound, Request
from web.http.routes import Route

_PATH: Final = "/api/v1/searches"
_COLUMNS: Final = ("name", "id", "query", "created_at")


class SearchPage(Struct, frozen=True):
    items: list[SavedSearch]
    next: str | None
    total: int
    total_exact: bool


class NewSearch(Struct, frozen=True, forbid_unknown_fields=True):
    """query: the panel's, such as ``modality=CT&sort=-study_date``; one of the same name is replaced"""

    name: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
    query: Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Searches:
    def __init__(self, context: WebContext) -> None:
        self._kept = SavedSearches(context.archive.catalogue.database)

    async def list(self, request: Request) -> Answer:
        return whole_list(request, "searches", await self._kept.of(_owner(request)), _COLUMNS)

    async def add(self, request: Request) -> Answer:
        asked = await request.json(NewSearch)
        kept = await self._kept.keep(_owner(request), asked.name, asked.query)
        if kept is None:
            raise BadRequest(f"At most {MOST} searches can be kept: delete one that is not needed.", 409)
        return json_answer(kept, 201)

    async def delete(self, request: Request) -> Answer:
        number = request.values["search_id"]
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise NotFound
        if not await self._kept.forget(_owner(request), int(number)):
            raise NotFound
        return Answer(204)


def _owner(request: Request) -> int:
    """raises: Forbidden"""
    if request.who.user_id is None:
        raise Forbidden("Only users keep searches.")
    return request.who.user_id


def routes(context: WebContext) -> list[Route]:
    searches = Searches(context)
    return [
        Route(
            method="GET", path=_PATH, access=Action.SEARCH, handler=searches.list, summary="One's saved searches",
            query=page_query(_COLUMNS), answer=SearchPage,
        ),
        Route(
            method="POST", path=_PATH, access=Action.SEARCH, handler=searches.add, summary="Save a search",
            body=NewSearch, answer=SavedSearch, status=201,
        ),
        Route(
            method="DELETE", path=f"{_PATH}/{{search_id}}", access=Action.SEARCH, handler=searches.delete,
            summary="Delete a saved search of one's own", status=204,
        ),
    ]  # fmt: skip
