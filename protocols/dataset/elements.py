"""Walks over encoded elements that are not hot: inside sequences, identifiers and file meta information.

Nothing here recurses into what a peer sends, and every length is checked against what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from protocols.dataset.transfer_syntax import (
    ITEM,
    ITEM_DELIMITATION_ITEM,
    LONG_VRS,
    SEQUENCE_DELIMITATION_ITEM,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    VRS,
    Encoding,
    dictionary_vr,
)
from protocols.dataset.windows import NeedMore, Readable, Windows
from protocols.errors import CannotUnderstand

__all__ = [
    "MAX_NESTING",
    "MAX_SEQUENCE_HEADERS",
    "SHALLOW_BYTES",
    "Element",
    "NeedMore",
    "SequenceWalk",
    "elements",
    "items",
    "items_are_implicit",
    "read_header",
]

MAX_NESTING: Final = 64
MAX_SEQUENCE_HEADERS: Final = 600_000

# One level of nesting takes a sequence header and an item header, 16 bytes at least: what is shorter cannot
# nest beyond the limit on its own, and need not be looked into.
SHALLOW_BYTES: Final = 16 * MAX_NESTING

_BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_CAPITALS: Final = frozenset(range(0x41, 0x5B))
_SHORT: Final = {vr.encode(): vr for vr in SHORT_VRS}


class Element(Struct, frozen=True, gc=False):
    """Where one element lies.

    start, stop: its value, without delimiters; offsets from the beginning of the buffer
    end:         behind it, delimiters included
    implicit:    how its items are encoded, if it is a sequence
    """

    tag: int
    vr: str
    start: int
    stop: int
    end: int
    implicit: bool


def read_header(
    data: Readable, at: int, limit: int, encoding: Encoding, *, implicit: bool
) -> tuple[int, str, int, int]:
    """Read the header of the element or item at ``at``.

    returns: (tag, VR, offset of the value, length); the VR is "" where none is written: implicit VR, items
    raises:  NeedMore if it does not end before ``limit``
    """
    if at + 8 > limit:
        raise NeedMore(at + 8)
    head, place = (data[at : at + 12], 0) if isinstance(data, Windows) else (data, at)
    if implicit:
        group, element, length = encoding.implicit_header.unpack_from(head, place)
        return group << 16 | element, "", at + 8, length
    group, element, letters, short = encoding.explicit_header.unpack_from(head, place)
    tag = group << 16 | element
    if group == 0xFFFE or letters[0] not in _CAPITALS or letters[1] not in _CAPITALS:
        # Items have no VR; anything else without one is an implicit element left among explicit ones.
        return tag, "", at + 8, encoding.u32.unpack_from(head, place + 4)[0]
    vr = letters.decode("ascii")
    if vr not in LONG_VRS:
        return tag, vr, at + 8, short
    if at + 12 > limit:
        raise NeedMore(at + 12)
    return tag, vr, at + 12, encoding.u32.unpack_from(head, place + 8)[0]


def items_are_implicit(data: Readable, at: int, stop: int) -> bool:
    """How the items of an undefined-length UN are encoded: implicit (PS3.5 6.2.2), unless a VR is seen."""
    return at + 16 > stop or bytes(data[at + 12 : at + 14]).decode("latin-1") not in VRS


def elements(
    data: Readable, start: int, stop: int, encoding: Encoding, *, implicit: bool | None = None
) -> Iterator[Element]:
    """Walk over the elements between two offsets, sequences as a whole.

    implicit: if it differs from the encoding's, as inside UN
    raises:   NeedMore if a length runs past ``stop``, CannotUnderstand at a misplaced delimiter or when
              sequences nest too deep
    """
    mode = encoding.implicit if implicit is None else implicit
    walk = SequenceWalk(data, stop, encoding)
    at = start
    plain = None if mode or isinstance(data, Windows) else data
    while at < stop:
        if plain is not None and at + 8 <= stop:
            # Most elements are these, and this is half of what looking at an image's attributes takes.
            group, element, letters, length = encoding.explicit_header.unpack_from(plain, at)
            vr = _SHORT.get(letters)
            if vr is not None and group != 0xFFFE:
                value = at + 8
                at = value + length
                if at > stop:
                    raise NeedMore(at)
                yield Element(group << 16 | element, vr, value, at, at, False)
                continue
        tag, vr, value, length = read_header(data, at, stop, encoding, implicit=mode)
        if tag >> 16 == 0xFFFE:
            raise CannotUnderstand("a delimiter stands where an element belongs")
        nested = mode or not vr
        vr = vr or dictionary_vr(tag)
        if length == UNDEFINED_LENGTH:
            if vr == "UN":
                nested, vr = items_are_implicit(data, value, stop), "SQ"
            at = walk.behind_sequence(value, implicit=nested, opaque=vr != "SQ")
            yield Element(tag, vr, value, at - 8, at, nested)
        else:
            at = value + length
            if at > stop:
                raise NeedMore(at)
            yield Element(tag, vr, value, at, at, nested)


def items(
    data: Readable, start: int, stop: int, encoding: Encoding, *, implicit: bool
) -> Iterator[tuple[int, int]]:
    """Walk over the items of a sequence's value: where the elements of each begin and end.

    raises: NeedMore, CannotUnderstand as ``elements``
    """
    walk = SequenceWalk(data, stop, encoding)
    at = start
    while at < stop:
        tag, _, value, length = read_header(data, at, stop, encoding, implicit=True)
        if tag == SEQUENCE_DELIMITATION_ITEM:
            return
        if tag != ITEM:
            raise CannotUnderstand("an element stands where an item belongs")
        if length == UNDEFINED_LENGTH:
            at = walk.behind_item(value, implicit=implicit)
            yield value, at - 8
        else:
            at = value + length
            if at > stop:
                raise NeedMore(at)
            yield value, at


class _Frame(Struct, gc=False):
    """A sequence or item that the walk is inside of; ``end`` is None while only its delimiter can tell."""

    end: int | None
    is_sequence: bool
    implicit: bool
    opaque: bool = False


class SequenceWalk:
    """Finds the ends of sequences in one data set, without recursion, within one limit on headers read.

    stop: no header and no value may reach beyond it
    """

    def __init__(self, data: Readable, stop: int, encoding: Encoding) -> None:
        self._data, self._stop, self._encoding = data, stop, encoding
        self._headers_left = MAX_SEQUENCE_HEADERS

    def behind_sequence(self, start: int, *, implicit: bool, opaque: bool = False) -> int:
        """Offset behind the delimiter of an undefined-length sequence whose first item is at ``start``.

        opaque: its items are fragments of a binary value, not data sets (PS3.5 A.4)
        raises: NeedMore if it does not end before ``stop``, CannotUnderstand if it nests too deep
        """
        return self._walk(start, _Frame(None, True, implicit, opaque))

    def behind_item(self, start: int, *, implicit: bool) -> int:
        """Offset behind the delimiter of an undefined-length item; raises as ``behind_sequence``."""
        return self._walk(start, _Frame(None, False, implicit))

    def check_nesting(self, start: int, end: int, *, implicit: bool) -> None:
        """Refuse a defined-length sequence that nests too deep; other damage inside it is let pass.

        raises: CannotUnderstand
        """
        self._walk(start, _Frame(end, True, implicit))

    def _walk(self, at: int, outermost: _Frame) -> int:
        frames = [outermost]
        while frames:
            frame = frames[-1]
            if frame.end is not None and at >= frame.end:
                at = frame.end
                frames.pop()
                continue
            limit = self._stop if frame.end is None else frame.end
            if frame.is_sequence:
                at = self._behind_small_items(at, limit)
            self._headers_left -= 1
            if self._headers_left <= 0:
                raise CannotUnderstand(f"more than {MAX_SEQUENCE_HEADERS} elements inside sequences")
            try:
                inner, at = self._next(frame, at, limit)
            except (NeedMore, CannotUnderstand):
                behind = _leave_damaged(frames)
                if behind is None:
                    raise
                at = behind
                continue
            if inner is None:
                frames.pop()
            elif inner is not frame:
                frames.append(inner)
                if len(frames) > 2 * MAX_NESTING:
                    raise CannotUnderstand(f"sequences nest deeper than {MAX_NESTING}")
        return at

    def _next(self, frame: _Frame, at: int, limit: int) -> tuple[_Frame | None, int]:
        """Read one header. Returns where to go on, and in what: None has ended ``frame``."""
        in_sequence = frame.is_sequence
        tag, vr, value, length = read_header(
            self._data, at, limit, self._encoding, implicit=in_sequence or frame.implicit
        )
        if tag == (SEQUENCE_DELIMITATION_ITEM if in_sequence else ITEM_DELIMITATION_ITEM):
            return None, value
        if (tag != ITEM) if in_sequence else (tag >> 16 == 0xFFFE):
            raise CannotUnderstand("items and elements of a sequence are mixed up")
        if length == UNDEFINED_LENGTH:
            if in_sequence:
                return _Frame(None, False, frame.implicit), value
            implicit = frame.implicit or not vr
            if vr == "UN":
                implicit = items_are_implicit(self._data, value, limit)
            return _Frame(None, True, implicit, vr in _BINARY_VRS), value
        end = value + length
        if end > limit:
            raise NeedMore(end)
        if length < SHALLOW_BYTES or frame.opaque:
            return frame, end
        if in_sequence:
            return _Frame(end, False, frame.implicit), value
        if (vr or dictionary_vr(tag)) == "SQ":
            return _Frame(end, True, frame.implicit or not vr), value
        return frame, end

    def _behind_small_items(self, at: int, limit: int) -> int:
        """Jump over items that are too short to nest deep, up to the first header that is something else."""
        data, unpack, left = self._data, self._encoding.implicit_header.unpack_from, self._headers_left
        while left > 0 and at + 8 <= limit:
            group, element, length = (
                unpack(data[at : at + 8]) if isinstance(data, Windows) else unpack(data, at)
            )
            if element != 0xE000 or group != 0xFFFE or length >= SHALLOW_BYTES or at + 8 + length > limit:
                break
            at += 8 + length
            left -= 1
        self._headers_left = left
        return at


def _leave_damaged(frames: list[_Frame]) -> int | None:
    """Drop the outermost frame whose length is known; the offset behind it, None if there is none."""
    for depth, frame in enumerate(frames):
        if frame.end is not None:
            del frames[depth:]
            return frame.end
    return None
