"""A data set in the DICOM JSON Model (PS3.18 F.2) as a list of its attributes, those of sequences right behind them. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from protocols.dataset.dictionaries import entry_of

SHOWN_CHARACTERS: Final = 1024
MOST_ROWS: Final = 20_000
_MAX_DEPTH: Final = 64


class TagRow(Struct, frozen=True, gc=False):
    """One attribute.

    path:    ``00081110[0].00081155``: items are counted from 0
    tag:     8 hexadecimal digits
    keyword, name:  of PS3.6; "" for private and unknown attributes
    value:   text, several values divided by ``\\``, binary in hexadecimal; its first 1024 characters. Of bulk data nothing
    length:  characters of the whole text, or bytes if it is binary; 0 for bulk data and sequences
    depth:   of sequences that it is in
    bulk:    it has a value that is not told here
    """

    path: str
    tag: str
    vr: str
    keyword: str
    name: str
    value: str
    length: int
    depth: int
    bulk: bool


def tag_rows(data_set: Mapping[str, Any], wanted: str = "") -> tuple[list[TagRow], int]:
    """The first MOST_ROWS attributes that have the text in tag, keyword, name or value, and how many do."""
    found: list[TagRow] = []
    total = 0
    text = _plain(wanted)
    for row in _rows(data_set, "", 0):
        if text and not any(text in _plain(part) for part in (row.tag, row.keyword, row.name, row.value)):
            continue
        total += 1
        if len(found) < MOST_ROWS:
            found.append(row)
    return found, total


def _rows(data_set: Mapping[str, Any], path: str, depth: int) -> Iterator[TagRow]:
    for tag, attribute in data_set.items():
        vr, values = str(attribute.get("vr", "")), attribute.get("Value", [])
        number = int(tag, 16)
        here, keyword, name = f"{path}{tag}", _keyword(number), _name(number)
        if vr == "SQ":
            count = f"{len(values)} item{'' if len(values) == 1 else 's'}"
            yield TagRow(here, tag, vr, keyword, name, count, 0, depth, False)
            if depth < _MAX_DEPTH:
                for position, item in enumerate(values):
                    yield from _rows(item, f"{here}[{position}].", depth + 1)
            continue
        value, length = _shown(attribute, values)
        yield TagRow(here, tag, vr, keyword, name, value, length, depth, "BulkDataURI" in attribute)


def _shown(attribute: Mapping[str, Any], values: list[Any]) -> tuple[str, int]:
    if inline := attribute.get("InlineBinary"):
        raw = binascii.a2b_base64(inline)
        return raw[: SHOWN_CHARACTERS // 2].hex(), len(raw)
    whole = "\\".join(map(_text, values))
    return whole[:SHOWN_CHARACTERS], len(whole)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):  # a person's name: its groups in their order (PS3.5 6.2.1.2)
        groups = [str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return str(value)


def _keyword(tag: int) -> str:
    entry = entry_of(tag)
    return str(entry[4]) if entry is not None else ""


def _name(tag: int) -> str:
    entry = entry_of(tag)
    return str(entry[2]) if entry is not None else ""


def _plain(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum() or character == ".")
