"""One attribute of a data set in the DICOM JSON Model (PS3.18 F.2): from the bytes of its value to JSON."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from protocols.dataset.charset import decode
from protocols.dataset.dictionaries import entry_of, private_vr
from protocols.dataset.text import CHARACTER_SET_VRS, PADDING, PARAGRAPH_VRS, TEXT_VRS
from protocols.dataset.transfer_syntax import NUMBER_FORMATS, Encoding
from protocols.dicomweb.json_values import number, person_name, quote, real_number, whole_number

INLINE_BINARY_BYTES: Final = 1024
INLINE_TEXT_BYTES: Final = 32 * 1024
INLINE_BYTES: Final = 1024 * 1024
PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
BULK: Final = b"\0"
"""Stands in the JSON for what bulk data URIs of the instance begin with: JSON text itself never holds this byte."""

WORDS: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_BINARY: Final = frozenset({"OB", "UN", *WORDS})
_LONG_TEXT: Final = frozenset({"LT", "ST", "UT", "UC"})
_SIZES: Final = {vr: struct.calcsize(f"={code}") for vr, code in NUMBER_FORMATS.items()}
_ONE_VALUE: Final = PARAGRAPH_VRS | {"UR"}
_BLOCKS: Final = range(0x10, 0x100)


def is_bulk(tag: int, vr: str, length: int) -> bool:
    """Whether a value is told as a BulkDataURI, not in the JSON (PS3.18 F.2.6)."""
    if vr in _BINARY:
        return length > INLINE_BINARY_BYTES or (tag in PIXEL_DATA and length > 0)
    return length > INLINE_BYTES or (vr in _LONG_TEXT and length > INLINE_TEXT_BYTES)


def bulk(tag: int, vr: str, path: str) -> bytes:
    """path: where the attribute is, ``tag/item number/tag``"""
    return b'"%08X":{"vr":"%b","BulkDataURI":"%b/%b"}' % (tag, vr.encode(), BULK, path.encode())


def attribute(tag: int, vr: str, raw: bytes, character_set: str, encoding: Encoding) -> bytes:
    """An attribute that is no sequence, with its name.

    raw: its value in the data set's byte order; damaged ends of it are left out
    """
    try:
        value = _value(vr, raw, character_set, encoding)
    except struct.error:
        value = ""
    return f'"{tag:08X}":{{"vr":"{vr}"{value}}}'.encode("utf-8", "replace")


def sequence(tag: int, items: list[bytes]) -> bytes:
    """items: JSON objects"""
    if not items:
        return b'"%08X":{"vr":"SQ"}' % tag
    return b'"%08X":{"vr":"SQ","Value":[%b]}' % (tag, b",".join(items))


def _value(vr: str, raw: bytes, character_set: str, encoding: Encoding) -> str:
    if vr in TEXT_VRS:
        text = (
            decode(raw, character_set, person_name=vr == "PN")
            if vr in CHARACTER_SET_VRS
            else raw.decode("latin-1")
        )
        return _text(vr, text)
    if vr in _BINARY:
        plain = _little_endian(vr, raw) if encoding.big_endian else raw
        return f',"InlineBinary":"{b64encode(plain).decode()}"' if raw else ""
    if vr == "AT":
        values = [
            f'"{group:04X}{element:04X}"' for group, element in encoding.tag.iter_unpack(raw[: len(raw) & ~3])
        ]
    else:
        values = _numbers(vr, raw, encoding)
    return f',"Value":[{",".join(values)}]' if values else ""


def _text(vr: str, text: str) -> str:
    if vr in _ONE_VALUE:
        text = text.rstrip(PADDING)
        return f',"Value":[{quote(text)}]' if text else ""
    text = text.strip(PADDING)
    if not text:
        return ""
    of_one = _of_one(vr)
    if "\\" not in text:
        return f',"Value":[{of_one(text)}]'
    values = [of_one(stripped) if (stripped := each.strip(PADDING)) else "null" for each in text.split("\\")]
    return f',"Value":[{",".join(values)}]'


def _of_one(vr: str) -> Callable[[str], str]:
    return person_name if vr == "PN" else number if vr in ("IS", "DS") else quote


def _numbers(vr: str, raw: bytes, encoding: Encoding) -> list[str]:
    count = len(raw) // _SIZES[vr]
    order = ">" if encoding.big_endian else "<"
    values = struct.unpack_from(f"{order}{count}{NUMBER_FORMATS[vr]}", raw)
    if vr in ("FL", "FD"):
        return [real_number(value) for value in values]
    if vr in ("UV", "SV"):
        return [whole_number(value) for value in values]
    return [str(value) for value in values]


def _little_endian(vr: str, raw: bytes) -> bytes:
    """Inline binary is little endian (PS3.18 F.2.7)."""
    size = WORDS.get(vr, 1)
    whole = bytearray(raw[: len(raw) - len(raw) % size])
    for at in range(size // 2):
        whole[at::size], whole[size - 1 - at :: size] = whole[size - 1 - at :: size], whole[at::size]
    return bytes(whole)


def known_vr(tag: int, creator: str, *, signed: bool) -> str:
    """VR of an attribute that comes without one, or as UN; UN if neither standard nor private dictionary has it.

    creator: of the private block that the tag is in
    signed:  Pixel Representation (0028,0103) is 1: where US or SS are possible, the values are SS (PS3.5 annex A)
    """
    vr = _private_vr(tag, creator) if tag >> 16 & 1 else _standard_vr(tag)
    if vr == "US or SS":
        return "SS" if signed else "US"
    return "OW" if " or " in vr else vr


@lru_cache(maxsize=8192)
def _standard_vr(tag: int) -> str:
    entry = entry_of(tag)
    return str(entry[0]) if entry is not None and entry[0] != "NONE" else "UN"


@lru_cache(maxsize=8192)
def _private_vr(tag: int, creator: str) -> str:
    if tag & 0xFFFF in _BLOCKS:
        return "LO"
    return private_vr(tag, creator) or "UN"
