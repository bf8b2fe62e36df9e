"""DICOM JSON as answers: the media type, and compression for who offers it (PS3.18 8.7)."""

from __future__ import annotations

import zlib
from typing import Final

from pacs_actors.threads import NativePool
from protocols.dicomweb.accept import Offer, negotiate
from web.http.answer import DICOM_JSON, Answer
from web.http.request import Request

_OFFERED: Final = (Offer(DICOM_JSON), Offer("application/json"))
VARY: Final = ("vary", "accept, accept-encoding")
_WORTH_BYTES: Final = 1400  # what fits into a packet is not compressed
_INLINE_BYTES: Final = 16 * 1024
_QUICK: Final = 1
GZIP_FORMAT: Final = 31


def json_type(request: Request) -> str:
    """The answer's media type, without any parameter. raises: NotAcceptable"""
    return negotiate(request.headers.get("accept"), request.parameter("accept") or None, _OFFERED).offer.name


def takes_gzip(request: Request) -> bool:
    """Does the client offer gzip (RFC 9110 section 12.5.3)?"""
    offered = request.headers.get("accept-encoding", "")
    if "gzip" not in offered and "*" not in offered:
        return False
    qualities = {}
    for coding in offered.lower().split(","):
        name, _, parameters = coding.partition(";")
        quality = parameters.replace(" ", "").removeprefix("q=")
        qualities[name.strip()] = not (quality and not quality.strip("0."))
    return qualities.get("gzip", qualities.get("*", False))


async def json_body(
    request: Request, body: bytes, native: NativePool, *headers: tuple[str, str], media_type: str
) -> Answer:
    """200 with a DICOM JSON body, compressed if the client offers gzip and it is worth it."""
    headers = (("content-type", media_type), VARY, *headers)
    if len(body) < _WORTH_BYTES or not takes_gzip(request):
        return Answer(200, headers, body)
    packed = gzipped(body) if len(body) <= _INLINE_BYTES else await native.run(gzipped, body)
    return Answer(200, (*headers, ("content-encoding", "gzip")), packed)


def gzipped(body: bytes) -> bytes:
    return zlib.compress(body, _QUICK, wbits=GZIP_FORMAT)
