"""WADO-RS: values that the metadata only refer to (PS3.18 10.4.1.1.5), whole or a range of their bytes."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import Final

from pacs_actors.archive.conversions import Opened
from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.people.rights import Action
from protocols.dataset.elements import NeedMore
from protocols.dataset.finding import PIXEL_DATA, find_element, is_encapsulated
from protocols.dataset.transfer_syntax import DEFLATED, EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from protocols.dataset.windows import Windows
from protocols.dicomweb.accept import MULTIPART, Offer
from web.dicomweb.frames import OCTETS, Frames
from web.dicomweb.instances import PATH
from web.dicomweb.objects import WebObjects, chosen_for, multipart_writer
from web.dicomweb.pieces import FileSpan, Piece
from web.http.answer import Answer
from web.http.request import NotFound, Request
from web.http.routes import Route

PDF: Final = "application/pdf"
MAX_DEPTH: Final = 8
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_ITEM: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_REORDERED: Final = DEFLATED | {EXPLICIT_VR_BIG_ENDIAN}
_OFFERS: Final = (Offer(OCTETS, "", None), Offer(MULTIPART, OCTETS, None))
_DOCUMENT_OFFERS: Final = (*_OFFERS, Offer(PDF), Offer(MULTIPART, PDF))


class _Value:
    """Where a value lies in its file. encapsulated: it is fragments"""

    def __init__(self, offset: int, length: int, *, encapsulated: bool) -> None:
        self.offset, self.length, self.encapsulated = offset, length, encapsulated


class BulkData:
    """Serves values of instances. A path into sequences is served to a depth of MAX_DEPTH."""

    def __init__(self, objects: WebObjects, frames: Frames) -> None:
        self.objects, self.frames = objects, frames

    def routes(self) -> list[Route]:
        routes = []
        path = f"{PATH}/bulkdata"
        for depth in range(MAX_DEPTH + 1):
            path += f"/{{tag_{_letter(depth)}}}"
            routes.append(
                Route(
                    method="GET",
                    path=path,
                    access=Action.VIEW,
                    handler=partial(self._value, depth),
                    summary="A value as bytes" if not depth else f"A value {depth} sequences deep as bytes",
                    query={"accept": "media type, before the Accept header"},
                    objects=True,
                    tag="WADO-RS",
                )
            )
            path += f"/{{item_{_letter(depth)}}}"
        return routes

    async def _value(self, depth: int, request: Request) -> Answer:
        path = _path(request, depth)
        instance = await self.objects.located(request)
        asked = EXPLICIT_VR_LITTLE_ENDIAN if instance.transfer_syntax_uid in _REORDERED else ""
        opened = await self._opened(instance, asked)
        value = await self.objects.native.run(_find, opened, path)
        if value is None:
            raise NotFound("The instance has no such value.")
        if value.encapsulated and path == (PIXEL_DATA,):
            index = await self.frames.indexes.of(instance, opened)
            return await self.frames.frames(request, instance, (1,) if index.frames == 1 else None)
        await self.objects.viewed(request, instance)
        offers = _DOCUMENT_OFFERS if path == (_ENCAPSULATED_DOCUMENT,) else _OFFERS
        chosen = chosen_for(request, offers)
        pieces: list[Piece] = [FileSpan(opened, value.offset, value.length)]
        etag = f'"{instance.digest.hex()}-{"-".join(f"{number:X}" for number in path)}"'
        if not chosen.multipart:
            return await self.objects.ranged(request, pieces, etag, ("content-type", chosen.offer.name))
        writer = multipart_writer()
        kind = chosen.offer.part
        whole = [writer.head(("Content-Type", kind)), *pieces, writer.end]
        return await self.objects.answer(whole, ("content-type", writer.content_type(kind)), ("etag", etag))

    async def _opened(self, instance: ServedInstance, asked: str) -> Opened:
        return await self.objects.opened(instance, asked) if asked else await self.objects.stored(instance)


def _letter(depth: int) -> str:
    """Names of a template are of letters."""
    return "abcdefghi"[depth]


def _path(request: Request, depth: int) -> tuple[int, ...]:
    """Tags and item numbers, in turn. raises: NotFound if they are none"""
    path = []
    for level in range(depth + 1):
        tag = request.values[f"tag_{_letter(level)}"]
        item = request.values[f"item_{_letter(level)}"] if level < depth else "0"
        if not (_TAG.fullmatch(tag) and _ITEM.fullmatch(item)):
            raise NotFound("The path of a value is of tags and item numbers.")
        path += [int(tag, 16), int(item)]
    return tuple(path[:-1])


def _find(opened: Opened, path: tuple[int, ...]) -> _Value | None:
    """Blocks: for native threads. raises: CannotUnderstand, OSError"""
    end = opened.offset + opened.length
    if opened.length <= 0 or end > os.fstat(opened.fd).st_size:
        return None
    data = Windows(partial(os.pread, opened.fd), end)
    try:
        found = find_element(data, opened.offset, opened.syntax, path)
        encapsulated = found is not None and is_encapsulated(data, found)
    except NeedMore:
        return None
    return _Value(found.start, found.stop - found.start, encapsulated=encapsulated) if found else None
