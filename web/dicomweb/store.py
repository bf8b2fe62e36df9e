"""STOW-RS: storing instances (PS3.18 10.5), as multipart or as a single DICOM file, and as DICOM JSON with bulk data.

200 when all is stored, 202 when some is not or there are warnings, 409 when nothing is. An instance whose UID is taken by other
content is stored as C-STORE stores it, aside, and is marked with warning 0111H. A body that breaks off or is malformed is
answered 400 (413 if a part is too large): what was complete before is stored.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import Any, Final

from pacs_actors.people.rights import Action
from protocols.dataset.part10 import MAX_META_BYTES
from protocols.dicomweb.accept import MULTIPART, Offer, negotiate
from protocols.dicomweb.media_type import parse_media_type
from protocols.dicomweb.multipart import MultipartLimits, MultipartReader, boundary_of, read_parts
from protocols.dicomweb.store_response import report, status_of
from protocols.errors import PacsError, Refusal
from web.context import WebContext
from web.dicomweb.paths import PREFIX, is_uid
from web.dicomweb.store_intake import Inflow, Intake
from web.dicomweb.store_json import JsonStore
from web.http.answer import DICOM_JSON, Answer
from web.http.request import BadRequest, Request
from web.http.routes import Route

DICOM: Final = "application/dicom"
_MOST_PARTS: Final = 100_000
# Clients name the media type of what they send, too; the answer is JSON all the same.
_OFFERED: Final = (Offer(DICOM_JSON), Offer("application/json"), Offer(MULTIPART))


class Store:
    def __init__(self, context: WebContext) -> None:
        self._archive = context.archive
        self._json = JsonStore(context)

    def routes(self) -> list[Route]:
        return [
            Route(
                method="POST",
                path=f"{PREFIX}/studies{below}",
                access=Action.STORE,
                handler=self._store,
                summary=f"Store instances{of}: {DICOM}, or {DICOM_JSON} with bulk data",
                tag="STOW-RS",
            )
            for below, of in (("", ""), ("/{study}", " of one study"))
        ]

    async def _store(self, request: Request) -> Answer:
        study = request.values.get("study", "")
        if study and not is_uid(study):
            raise BadRequest("The path names no Study Instance UID.")
        negotiate(request.headers.get("accept"), request.parameter("accept") or None, _OFFERED)
        read = self._reading(request)
        inflow = Inflow(request, self._archive.settings.dicom.minimum_rate_bytes_s)
        intake = Intake(self._archive, request, inflow, study)
        try:
            await intake.run(partial(read, inflow))
        except Refusal as refusal:
            raise _telling(refusal, intake) from None
        if not intake.items:
            raise BadRequest("There is nothing in the body to store.")
        items = await intake.judged()
        # Of many thousand instances it takes longer than anybody else should wait.
        body = await self._archive.native.run(report, items, request.root + PREFIX, study)
        return Answer(status_of(items), (("content-type", DICOM_JSON),), body)

    def _reading(self, request: Request) -> Any:
        """How the body is read, by its media type. raises: BadRequest (415), MalformedMultipart"""
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise BadRequest("Send the body without a Content-Encoding.", 415)
        media = parse_media_type(request.headers.get("content-type", ""))
        if media is None:
            raise BadRequest("The Content-Type is missing or none.", 415)
        inner = media
        if media.name == MULTIPART:
            inner = parse_media_type(media.parameter("type") or DICOM) or media
        if inner.name not in (DICOM, DICOM_JSON):
            raise BadRequest(
                f"{inner.name} is not taken: send {DICOM} or {DICOM_JSON}, or a {MULTIPART} of them.", 415
            )
        as_json = inner.name == DICOM_JSON
        if media.name == MULTIPART:
            reader = MultipartReader(boundary_of(media), self._limits())
            return partial(self._json.read_parts if as_json else _read_files, reader)
        return self._json.read_single if as_json else _read_file

    def _limits(self) -> MultipartLimits:
        largest = self._archive.settings.dicom.max_object_bytes + MAX_META_BYTES
        return MultipartLimits(parts=_MOST_PARTS, part_bytes=largest)


async def _read_files(reader: MultipartReader, inflow: Inflow, intake: Intake) -> None:
    async with (
        aclosing(inflow.chunks()) as chunks,
        aclosing(read_parts(chunks, reader)) as parts,  # type: ignore[type-var]
    ):
        async for part in parts:
            await intake.take(part)


async def _read_file(inflow: Inflow, intake: Intake) -> None:
    async with aclosing(inflow.chunks()) as chunks:
        await intake.take(chunks)


def _telling(refusal: Refusal, intake: Intake) -> PacsError:
    """The refusal of a body, which says also what was stored before it broke off."""
    stored = sum(hasattr(item, "digest") for item in intake.items)
    if not stored:
        return refusal
    return BadRequest(f"{refusal} {stored} instances that came before are stored.", refusal.http_status)
