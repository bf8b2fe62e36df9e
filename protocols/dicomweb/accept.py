"""Which of the media types on offer an answer has (PS3.18 8.7): the ``accept`` parameter, then the header, by quality.

Pure, and quick for what clients ask again and again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from protocols.dicomweb.media_type import MediaType, parse_media_type, split_outside_quotes
from protocols.errors import Refusal

MULTIPART: Final = "multipart/related"
AS_STORED: Final = "*"
MAX_ACCEPT_CHARACTERS: Final = 8192
MAX_RANGES: Final = 64
_QUALITY: Final = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


class NotAcceptable(Refusal):
    """406: nothing that we can give is what the client takes."""

    def __init__(self, what: str = "Nothing of what this Accept names can be given here.") -> None:
        super().__init__(what, dimse_status=0xC000, http_status=406)


class Offer(Struct, frozen=True):
    """Something that can be given.

    name:     of the answer's media type, such as ``application/dicom`` or ``multipart/related``
    part:     media type of its parts, if it is a multipart
    syntaxes: Transfer Syntax UIDs that it can have; None: a ``transfer-syntax`` parameter changes nothing. What is
              stored (``*``), and what is not said, can always be given.
    """

    name: str
    part: str = ""
    syntaxes: frozenset[str] | None = None


class Chosen(Struct, frozen=True):
    """What was chosen.

    syntax: the Transfer Syntax UID asked for, ``*`` for as stored, "" if the client named a media type and no syntax:
            Explicit VR Little Endian then, where there is a choice (PS3.18 8.7.3.4)
    asked:  parameters of the client's range
    """

    offer: Offer
    syntax: str

    @property
    def multipart(self) -> bool:
        return self.offer.name == MULTIPART


@lru_cache(maxsize=1024)
def negotiate(accept_header: str | None, accept_parameter: str | None, offered: tuple[Offer, ...]) -> Chosen:
    """Choose among what is offered, the most preferred of ours first.

    accept_header:    the Accept header; None, like ``*/*``, leaves the choice to us
    accept_parameter: the query's ``accept``: it goes before the header
    raises:           NotAcceptable
    """
    asked = [text for text in (accept_parameter, accept_header) if text and text.strip()]
    if not asked:
        return Chosen(offered[0], "" if offered[0].syntaxes is None else AS_STORED)
    for text in asked:
        chosen = _choose(_ranges(text), offered)
        if chosen is not None:
            return chosen
    raise NotAcceptable


class _Range(Struct, frozen=True):
    media: MediaType
    quality: float


class _Candidate(Struct, frozen=True):
    specificity: int
    quality: float
    place: int
    chosen: Chosen


@lru_cache(maxsize=512)
def _ranges(text: str) -> tuple[_Range, ...]:
    """The ranges of one Accept; what is malformed is left out. raises: NotAcceptable if there are too many"""
    if len(text) > MAX_ACCEPT_CHARACTERS:
        raise NotAcceptable("The Accept is too long.")
    ranges = []
    for piece in split_outside_quotes(text, ","):
        media = parse_media_type(piece)
        if media is not None:
            ranges.append(_Range(media, _quality(media.parameter("q"))))
            if len(ranges) > MAX_RANGES:
                raise NotAcceptable(f"The Accept names more than {MAX_RANGES} media types.")
    return tuple(ranges)


def _quality(text: str) -> float:
    return float(text) if _QUALITY.fullmatch(text) else 1.0


def _choose(ranges: tuple[_Range, ...], offered: tuple[Offer, ...]) -> Chosen | None:
    """The best quality; among equals what the client names first, then what we offer first."""
    best: _Candidate | None = None
    for offer in offered:
        candidates = [
            found for place, each in enumerate(ranges) if (found := _match(each, place, offer)) is not None
        ]
        # For one offer the most specific range decides, as RFC 9110 section 12.5.1 has it.
        decisive = max((each.specificity for each in candidates), default=0)
        for each in candidates:
            if (
                each.specificity == decisive
                and each.quality > 0
                and (best is None or (each.quality, -each.place) > (best.quality, -best.place))
            ):
                best = each
    return best.chosen if best is not None else None


def _match(asked: _Range, place: int, offer: Offer) -> _Candidate | None:
    specificity = _specificity(asked.media.name, offer.name)
    if specificity is None:
        return None
    if offer.part:
        wanted = asked.media.parameter("type").lower()
        if wanted:
            inner = _specificity(wanted, offer.part)
            if inner is None:
                return None
            specificity += inner
    syntax = asked.media.parameter("transfer-syntax") or (AS_STORED if asked.media.name == "*/*" else "")
    if offer.syntaxes is None:
        syntax = ""
    elif syntax not in ("", AS_STORED) and syntax not in offer.syntaxes:
        return None
    return _Candidate(specificity, asked.quality, place, Chosen(offer, syntax))


def _specificity(asked: str, given: str) -> int | None:
    """How exactly a range names a media type; None if it does not."""
    if asked == given:
        return 3
    if asked == "*/*":
        return 1
    kind, _, subtype = asked.partition("/")
    return 2 if subtype == "*" and given.startswith(f"{kind}/") else None
