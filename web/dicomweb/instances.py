"""WADO-RS: one instance, as a multipart or as a file (PS3.18 10.4.1.1.3)."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Final

from pacs_actors.archive.conversions import Opened
from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.people.rights import Action
from protocols.dicomweb.accept import MULTIPART, Offer
from web.dicomweb.objects import WebObjects, chosen_for, given_syntaxes, multipart_writer
from web.dicomweb.paths import PREFIX
from web.dicomweb.pieces import FileSpan, Piece
from web.http.answer import Answer
from web.http.request import Request
from web.http.routes import Route

DICOM: Final = "application/dicom"
PATH: Final = f"{PREFIX}/studies/{{study}}/series/{{series}}/instances/{{instance}}"


def routes(objects: WebObjects) -> list[Route]:
    return [
        Route(
            method="GET",
            path=PATH,
            # A viewer fetches segmentations, reports and plans whole: who may look at them may have them.
            access=Action.VIEW,
            handler=partial(_instance, objects),
            summary="One instance as a DICOM file",
            query={"accept": "media type, before the Accept header"},
            objects=True,
            tag="WADO-RS",
        )
    ]


async def _instance(objects: WebObjects, request: Request) -> Answer:
    instance = await objects.located(request)
    chosen = chosen_for(request, _offers(instance.transfer_syntax_uid))
    opened = await objects.opened(instance, chosen.syntax)
    await objects.viewed(request, instance)
    if not chosen.multipart:
        return await file_answer(objects, instance, opened)
    writer = multipart_writer()
    head = writer.head(("Content-Type", dicom_type(opened.syntax)))
    pieces: list[Piece] = [head, *part10(opened), writer.end]
    return await objects.answer(pieces, ("content-type", writer.content_type(DICOM, opened.syntax)))


async def file_answer(objects: WebObjects, instance: ServedInstance, opened: Opened) -> Answer:
    """A DICOM file to keep; the UID is of digits and dots."""
    return await objects.answer(
        part10(opened),
        ("content-type", dicom_type(opened.syntax)),
        ("content-disposition", f'attachment; filename="{instance.sop_instance_uid}.dcm"'),
    )


def part10(opened: Opened) -> list[Piece]:
    """The pieces of a Part 10 file, without what we noted in its preamble."""
    rest = opened.offset - opened.rest + opened.length
    return [opened.prefix, FileSpan(opened, opened.rest, rest)]


def dicom_type(syntax: str) -> str:
    return f"{DICOM}; transfer-syntax={syntax}"


@lru_cache(maxsize=256)
def _offers(stored: str) -> tuple[Offer, ...]:
    syntaxes = given_syntaxes(stored)
    return (Offer(MULTIPART, DICOM, syntaxes), Offer(DICOM, "", syntaxes))
