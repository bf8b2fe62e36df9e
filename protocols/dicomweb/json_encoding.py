"""Data sets from DICOM JSON (PS3.18 annex F) into bytes: Explicit VR Little Endian, text in UTF-8. Pure.

Bulk data is not touched: where it belongs, the result names its place among what was received. Nothing is trusted: depth, number
of elements and lengths have limits, and a value that its VR cannot hold refuses the data set.
"""

from __future__ import annotations

import binascii
import re
import struct
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from protocols.dataset.text import TEXT_VRS
from protocols.dataset.transfer_syntax import (
    EXPLICIT_LE,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    ITEM,
    LONG_VRS,
    NUMBER_FORMATS,
    SEQUENCE_DELIMITATION_ITEM,
    UNDEFINED_LENGTH,
    VRS,
    is_deflated,
)
from protocols.dataset.writing import MAX_SHORT_VALUE, element_header
from protocols.errors import CannotUnderstand

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 400_000
MAX_DATA_SETS: Final = 10_000
_MOST_BYTES: Final = UNDEFINED_LENGTH - 1
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_CHARACTER_SET: Final = 0x00080005
_PIXEL_DATA: Final = 0x7FE00010
_TRANSFER_SYNTAX: Final = ("00020010", "00083002")
_PERSON_NAME: Final = ("Alphabetic", "Ideographic", "Phonetic")
_UTF8: Final = b"ISO_IR 192"
# What is encapsulated if the media type of its pixel data is all that is said (PS3.18 table 8.7.3-2).
_OF_MEDIA_TYPE: Final = {
    "image/jpeg": "1.2.840.10008.1.2.4.70", "image/jls": "1.2.840.10008.1.2.4.80", "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jphc": "1.2.840.10008.1.2.4.201", "image/dicom-rle": "1.2.840.10008.1.2.5",
}  # fmt: skip
# Of the process that codes a JPEG stream, by the marker of its first frame.
_OF_JPEG: Final = {
    0xC0: "1.2.840.10008.1.2.4.50",
    0xC1: "1.2.840.10008.1.2.4.51",
    0xC3: "1.2.840.10008.1.2.4.70",
}


class BulkPart(Struct, frozen=True):
    """A part of the body, by its place in what was received.

    media_type: without parameters; syntax: its ``transfer-syntax``, if it says one; head: its first bytes
    """

    offset: int
    length: int
    media_type: str = ""
    syntax: str = ""
    head: bytes = b""


class Span(Struct, frozen=True):
    """Bytes of what was received."""

    offset: int
    length: int


class EncodedInstance(Struct, frozen=True):
    """segments: the data set, one after the other"""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    segments: list[bytes | Span]


Bulk = Mapping[str, Sequence[BulkPart]]


def data_sets(text: bytes) -> list[dict[str, Any]]:
    """The data sets of a DICOM JSON text: an array of objects, or one object. raises: CannotUnderstand"""
    try:
        found = msgspec.json.decode(text, type=list[dict[str, Any]] | dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CannotUnderstand(f"this is no DICOM JSON: {error}") from None
    found = found if isinstance(found, list) else [found]
    if len(found) > MAX_DATA_SETS:
        raise CannotUnderstand(f"more than {MAX_DATA_SETS} data sets")
    return found


def uid_of(data_set: Mapping[str, Any], tag: str) -> str:
    """The value of a UI attribute; "" if there is none that is a text."""
    attribute = data_set.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    value = values[0] if isinstance(values, list) and values else ""
    return value if isinstance(value, str) else ""


def encode_instance(data_set: Mapping[str, Any], bulk: Bulk) -> EncodedInstance:
    """One data set as bytes, behind no file meta information.

    bulk:    BulkDataURI -> the parts that it names; several are the frames of compressed pixel data
    raises:  CannotUnderstand
    """
    syntax = _syntax(data_set, bulk)
    encoder = _Encoder(bulk, syntax)
    segments, _ = encoder.elements(data_set, depth=0)
    return EncodedInstance(uid_of(data_set, "00080016"), uid_of(data_set, "00080018"), syntax, segments)


def _syntax(data_set: Mapping[str, Any], bulk: Bulk) -> str:
    """Of the object that is made: what the data set or its pixel data says; else uncompressed."""
    pixel_data = data_set.get(f"{_PIXEL_DATA:08X}")
    uri = pixel_data.get("BulkDataURI") if isinstance(pixel_data, dict) else None
    parts = bulk.get(uri, ()) if isinstance(uri, str) else ()
    told = next((uid for tag in _TRANSFER_SYNTAX if (uid := uid_of(data_set, tag))), "")
    if parts:
        first = parts[0]
        told = first.syntax or (told if not _is_native(told) else "") or _of_media_type(first) or told
    # Whatever byte order the object had, its JSON and bulk data are little endian; it is not deflated here.
    return told if told and not _is_native(told) else EXPLICIT_VR_LITTLE_ENDIAN


def _is_native(syntax: str) -> bool:
    return syntax in (
        "",
        "*",
        EXPLICIT_VR_LITTLE_ENDIAN,
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
    ) or is_deflated(syntax)


def _of_media_type(part: BulkPart) -> str:
    if part.media_type == "image/jpeg":
        return _jpeg_syntax(part.head)
    return _OF_MEDIA_TYPE.get(part.media_type, "")


def _jpeg_syntax(head: bytes) -> str:
    """By the first frame header (ITU-T T.81 B.2.2)."""
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _OF_JPEG:
            return _OF_JPEG[marker]
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return _OF_MEDIA_TYPE["image/jpeg"]


Made = tuple[list[bytes | Span], int]
"""Segments, and how many bytes they are."""


class _Encoder:
    def __init__(self, bulk: Bulk, syntax: str) -> None:
        self._bulk, self._encapsulated = bulk, not _is_native(syntax)
        self._left = MAX_ELEMENTS

    def elements(self, data_set: Mapping[str, Any], *, depth: int) -> Made:
        """The elements of a data set or an item in the order of their tags."""
        made: list[bytes | Span] = []
        size = 0
        tags = sorted((_tag(key), key) for key in data_set)
        if len({tag for tag, _ in tags}) < len(tags):
            raise CannotUnderstand("an attribute is there twice")
        if depth == 0 and not any(tag == _CHARACTER_SET for tag, _ in tags):
            tags = sorted([*tags, (_CHARACTER_SET, "")])
        for tag, key in tags:
            if tag >> 16 <= 2 or tag & 0xFFFF == 0 or (tag == _CHARACTER_SET and depth):
                continue  # file meta information, group lengths; an item has the character set of the whole
            self._left -= 1
            if self._left < 0:
                raise CannotUnderstand(f"more than {MAX_ELEMENTS} elements")
            if tag == _CHARACTER_SET:
                segments, length = _value_element(tag, "CS", _UTF8)
            else:
                segments, length = self._element(tag, data_set[key], depth)
            _extend(made, segments)
            size += length
        return made, size

    def _element(self, tag: int, attribute: Any, depth: int) -> Made:
        vr = attribute.get("vr") if isinstance(attribute, dict) else None
        if vr not in VRS:
            raise CannotUnderstand(f"{tag:08X} has no VR of the standard")
        told = [name for name in ("Value", "BulkDataURI", "InlineBinary") if attribute.get(name) is not None]
        if len(told) > 1:
            raise CannotUnderstand(f"{tag:08X} has {told[0]} and {told[1]}")
        if vr == "SQ":
            if told not in ([], ["Value"]):
                raise CannotUnderstand(f"the sequence {tag:08X} is bulk data")
            return self._sequence(tag, attribute["Value"] if told else [], depth)
        if told == ["BulkDataURI"]:
            return self._bulk_element(tag, vr, attribute["BulkDataURI"])
        if told == ["InlineBinary"]:
            raw = _inline(tag, attribute["InlineBinary"])
            if tag == _PIXEL_DATA and self._encapsulated and not depth:
                return _encapsulated([raw])
            return _value_element(tag, vr, raw)
        return _value_element(tag, vr, _encoded(tag, vr, attribute["Value"] if told else []))

    def _sequence(self, tag: int, items: Any, depth: int) -> Made:
        if depth >= MAX_DEPTH:
            raise CannotUnderstand(f"sequences nest deeper than {MAX_DEPTH}")
        if not isinstance(items, list):
            raise CannotUnderstand(f"the Value of {tag:08X} is no array")
        made: list[bytes | Span] = []
        size = 0
        for item in items:
            self._left -= 1
            if not isinstance(item, dict | None) or self._left < 0:
                raise CannotUnderstand(f"{tag:08X} has an item that is none, or too many")
            segments, length = self.elements(item or {}, depth=depth + 1)
            _extend(made, [element_header(ITEM, "", _fitting(tag, length), EXPLICIT_LE)])
            _extend(made, segments)
            size += 8 + length
        header = element_header(tag, "SQ", _fitting(tag, size), EXPLICIT_LE)
        return _joined(header, made), len(header) + size

    def _bulk_element(self, tag: int, vr: str, uri: Any) -> Made:
        parts = self._bulk.get(uri, ()) if isinstance(uri, str) else ()
        if not parts:  # nothing is ever fetched from elsewhere
            raise CannotUnderstand(f"the bulk data of {tag:08X} did not come with it")
        spans: list[bytes | Span] = [Span(part.offset, part.length) for part in parts]
        if tag == _PIXEL_DATA and self._encapsulated:
            return _encapsulated(spans)
        if len(spans) > 1:
            raise CannotUnderstand(f"{tag:08X} has several bulk data parts")
        return _value_element(tag, vr, spans[0])


def _tag(key: str) -> int:
    if not _TAG.fullmatch(key):
        raise CannotUnderstand("a name that is no tag of 8 hexadecimal digits")
    return int(key, 16)


def _value_element(tag: int, vr: str, value: bytes | Span) -> Made:
    length = value.length if isinstance(value, Span) else len(value)
    padded = length + (length & 1)
    if vr not in LONG_VRS and padded > MAX_SHORT_VALUE:
        raise CannotUnderstand(f"the value of {tag:08X} is too long for {vr}")
    header = element_header(tag, vr, _fitting(tag, padded), EXPLICIT_LE)
    made: list[bytes | Span] = [header]
    _extend(made, [value])
    if padded > length:
        _extend(made, [b" " if vr in TEXT_VRS and vr != "UI" else b"\0"])
    return made, len(header) + padded


def _encapsulated(frames: Sequence[bytes | Span]) -> Made:
    """A fragment a frame behind an empty basic offset table (PS3.5 A.4)."""
    made: list[bytes | Span] = [element_header(_PIXEL_DATA, "OB", UNDEFINED_LENGTH, EXPLICIT_LE)]
    size = 12
    for frame in (b"", *frames):
        length = frame.length if isinstance(frame, Span) else len(frame)
        padded = length + (length & 1)
        header = element_header(ITEM, "", _fitting(_PIXEL_DATA, padded), EXPLICIT_LE)
        _extend(made, [header, frame, b"\0" * (padded - length)])
        size += 8 + padded
    _extend(made, [element_header(SEQUENCE_DELIMITATION_ITEM, "", 0, EXPLICIT_LE)])
    return made, size + 8


def _fitting(tag: int, length: int) -> int:
    if length > _MOST_BYTES:
        raise CannotUnderstand(f"{tag:08X} is longer than an element can be")
    return length


def _joined(header: bytes, rest: list[bytes | Span]) -> list[bytes | Span]:
    made: list[bytes | Span] = [header]
    _extend(made, rest)
    return made


def _extend(made: list[bytes | Span], more: Sequence[bytes | Span]) -> None:
    """Append; neighbouring bytes become one, up to a size."""
    for each in more:
        last = made[-1] if made else None
        if isinstance(each, bytes) and isinstance(last, bytes) and len(last) < 4096:
            made[-1] = last + each
        elif not isinstance(each, bytes) or each:
            made.append(each)


def _inline(tag: int, text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise CannotUnderstand(f"the InlineBinary of {tag:08X} is no base64") from None


def _encoded(tag: int, vr: str, values: Any) -> bytes:
    """A value that is written out (PS3.18 table F.2.3-1)."""
    if not isinstance(values, list):
        raise CannotUnderstand(f"the Value of {tag:08X} is no array")
    if not values:
        return b""
    try:
        if vr in NUMBER_FORMATS:
            convert: Callable[[Any], int | float] = float if vr in ("FL", "FD") else int
            return struct.pack(f"<{len(values)}{NUMBER_FORMATS[vr]}", *map(convert, values))
        if vr == "AT":
            return b"".join(EXPLICIT_LE.tag_bytes(_tag(value)) for value in values)
        if vr in TEXT_VRS:
            return "\\".join(_text(vr, value) for value in values).encode()
    except (TypeError, ValueError, OverflowError, struct.error, UnicodeEncodeError):
        raise CannotUnderstand(f"{tag:08X} has a value that {vr} cannot hold") from None
    raise CannotUnderstand(f"{tag:08X} is binary: it has no Value")


def _text(vr: str, value: Any) -> str:
    """raises: ValueError, TypeError"""
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, dict):
        names = [value.get(name) or "" for name in _PERSON_NAME]
        return "=".join(names).rstrip("=")
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or vr not in ("IS", "DS"):
        raise ValueError
    return str(value) if isinstance(value, int) else _decimal(value)


def _decimal(value: float) -> str:
    """As exactly as the 16 characters of DS allow."""
    text = repr(value)
    digits = 15
    while len(text) > 16:
        text = f"{value:.{digits}g}"
        digits -= 1
    return text
