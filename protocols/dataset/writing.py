"""Elements into bytes, for answers: headers, padding, sequences (PS3.5 7.1 and 7.5)."""

from __future__ import annotations

from typing import Final

from protocols.dataset.charset import encode
from protocols.dataset.text import TEXT_VRS, encode_binary
from protocols.dataset.transfer_syntax import ITEM, LONG_VRS, NUMBER_FORMATS, Encoding

# The largest even 16-bit length.
MAX_SHORT_VALUE: Final = 65534


def element_header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """Group, element, VR if the encoding has one, length."""
    group, element = tag >> 16, tag & 0xFFFF
    if encoding.implicit or group == 0xFFFE:
        return encoding.implicit_header.pack(group, element, length)
    if vr in LONG_VRS:
        return encoding.explicit_header.pack(group, element, vr.encode(), 0) + encoding.u32.pack(length)
    return encoding.explicit_header.pack(group, element, vr.encode(), length)


def element(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """One element, padded to even length: UI and binary VRs with NUL, text with a space.

    A value too long for the 16-bit length of its VR is cut, not inside a UTF-8 character.
    """
    if len(value) > MAX_SHORT_VALUE and vr not in LONG_VRS:
        value = value[:MAX_SHORT_VALUE].decode("utf-8", "ignore").encode()
    if len(value) & 1:
        value += b" " if vr in TEXT_VRS and vr != "UI" else b"\0"
    return element_header(tag, vr, len(value), encoding) + value


def text_element(tag: int, vr: str, text: str, encoding: Encoding) -> bytes:
    """One element from text; numbers are given in decimal, AT in 8 hexadecimal digits; text becomes UTF-8.

    Values of other VRs cannot be given as text: they are empty.
    """
    if vr in TEXT_VRS:
        return element(tag, vr, encode(text), encoding)
    value = encode_binary(text, vr, encoding) if vr in NUMBER_FORMATS or vr == "AT" else b""
    return element(tag, vr, value, encoding)


def sequence(tag: int, items: list[bytes], encoding: Encoding) -> bytes:
    """A sequence of items of defined length; ``items`` are their encoded elements."""
    value = b"".join(element_header(ITEM, "", len(item), encoding) + item for item in items)
    return element_header(tag, "SQ", len(value), encoding) + value
