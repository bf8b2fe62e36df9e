"""WADO-URI (PS3.18 9): one object named by query parameters, as a DICOM file, or rendered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.people.rights import Action
from protocols.dicomweb.accept import AS_STORED, NotAcceptable, Offer, negotiate
from web.dicomweb.instances import DICOM, file_answer
from web.dicomweb.objects import WebObjects, given_syntaxes
from web.dicomweb.paths import PREFIX, is_uid
from web.http.answer import Answer
from web.http.request import BadRequest, Request
from web.http.routes import Route

Render = Callable[[Request, ServedInstance], Awaitable[Answer]]
"""Answers with a picture of an instance that the caller may see; reads frameNumber, contentType and the like itself."""

PATH: Final = f"{PREFIX}/wado"
_UIDS: Final = ("studyUID", "seriesUID", "objectUID")
_PARAMETERS: Final = {
    "requestType": "WADO",
    "studyUID": "Study Instance UID",
    "seriesUID": "Series Instance UID",
    "objectUID": "SOP Instance UID",
    "contentType": "media types, the most wanted first",
    "transferSyntax": "Transfer Syntax UID of a DICOM file; * as it is stored",
    "frameNumber": "of a rendered frame, from 1 on",
    "presentationUID": "SOP Instance UID of a presentation state that is applied to the picture",
    "presentationSeriesUID": "Series Instance UID of that state",
    "anonymize": "refused: nothing is anonymised here",
}


def routes(objects: WebObjects, render: Render | None = None) -> list[Route]:
    return [
        Route(
            method="GET",
            path=PATH,
            access=Action.VIEW,
            handler=partial(_object, objects, render),
            summary="One object by the parameters of WADO-URI",
            query=_PARAMETERS,
            tag="WADO-URI",
        )
    ]


async def _object(objects: WebObjects, render: Render | None, request: Request) -> Answer:
    if request.parameter("requestType").upper() != "WADO":
        raise BadRequest("requestType is WADO.")
    study, series, instance_uid = (_uid(request, name) for name in _UIDS)
    if request.parameter("anonymize"):
        # An object that only looks anonymous is worse than none; a server may refuse (PS3.18 9.1.2.1.1).
        raise BadRequest("anonymize is not served: what leaves here is as it is stored.")
    instance = await objects.instance(request, study, series, instance_uid)
    if not _wants_file(request.parameter("contentType")):
        if render is None:
            raise NotAcceptable("Only application/dicom can be had here; pictures are at /rendered.")
        return await render(request, instance)
    if request.parameter("frameNumber"):
        raise BadRequest("frameNumber goes with pictures only.")
    syntax = request.parameter("transferSyntax")
    if syntax not in ("", AS_STORED) and syntax not in given_syntaxes(instance.transfer_syntax_uid):
        raise NotAcceptable("The object cannot be given in this transferSyntax.")
    opened = await objects.opened(instance, syntax)
    await objects.viewed(request, instance)
    return await file_answer(objects, instance, opened)


def _uid(request: Request, name: str) -> str:
    value = request.parameter(name)
    if not is_uid(value):
        raise BadRequest(f"{name} is a UID.")
    return value


def _wants_file(content_type: str) -> bool:
    """Whether a DICOM file is what the client wants most; without a word about it, it is a picture (PS3.18 9.1.2.2.1)."""
    if not content_type:
        return False
    try:
        return negotiate(None, content_type, _OFFERS).offer.name == DICOM
    except NotAcceptable:
        return False


_OFFERS: Final = tuple(
    map(Offer, (DICOM, "image/jpeg", "image/png", "image/gif", "video/mp4", "application/pdf"))
)
