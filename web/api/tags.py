"""All attributes of one instance but bulk data, as rows of a table."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct

from pacs_actors.archive.metadata_making import Opening, instance_json
from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.people.rights import Action
from protocols.dicomweb.tag_rows import TagRow, tag_rows
from web.api.paging import PAGE_QUERY, csv_answer, wants_csv
from web.context import WebContext
from web.dicomweb.objects import WebObjects
from web.http.answer import Answer, json_answer
from web.http.request import Request
from web.http.routes import Parameter, Route

_PATH: Final = "/api/v1/studies/{study}/series/{series}/instances/{instance}/tags"


class TagPage(Struct, frozen=True):
    """total: may be more than there are items: those beyond the first 20,000 are not told"""

    items: list[TagRow]
    next: str | None
    total: int
    total_exact: bool


def routes(context: WebContext, objects: WebObjects) -> list[Route]:
    return [
        Route(
            method="GET", path=_PATH, access=Action.VIEW, handler=partial(_tags, context, objects),
            summary="All attributes of an instance but bulk data", answer=TagPage, objects=True,
            query={
                "q": Parameter("Anywhere in tag, keyword, name or value"), "format": PAGE_QUERY["format"],
            },
        )
    ]  # fmt: skip


async def _tags(context: WebContext, objects: WebObjects, request: Request) -> Answer:
    found = await objects.located(request)
    await objects.viewed(request, found)
    native, opening, wanted = objects.native, context.archive.store.open, request.parameter("q")[:256]
    rows, total = await objects.reached(found, lambda one: native.run(_read, opening, one, wanted))
    if wants_csv(request):
        return csv_answer("tags", rows)
    return json_answer(TagPage(rows, None, total, total_exact=True))


def _read(opening: Opening, instance: ServedInstance, wanted: str) -> tuple[list[TagRow], int]:
    """On a native thread. raises: ObjectMissing, OSError"""
    data_set: dict[str, Any] = msgspec.json.decode(instance_json(opening, instance, "", as_stored=True))
    return tag_rows(data_set, wanted)
