"""Whole studies as a zip of DICOM files, one or several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

from msgspec import Meta, Struct

from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.people.rights import Action
from web.context import WebContext
from web.dicomweb.archive import ZIP, zip_answer
from web.dicomweb.objects import WebObjects
from web.dicomweb.paths import is_uid
from web.http.answer import Answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Route

_MOST_STUDIES: Final = 500
_MOST_INSTANCES: Final = 400_000
Uid = Annotated[str, Meta(max_length=64, pattern=r"^[0-9.]{1,64}$")]


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    studies: Annotated[tuple[Uid, ...], Meta(min_length=1, max_length=_MOST_STUDIES)]


def routes(_: WebContext, objects: WebObjects) -> list[Route]:
    return [
        Route(
            method="GET", path="/api/v1/studies/{study}/archive", access=Action.DOWNLOAD,
            handler=partial(_of_one, objects), summary="A study as a zip of DICOM files", media=(ZIP,), objects=True,
        ),
        Route(
            method="POST", path="/api/v1/archive", access=Action.DOWNLOAD, handler=partial(_of_several, objects),
            summary="Studies as one zip of DICOM files", body=Wanted, media=(ZIP,),
        ),
    ]  # fmt: skip


async def _of_one(objects: WebObjects, request: Request) -> Answer:
    study = request.values["study"]
    return await _zip(objects, request, [study], study)


async def _of_several(objects: WebObjects, request: Request) -> Answer:
    wanted = await request.json(Wanted)
    return await _zip(objects, request, list(dict.fromkeys(wanted.studies)), "studies")


async def _zip(objects: WebObjects, request: Request, studies: Sequence[str], name: str) -> Answer:
    found: list[list[ServedInstance]] = []
    for study in studies:
        instances = (
            list(await objects.locator.instances(request.who.scope, study, None)) if is_uid(study) else []
        )
        if not instances:
            raise NotFound("There is no such study." if len(studies) == 1 else f"There is no study {study}.")
        found.append(instances)
        if sum(map(len, found)) > _MOST_INSTANCES:
            raise BadRequest(f"More than {_MOST_INSTANCES} instances: take fewer studies at once.", 413)
    await objects.at_hand([one for instances in found for one in instances])
    for instances in found:  # nobody is told of what was refused as a whole
        await objects.downloaded(request, instances, "zip")
    return await zip_answer(objects, [one for instances in found for one in instances], name)
