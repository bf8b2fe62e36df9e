"""Values as plain text: decoded, trimmed as their VR allows, free of control characters, bounded."""

from __future__ import annotations

import re
import struct
from typing import Final

from protocols.dataset.charset import decode
from protocols.dataset.transfer_syntax import NUMBER_FORMATS, Encoding

MAX_TEXT: Final = 1024
MAX_LONG_TEXT: Final = 10240
MAX_NUMBERS: Final = 64
PADDING: Final = " \0"

# PS3.5 6.1.2.3: the VRs that Specific Character Set speaks about; the others use the default repertoire.
CHARACTER_SET_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
TEXT_VRS: Final = CHARACTER_SET_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
# One value each, in which backslashes, line ends and leading spaces are text.
PARAGRAPH_VRS: Final = frozenset({"LT", "ST", "UT"})

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_IN_PARAGRAPH: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(text: str, vr: str, limit: int | None = None) -> str:
    """Trim and bound one attribute's decoded value so that any index or log can hold it.

    PS3.5 table 6.2-1: trailing padding goes; leading spaces go except in LT, ST, UT and UR; each of several
    values (separated by backslashes) is trimmed alone. Line ends and tabs become spaces except in LT, ST and
    UT; other control characters become U+FFFD. Cut at ``limit`` characters, otherwise at 1,024 (10,240 in LT,
    ST and UT).
    """
    if vr in PARAGRAPH_VRS:
        text = text.rstrip(PADDING)[: MAX_LONG_TEXT if limit is None else limit]
        return _CONTROL_IN_PARAGRAPH.sub("\ufffd", text)
    limit = MAX_TEXT if limit is None else limit
    if len(text) <= limit and text.isprintable() and "\\" not in text and vr != "UR":
        return text.strip(" ")
    text = text.rstrip(PADDING)[: 2 * limit]
    if "\\" in text and vr != "UR":
        values = [value.strip(PADDING) for value in text.split("\\")]
        text = "\\".join(values) if any(values) else ""
    elif vr != "UR":
        text = text.lstrip(" ")
    return _CONTROL.sub(_replaced, text[:limit])


def _replaced(found: re.Match[str]) -> str:
    return " " if found[0] in "\t\n\f\r" else "\ufffd"


def decode_text(raw: bytes, vr: str, specific_character_set: str, limit: int | None = None) -> str:
    """Decode and clean the value of an attribute with a text VR; never fails. See ``clean``."""
    if vr in CHARACTER_SET_VRS:
        return clean(decode(raw, specific_character_set, person_name=vr == "PN"), vr, limit)
    return clean(raw.decode("latin-1"), vr, limit)


def decode_numbers(raw: bytes, vr: str, encoding: Encoding) -> list[int | float]:
    """Decode a value of one of ``NUMBER_FORMATS``; at most 64, an incomplete last one is left out."""
    order = ">" if encoding.big_endian else "<"
    size = 8 if vr in {"UV", "SV", "FD"} else 2 if vr in {"US", "SS"} else 4
    count = min(len(raw) // size, MAX_NUMBERS)
    return [*struct.unpack(f"{order}{count}{NUMBER_FORMATS[vr]}", raw[: count * size])]


def decode_tags(raw: bytes, encoding: Encoding) -> list[str]:
    """Decode a value of VR AT: tags as 8 hexadecimal digits, 64 at most."""
    usable = raw[: min(len(raw) // 4, MAX_NUMBERS) * 4]
    return [f"{group:04X}{element:04X}" for group, element in encoding.tag.iter_unpack(usable)]


def binary_text(raw: bytes, vr: str, encoding: Encoding) -> str:
    """Text of a number or tag attribute: decimal or 8 hexadecimal digits, separated by backslashes."""
    if vr == "AT":
        return "\\".join(decode_tags(raw, encoding))
    return "\\".join(
        f"{number:.9g}" if vr == "FL" else str(number) for number in decode_numbers(raw, vr, encoding)
    )


def encode_binary(text: str, vr: str, encoding: Encoding) -> bytes:
    """The reverse of ``binary_text``; what is no number of that VR makes an empty value."""
    values = text.split("\\") if text else []
    try:
        if vr == "AT":
            return b"".join(encoding.tag_bytes(int(value, 16)) for value in values)
        order = ">" if encoding.big_endian else "<"
        convert = float if vr in {"FL", "FD"} else int
        return struct.pack(f"{order}{len(values)}{NUMBER_FORMATS[vr]}", *map(convert, values))
    except (ValueError, OverflowError, struct.error):
        return b""
