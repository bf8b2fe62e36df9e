"""Sequences as DICOM JSON text (PS3.18 annex F), as the index keeps them, and back into elements.

Only what a query can match or show is kept: text, numbers, tags and nested sequences; no binary values.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from math import isfinite
from typing import Any, Final

import msgspec
from msgspec import Struct

from protocols.dataset.elements import elements, items
from protocols.dataset.text import (
    PARAGRAPH_VRS,
    TEXT_VRS,
    decode_numbers,
    decode_tags,
    decode_text,
)
from protocols.dataset.transfer_syntax import NUMBER_FORMATS, Encoding, dictionary_vr
from protocols.dataset.writing import sequence, text_element

MAX_JSON_CHARACTERS: Final = 10240
MAX_SEQUENCE_BYTES: Final = 65536
MAX_DEPTH: Final = 8
MAX_CACHED_BYTES: Final = 4096

SPECIFIC_CHARACTER_SET: Final = 0x00080005

JsonItem = dict[str, dict[str, Any]]


def sequence_to_json(data: bytes, encoding: Encoding, *, implicit: bool, character_set: str) -> str:
    """A sequence's value as compact DICOM JSON: an array of items.

    data:          the value without its sequence delimiter; of more than 64 KiB nothing is kept
    character_set: of the surrounding data set; an item's own (0008,0005) goes before it
    returns:       "" if there is no item; what does not fit into 10,240 characters is left out, by items, and
                   so are sequences nested deeper than 8
    raises:        NeedMore or CannotUnderstand if it cannot be parsed
    """
    if len(data) > MAX_SEQUENCE_BYTES:
        return ""
    if len(data) <= MAX_CACHED_BYTES:
        # The instances of a series repeat the same request.
        return _cached(data, encoding, implicit, character_set)
    return _to_json(data, encoding, implicit, character_set)


def _to_json(data: bytes, encoding: Encoding, implicit: bool, character_set: str) -> str:
    kept: list[str] = []
    size = 2
    for start, stop in items(data, 0, len(data), encoding, implicit=implicit):
        context = _Context(data, encoding, implicit, character_set, depth=1)
        item = msgspec.json.encode(_item(context, start, stop)).decode()
        size += len(item) + 1
        if size > MAX_JSON_CHARACTERS:
            break
        kept.append(item)
    return f"[{','.join(kept)}]" if kept else ""


_cached = lru_cache(maxsize=256)(_to_json)


class _Context(Struct):
    """What the elements of one item are read with."""

    data: bytes
    encoding: Encoding
    implicit: bool
    character_set: str
    depth: int


def _item(context: _Context, start: int, stop: int) -> JsonItem:
    data, encoding = context.data, context.encoding
    item: JsonItem = {}
    for element in elements(data, start, stop, encoding, implicit=context.implicit):
        tag, vr = element.tag, element.vr
        raw = data[element.start : element.stop]
        if tag & 0xFFFF == 0:
            continue
        if tag == SPECIFIC_CHARACTER_SET:
            context.character_set = decode_text(raw, "CS", "")
            continue
        value: list[Any]
        if vr == "SQ":
            if context.depth >= MAX_DEPTH:
                continue
            value = [
                _item(
                    _Context(data, encoding, element.implicit, context.character_set, context.depth + 1),
                    *bounds,
                )
                for bounds in items(data, element.start, element.stop, encoding, implicit=element.implicit)
            ]
        elif vr in TEXT_VRS:
            value = _text_values(decode_text(raw, vr, context.character_set), vr)
        elif vr in NUMBER_FORMATS:
            value = [number for number in decode_numbers(raw, vr, encoding) if isfinite(number)]
        elif vr == "AT":
            value = list(decode_tags(raw, encoding))
        else:
            continue
        item[f"{tag:08X}"] = {"vr": vr, "Value": value} if value else {"vr": vr}
    return item


def _text_values(text: str, vr: str) -> list[Any]:
    if not text:
        return []
    values = [text] if vr in PARAGRAPH_VRS or vr == "UR" else text.split("\\")
    if vr == "PN":
        return [_person_name(value) for value in values]
    if vr in {"IS", "DS"}:
        return [_number(value) for value in values]
    return [value or None for value in values]


def _person_name(value: str) -> dict[str, str] | None:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False)
    return {name: group for name, group in groups if group} or None


def _number(value: str) -> int | float | str | None:
    """PS3.18 F.2.2: a number where it loses nothing, else the text as it was written."""
    if not value:
        return None
    try:
        number = int(value) if len(value) <= 16 else None
    except ValueError:
        number = None
    if number is not None:
        return number
    try:
        decimal = float(value)
    except ValueError:
        return value
    return decimal if isfinite(decimal) and repr(decimal) == value else value


def items_from_json(text: str) -> list[JsonItem]:
    """The items of DICOM JSON text that ``sequence_to_json`` made; none of anything else."""
    try:
        return msgspec.json.decode(text, type=list[JsonItem]) if text else []
    except msgspec.DecodeError:
        return []


def sequence_from_json(tag: int, text: str, encoding: Encoding, wanted: Collection[int] = ()) -> bytes:
    """Encode DICOM JSON text as a sequence element, in UTF-8 where ASCII does not do.

    wanted: the tags to put into each item, absent ones empty; none: all there is (PS3.4 C.2.2.2.6)
    """
    encoded = [_item_elements(item, encoding, wanted) for item in items_from_json(text)]
    return sequence(tag, encoded, encoding)


def _item_elements(item: JsonItem, encoding: Encoding, wanted: Collection[int]) -> bytes:
    parts: list[bytes] = []
    for tag in sorted(wanted or (int(key, 16) for key in item)):
        attribute = item.get(f"{tag:08X}", {})
        vr = attribute.get("vr") or dictionary_vr(tag)
        values = attribute.get("Value", [])
        if vr == "SQ":
            parts.append(sequence(tag, [_item_elements(inner, encoding, ()) for inner in values], encoding))
        else:
            parts.append(text_element(tag, vr, "\\".join(map(_as_text, values)), encoding))
    return b"".join(parts)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        names = (value.get(name, "") for name in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(names).rstrip("=")
    return str(value)
