"""Parts of an answer by the Range header (RFC 9110 section 14). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from web.dicomweb.pieces import FileSpan, Piece
from web.http.request import BadRequest, Request

_ONE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)


class NotSatisfiable(BadRequest):
    """416: the range begins behind the end."""

    def __init__(self, size: int) -> None:
        super().__init__(f"There are {size} bytes.", 416)


def asked_range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """First byte and the one behind the last; None for all of it: no range, several of them, or one of another version.

    raises: NotSatisfiable
    """
    match = _ONE.fullmatch(request.headers.get("range", "").strip())
    if match is None or request.method != "GET":
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() != etag:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        begins, ends = max(size - int(suffix), 0), size
    else:
        begins, ends = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    if begins >= size or begins >= ends:
        raise NotSatisfiable(size)
    return begins, ends


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has this version already."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in (each.strip().removeprefix("W/") for each in known.split(","))


def cut(pieces: Iterable[Piece], begins: int, ends: int) -> list[Piece]:
    """The pieces of a part of the whole."""
    part: list[Piece] = []
    at = 0
    for piece in pieces:
        length = piece.length if isinstance(piece, FileSpan) else len(piece)
        first, behind = max(begins - at, 0), min(ends - at, length)
        if first < behind:
            if isinstance(piece, FileSpan):
                part.append(FileSpan(piece.opened, piece.offset + first, behind - first))
            else:
                part.append(piece[first:behind])
        at += length
    return part
