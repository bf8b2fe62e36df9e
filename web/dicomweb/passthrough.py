"""Objects that are pictures or papers already: encapsulated PDF and video, taken out of their DICOM wrapping as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from msgspec import Struct

from pacs_actors.archive.conversions import Opened
from pacs_actors.threads import NativePool
from protocols.dataset.elements import Element, NeedMore, elements, items
from protocols.dataset.transfer_syntax import EXPLICIT_LE, encoding_of
from protocols.dataset.windows import Windows
from protocols.errors import CannotUnderstand, Refusal
from web.dicomweb.pieces import FileSpan

PDF: Final = "application/pdf"
PDF_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.104.1"
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_DOCUMENT_LENGTH: Final = 0x00420015
_MIME_TYPE: Final = 0x00420012
_PIXEL_DATA: Final = 0x7FE00010
_MAX_ELEMENTS: Final = 20_000
_MAX_FRAGMENTS: Final = 65_536
_VIDEO: Final = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(10[0-8])(?:\.1)?", re.ASCII)
_MPEG_2: Final = ("100", "101")
_HEVC: Final = ("107", "108")


class NothingInside(Refusal):
    """406: the object has none of what its class promises."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0xC000, http_status=406)


class Content(Struct, frozen=True):
    """What an object wraps. spans: of its file, in order"""

    media_type: str
    spans: list[FileSpan]


def video_type(syntax: str) -> str:
    """Media type of a video transfer syntax (PS3.18 table 8.7.3-5), "" for all others."""
    match = _VIDEO.fullmatch(syntax)
    if match is None:
        return ""
    return "video/mpeg" if match[1] in _MPEG_2 else "video/H265" if match[1] in _HEVC else "video/mp4"


async def video(native: NativePool, opened: Opened) -> Content:
    """The stream of a video: all fragments behind each other. raises: NothingInside, OSError"""
    return await native.run(_taken, _video, opened)


async def document(native: NativePool, opened: Opened) -> Content:
    """The PDF of an encapsulated document. raises: NothingInside, OSError"""
    return await native.run(_taken, _document, opened)


def _taken(take: Callable[[Opened], Content], opened: Opened) -> Content:
    try:
        return take(opened)
    except NeedMore:
        raise NothingInside("The object ends inside an element.") from None
    except CannotUnderstand as failure:
        raise NothingInside(f"The object cannot be read: {failure}.") from None


def _video(opened: Opened) -> Content:
    data, found = _elements(opened, frozenset({_PIXEL_DATA}))
    pixels = found.get(_PIXEL_DATA)
    if pixels is None or pixels.end == pixels.stop:
        raise NothingInside("There is no video in this object.")
    # The first item is the Basic Offset Table. The stream may be cut into fragments anywhere (PS3.5 A.4.4).
    walk = items(data, pixels.start, pixels.stop, EXPLICIT_LE, implicit=True)
    fragments = list(islice(walk, 1, _MAX_FRAGMENTS + 1))
    spans = [FileSpan(opened, start, stop - start) for start, stop in fragments if stop > start]
    if not spans or len(fragments) == _MAX_FRAGMENTS:
        raise NothingInside("The video is empty, or in too many pieces.")
    head = bytes(data[spans[0].offset : spans[0].offset + 8])
    # What is in an MP4 file plays in a browser, whatever its codec.
    boxed, standard = head[4:8] == b"ftyp", video_type(opened.syntax)
    transport_stream = head[:1] == b"\x47" and standard != "video/mpeg"
    return Content("video/mp4" if boxed else "video/mp2t" if transport_stream else standard, spans)


def _document(opened: Opened) -> Content:
    data, found = _elements(opened, frozenset({_MIME_TYPE, _DOCUMENT_LENGTH, _ENCAPSULATED_DOCUMENT}))
    content = found.get(_ENCAPSULATED_DOCUMENT)
    kind = _value(data, found.get(_MIME_TYPE)).decode("latin-1").strip(" \0").lower()
    if content is None or kind not in ("", PDF) or _value(data, content)[:5] != b"%PDF-":
        raise NothingInside("There is no PDF in this object.")
    length = content.stop - content.start
    # The value is padded to an even length; the object says how long the document is, if it does.
    declared = _value(data, found.get(_DOCUMENT_LENGTH))
    order = encoding_of(opened.syntax, data[opened.offset : opened.offset + 6]).u32
    said = int(order.unpack(declared)[0]) if len(declared) == 4 else 0
    return Content(PDF, [FileSpan(opened, content.start, said if 0 < said <= length else length)])


def _elements(opened: Opened, wanted: frozenset[int]) -> tuple[Windows, dict[int, Element]]:
    """The file, and those of its elements that are wanted. raises: NothingInside, NeedMore, CannotUnderstand, OSError"""
    start, stop = opened.offset, opened.offset + opened.length
    if stop > os.fstat(opened.fd).st_size:
        raise NothingInside("The object is shorter than it should be.")
    data = Windows(partial(os.pread, opened.fd), stop)
    walk = islice(
        elements(data, start, stop, encoding_of(opened.syntax, data[start : start + 6])), _MAX_ELEMENTS
    )
    return data, {element.tag: element for element in walk if element.tag in wanted}


def _value(data: Windows, element: Element | None) -> bytes:
    """The beginning of a short value."""
    return b"" if element is None else bytes(data[element.start : min(element.stop, element.start + 64)])
