"""One element of a data set, found by its path, for who wants its bytes. Pure; nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from protocols.dataset.elements import MAX_NESTING, Element, elements, items
from protocols.dataset.transfer_syntax import UNDEFINED_LENGTH, encoding_of
from protocols.dataset.windows import Windows
from protocols.errors import CannotUnderstand

MAX_ELEMENTS: Final = 400_000
MAX_ITEMS: Final = 400_000
PIXEL_DATA: Final = 0x7FE00010


def find_element(
    data: memoryview | Windows, at: int, transfer_syntax_uid: str, path: Sequence[int]
) -> Element | None:
    """The element at a path: its tag, or tag and item number of each sequence around it, the outermost first.

    data:    the data set from ``at`` to the end; not deflated
    path:    of odd length; items are counted from 0 on
    returns: offsets in ``data``; None if there is no such element, or it is a sequence
    raises:  NeedMore, CannotUnderstand if the data set is damaged before the element
    """
    if len(path) // 2 > MAX_NESTING:
        return None
    encoding = encoding_of(transfer_syntax_uid, data[at : at + 6])
    start, stop, implicit = at, len(data), encoding.implicit
    for tag, number in zip(path[:-1:2], path[1::2], strict=True):
        sequence = _last(elements(data, start, stop, encoding, implicit=implicit), tag)
        if sequence is None or sequence.vr not in ("SQ", "UN"):
            return None
        implicit = sequence.implicit
        if number >= MAX_ITEMS:
            return None
        held = items(data, sequence.start, sequence.stop, encoding, implicit=implicit)
        item = next(islice(held, number, None), None)
        if item is None:
            return None
        start, stop = item
    found = _last(elements(data, start, stop, encoding, implicit=implicit), path[-1])
    return found if found is not None and found.vr != "SQ" else None


def is_encapsulated(data: memoryview | Windows, element: Element) -> bool:
    """Whether the value is fragments, which only a delimiter ends (PS3.5 A.4)."""
    return (
        element.end != element.stop
        and int.from_bytes(data[element.start - 4 : element.start], "little") == UNDEFINED_LENGTH
    )


def _last(walk: Iterator[Element], tag: int) -> Element | None:
    """The element with a tag; of repeated ones the last, as in the JSON model. Nothing is looked at behind the pixels."""
    found = None
    for count, element in enumerate(walk):
        if element.tag == tag:
            found = element
        if element.tag == PIXEL_DATA:
            break
        if count >= MAX_ELEMENTS:
            raise CannotUnderstand(f"more than {MAX_ELEMENTS} elements")
    return found
