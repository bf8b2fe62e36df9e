"""WADO-RS: frames, one or a list, as stored or uncompressed (PS3.18 10.4.1.1.6); Pixel Data is all of them."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from functools import lru_cache, partial
from typing import Final

from pacs_actors.archive.conversions import Opened
from pacs_actors.archive.frame_index import FrameIndex, NoFrames, index_object, unpacked
from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.people.rights import Action
from pacs_actors.threads import NativePool
from protocols.dataset.transfer_syntax import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from protocols.dicomweb.accept import AS_STORED, MULTIPART, Chosen, Offer
from protocols.dicomweb.multipart import MultipartWriter
from web.dicomweb.instances import PATH
from web.dicomweb.objects import WebObjects, chosen_for, given_syntax, given_syntaxes, multipart_writer
from web.dicomweb.pieces import FileSpan, Piece
from web.http.answer import Answer
from web.http.request import BadRequest, Request
from web.http.routes import Route

OCTETS: Final = "application/octet-stream"
MAX_LIST: Final = 10_000
# An answer of more is made while it is sent.
_MOST_PIECES: Final = 20_000
_LIST: Final = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9})*", re.ASCII)
_JPEG: Final = "1.2.840.10008.1.2.4."
# PS3.18 table 8.7.3-5
_MEDIA_TYPES: Final = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    **{f"{_JPEG}{number}": "image/jpeg" for number in (50, 51, 53, 55, 57, 70)},
    **{f"{_JPEG}{number}": "image/jls" for number in (80, 81)},
    **{f"{_JPEG}{number}": "image/jp2" for number in (90, 91)},
    **{f"{_JPEG}{number}": "image/jpx" for number in (92, 93)},
    **{f"{_JPEG}{number}": "video/mpeg" for number in ("100", "100.1", "101", "101.1")},
    **{f"{_JPEG}{number}{part}": "video/mp4" for number in range(102, 107) for part in ("", ".1")},
    **{f"{_JPEG}{number}": "video/H265" for number in (107, 108)},
    **{f"{_JPEG}{number}": "image/jxl" for number in (110, 111, 112)},
    **{f"{_JPEG}{number}": "image/jphc" for number in (201, 202, 203)},
}
# Frames cannot be cut out of a deflated data set, and nobody takes them with their bytes swapped.
_NOT_CUT: Final = DEFLATED | {EXPLICIT_VR_BIG_ENDIAN}
_NATIVE: Final = DEFLATED | {
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
}
_MOST_NUMBERS: Final = 2_000_000


def media_type_of(syntax: str) -> str:
    """Of one frame in a transfer syntax."""
    return _MEDIA_TYPES.get(syntax, OCTETS)


class FrameIndexes:
    """Where the frames of objects are, kept as long as there is room; an object never changes."""

    def __init__(self, native: NativePool) -> None:
        self._native = native
        self._kept: OrderedDict[tuple[str, str], FrameIndex] = OrderedDict()
        self._numbers = 0

    async def of(self, instance: ServedInstance, opened: Opened) -> FrameIndex:
        """raises: NoFrames, BrokenFrames, CannotUnderstand"""
        key = (instance.key, opened.syntax)
        index = self._kept.get(key)
        if index is not None:
            self._kept.move_to_end(key)
            return index
        index = await self._native.run(
            partial(
                index_object,
                opened.fd,
                offset=opened.offset,
                length=opened.length,
                transfer_syntax_uid=opened.syntax,
            )
        )
        if self._kept.setdefault(key, index) is index:
            self._numbers += index.cost
        while self._numbers > _MOST_NUMBERS and len(self._kept) > 1:
            self._numbers -= self._kept.popitem(last=False)[1].cost
        return index


class Frames:
    """Serves frames of instances."""

    def __init__(self, objects: WebObjects) -> None:
        self.objects, self.indexes = objects, FrameIndexes(objects.native)

    def routes(self) -> list[Route]:
        query = {"accept": "media type, before the Accept header"}
        return [
            Route(
                method="GET",
                path=f"{PATH}/frames/{{frames}}",
                access=Action.VIEW,
                handler=self._listed,
                summary="Frames by their numbers, separated by commas",
                query=query,
                objects=True,
                tag="WADO-RS",
            ),
            Route(
                method="GET",
                path=f"{PATH}/pixeldata",
                access=Action.VIEW,
                handler=self._all,
                summary="All frames",
                query=query,
                objects=True,
                tag="WADO-RS",
            ),
        ]

    async def _listed(self, request: Request) -> Answer:
        return await self.frames(request, await self.objects.located(request), frame_list(request))

    async def _all(self, request: Request) -> Answer:
        return await self.frames(request, await self.objects.located(request), None)

    async def frames(
        self, request: Request, instance: ServedInstance, numbers: Sequence[int] | None
    ) -> Answer:
        """numbers: from 1 on; None: all there are. raises: NotAcceptable, NoFrames, BrokenFrames"""
        single = numbers is not None and len(numbers) == 1
        chosen = chosen_for(request, _offers(instance.transfer_syntax_uid, single=single))
        opened, syntax = await self._opened(instance, chosen)
        index = await self.indexes.of(instance, opened)
        if numbers is None:
            numbers = range(1, index.frames + 1)
        elif not all(1 <= number <= index.frames for number in numbers):
            raise NoFrames(f"There are {index.frames} frames.")
        await self.objects.viewed(request, instance)
        kind = media_type_of(syntax) if index.encapsulated else OCTETS
        part_type = f"{kind}; transfer-syntax={syntax}"
        if not chosen.multipart:
            frame = [piece async for piece in self._frame(opened, index, numbers[0])]
            etag = f'"{instance.digest.hex()}-{numbers[0]}-{syntax}"'
            return await self.objects.ranged(request, frame, etag, ("content-type", part_type))
        writer = multipart_writer()
        headers = ("content-type", writer.content_type(kind, syntax))
        parts = self._parts(opened, index, numbers, writer, part_type)
        few = len(numbers) <= MAX_LIST and index.pieces(numbers) <= _MOST_PIECES
        if few and not index.unaligned:
            return await self.objects.answer([piece async for piece in parts], headers)
        return Answer(200, (headers,), self.objects.reader.body(parts))

    async def _opened(self, instance: ServedInstance, chosen: Chosen) -> tuple[Opened, str]:
        """The object to cut frames from, and the transfer syntax of the frames."""
        stored, asked = instance.transfer_syntax_uid, chosen.syntax
        kind = chosen.offer.part or chosen.offer.name
        if kind != OCTETS and asked in ("", AS_STORED):
            # Named by the media type alone: as it is stored if that is its type, else in the first syntax of that type.
            asked = AS_STORED if media_type_of(stored) == kind else min(chosen.offer.syntaxes or {stored})
        if asked == AS_STORED and stored in _NOT_CUT:
            asked = EXPLICIT_VR_LITTLE_ENDIAN
        syntax = given_syntax(asked, stored)
        if syntax == EXPLICIT_VR_LITTLE_ENDIAN and stored not in _NOT_CUT and _is_native(stored):
            # The pixels of both little endian syntaxes are the same.
            return await self.objects.stored(instance), syntax
        opened = await self.objects.opened(instance, asked)
        return opened, opened.syntax

    async def _parts(
        self,
        opened: Opened,
        index: FrameIndex,
        numbers: Sequence[int],
        writer: MultipartWriter,
        part_type: str,
    ) -> AsyncGenerator[Piece, None]:
        for number in numbers:
            yield writer.head(("Content-Type", part_type))
            async for piece in self._frame(opened, index, number):
                yield piece
        yield writer.end

    async def _frame(self, opened: Opened, index: FrameIndex, number: int) -> AsyncGenerator[Piece, None]:
        spans = [FileSpan(opened, span.offset, span.length) for span in index.spans(number)]
        if index.unaligned:
            packed = await self.objects.reader.whole(spans)
            yield await self.objects.native.run(unpacked, packed, index.shift(number), index.frame_bits)
            return
        for span in spans:
            yield span


def frame_list(request: Request) -> list[int]:
    """Different numbers from 1 on. raises: BadRequest"""
    text = request.values["frames"]
    if len(text) > 10 * MAX_LIST or not _LIST.fullmatch(text):
        raise BadRequest("Frames are numbers separated by commas.")
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) > MAX_LIST:
        raise BadRequest(f"More than {MAX_LIST} frames at once.")
    if 0 in numbers:
        raise BadRequest("Frames are counted from 1 on.")
    if len(set(numbers)) < len(numbers):
        # As the standard has it (PS3.18 10.4.1.1.6); else one large frame could be asked for ten thousand times at once.
        raise BadRequest("A frame is named once.")
    return numbers


def _is_native(stored: str) -> bool:
    return stored in (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)


@lru_cache(maxsize=256)
def _offers(stored: str, *, single: bool) -> tuple[Offer, ...]:
    compressed = given_syntaxes(stored) - _NATIVE
    by_kind = {OCTETS: frozenset({*compressed, stored, EXPLICIT_VR_LITTLE_ENDIAN})}
    # What it is stored in goes first: who names its media type and no syntax takes that.
    for syntax in (stored, *sorted(compressed)):
        kind = media_type_of(syntax)
        if kind != OCTETS:
            by_kind[kind] = by_kind.get(kind, frozenset()) | {syntax}
    offers = [Offer(MULTIPART, kind, syntaxes) for kind, syntaxes in by_kind.items()]
    if single:
        offers += [Offer(kind, "", syntaxes) for kind, syntaxes in by_kind.items()]
    return tuple(offers)
