"""Deleting studies, series and instances; what was deleted; bringing it back."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.archive.deleting import Deletion
from pacs_actors.archive.deletions import OPEN
from pacs_actors.people.rights import Action
from web.api.paging import PAGE_QUERY
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.dicomweb.delete import LEVELS, delete
from web.http.answer import Answer, json_answer
from web.http.request import NotFound, Request
from web.http.routes import Handler, Parameter, Route

_PATH: Final = "/api/v1/deletions"
_COLUMNS: Final = ("id", *(name for name in Deletion.__struct_fields__ if name != "id"))
_EVERY_STATE: Final = ("deleted", "undoing", "undone", "erasing", "erased")
_BACK_WITHIN_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.05


class Deleted(Struct, frozen=True):
    """deletion: its number, to undo it with"""

    deletion: int
    undo_until: datetime
    instances: int


class DeletionPage(Struct, frozen=True):
    items: list[Deletion]
    next: str | None
    total: int
    total_exact: bool


def routes(context: WebContext) -> list[Route]:
    listing: dict[str, str | Parameter] = {
        **PAGE_QUERY,
        "state": "all: those that cannot be undone any more as well",
    }
    handle: Handler = partial(_delete, context)
    return [
        *(
            Route(
                method="DELETE", path=f"/api/v1/studies{below}", access=Action.DELETE, handler=handle,
                summary=f"Delete the {level}", answer=Deleted, objects=True,
            )
            for below, level in zip(LEVELS, ("study", "series", "instance"), strict=True)
        ),
        Route(
            method="GET", path=_PATH, access=Action.DELETE, handler=partial(_list, context),
            summary="What was deleted and may be brought back", query=listing, answer=DeletionPage,
        ),
        Route(
            method="POST", path=f"{_PATH}/{{deletion}}/undo", access=Action.DELETE, handler=partial(_undo, context),
            summary="Bring back what was deleted; 202 if that takes a while", answer=Deletion,
        ),
    ]  # fmt: skip


async def _delete(context: WebContext, request: Request) -> Answer:
    deletion = await delete(context, request)
    return json_answer(Deleted(deletion.id, deletion.undo_until, deletion.instances))


async def _list(context: WebContext, request: Request) -> Answer:
    states = _EVERY_STATE if request.parameter("state") == "all" else OPEN
    only_by = request.who.name if _own_only(request) else None
    rows = await context.archive.deletions.deletions.listed(states, only_by=only_by)
    return whole_list(request, "deletions", rows, _COLUMNS)


async def _undo(context: WebContext, request: Request) -> Answer:
    keeper, text = context.archive.deletions, request.values["deletion"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound
    found = await keeper.deletions.undo(int(text), request.actor, own_only=_own_only(request))
    if found is None:
        raise NotFound
    keeper.look()
    with trio.move_on_after(_BACK_WITHIN_S):
        while True:
            found = await keeper.deletions.one(found.id) or found
            if found.state == "undone":
                return json_answer(found)
            await trio.sleep(_LOOK_EVERY_S)
    return json_answer(found, 202)


def _own_only(request: Request) -> bool:
    """What is deleted has no study any more to ask a scope about: who does not see everything sees what they deleted."""
    return not request.who.scope.everything
