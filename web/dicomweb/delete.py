"""DELETE of studies, series and instances under DICOMweb's paths, which the standard has none of: clients expect 204.

What it does is ``delete``, for the API as well.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from pacs_actors.archive.deleting import Deletion, Target
from pacs_actors.archive.progress import wait_until_indexed
from pacs_actors.people.rights import Action
from protocols.errors import Unavailable
from web.context import WebContext
from web.dicomweb.paths import PREFIX, is_uid
from web.http.answer import Answer
from web.http.request import NotFound, Request
from web.http.routes import Route

LEVELS: Final = ("/{study}", "/{study}/series/{series}", "/{study}/series/{series}/instances/{instance}")


def routes(context: WebContext) -> list[Route]:
    return [
        Route(
            method="DELETE",
            path=f"{PREFIX}/studies{below}",
            access=Action.DELETE,
            handler=partial(_delete, context),
            summary=f"Delete the {level}; it may be undone for some time",
            status=204,
            objects=True,
            tag="Delete",
        )
        for below, level in zip(LEVELS, ("study", "series", "instance"), strict=True)
    ]


async def _delete(context: WebContext, request: Request) -> Answer:
    deletion = await delete(context, request)
    return Answer(204, (("x-deletion", str(deletion.id)),))


async def delete(context: WebContext, request: Request) -> Deletion:
    """Delete what the path names. Once it returns no search finds it, on any worker; retrievals end within moments.

    raises: NotFound for what is not there or not for the caller; Unavailable
    """
    archive, values = context.archive, request.values
    uids = [values[name] for name in ("study", "series", "instance") if name in values]
    if not all(map(is_uid, uids)):
        raise NotFound
    # What was stored before it was asked for is deleted, too.
    if not await wait_until_indexed(archive.progress, within_s=context.settings.index.catch_up_s):
        raise Unavailable("The index has not caught up.")
    keeper = archive.deletions
    deletion = await keeper.deletions.delete(
        Target(*uids), request.who.scope, request.actor, undo_s=context.archive.settings.web.undo_s
    )
    if deletion is None:
        raise NotFound
    keeper.look()
    return deletion
