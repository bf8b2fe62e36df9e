"""The elements of a command set (PS3.7 table E.1-1): which there are, and their encoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct as Layout
from typing import Any, Final

from msgspec import Struct

from protocols.errors import Misuse, PeerError
from protocols.ul.model import AbortReason

MAX_COMMAND_BYTES: Final = 64 * 1024
_HEAD: Final = Layout("<HHI")
_US: Final = Layout("<HHIH").pack
_U32: Final = Layout("<I").pack
_TAG: Final = Layout("<HH")
_LARGEST_TEXT: Final = {"UI": MAX_COMMAND_BYTES, "AE": 16, "LO": 64}
"""In characters. An answer repeats the UIDs of its request, however long a peer made them."""


class Element(Struct, frozen=True):
    """One element (0000,eeee) and the field of ``Command`` that it fills."""

    element: int
    vr: str
    field: str


ELEMENTS: Final = (
    Element(0x0002, "UI", "affected_sop_class_uid"),
    Element(0x0003, "UI", "requested_sop_class_uid"),
    Element(0x0100, "US", "command_field"),
    Element(0x0110, "US", "message_id"),
    Element(0x0120, "US", "message_id_responded_to"),
    Element(0x0600, "AE", "move_destination"),
    Element(0x0700, "US", "priority"),
    Element(0x0800, "US", "data_set_type"),
    Element(0x0900, "US", "status"),
    Element(0x0901, "AT", "offending_element"),
    Element(0x0902, "LO", "error_comment"),
    Element(0x0903, "US", "error_id"),
    Element(0x1000, "UI", "affected_sop_instance_uid"),
    Element(0x1001, "UI", "requested_sop_instance_uid"),
    Element(0x1002, "US", "event_type_id"),
    Element(0x1005, "AT", "attribute_identifier_list"),
    Element(0x1008, "US", "action_type_id"),
    Element(0x1020, "US", "remaining"),
    Element(0x1021, "US", "completed"),
    Element(0x1022, "US", "failed"),
    Element(0x1023, "US", "warning"),
    Element(0x1030, "AE", "move_originator_ae"),
    Element(0x1031, "US", "move_originator_message_id"),
)
"""In ascending order, as they are written."""


def invalid(what: str, section: str = "PS3.7 6.3.1") -> PeerError:
    return PeerError(what, section=section, abort_reason=AbortReason.INVALID_PARAMETER_VALUE)


def read_elements(data: bytes) -> dict[str, Any]:
    """Field to value of the known elements that have one.

    raises:  PeerError for another group, a length that lies, or a value that its VR cannot have
    """
    found: dict[str, Any] = {}
    at, size = 0, len(data)
    while at < size:
        if size - at < 8:
            raise invalid("the command set ends inside an element")
        group, element, length = _HEAD.unpack_from(data, at)
        start = at + 8
        at = start + length
        if group != 0:
            raise invalid(f"group {group:04X}H in a command set")
        if at > size:
            raise invalid(f"element (0000,{element:04X}) of {length} bytes is longer than the command set")
        known = _READERS.get(element)
        if known is not None and length:
            field, read = known
            found[field] = read(data[start:at], element)
    return found


def encode_elements(fields: Mapping[str, Any]) -> bytes:
    """A command set from the fields that are not None, its group length in front.

    raises:  Misuse if a value does not fit its VR
    """
    parts = [
        _WRITERS[element.vr](element.element, fields[element.field])
        for element in ELEMENTS
        if fields[element.field] is not None
    ]
    body = b"".join(parts)
    return GROUP_LENGTH(0, 0, 4, len(body)) + body


GROUP_LENGTH: Final = Layout("<HHII").pack
"""Group, element, 4, bytes that follow (PS3.7 6.3.1)."""


def _read_us(value: bytes, element: int) -> int:
    if len(value) != 2:
        raise invalid(f"element (0000,{element:04X}) is a US of {len(value)} bytes")
    return value[0] | value[1] << 8


def _read_ui(value: bytes, element: int) -> str:
    if not value.isascii():
        raise invalid(f"element (0000,{element:04X}) is no UID")
    return value.decode("ascii").rstrip("\0 ")


def _read_text(value: bytes, _element: int) -> str:
    return value.decode("latin-1").strip("\0 ")


def _read_at(value: bytes, element: int) -> tuple[int, ...]:
    if len(value) % 4:
        raise invalid(f"element (0000,{element:04X}) is an AT of {len(value)} bytes")
    return tuple(group << 16 | number for group, number in _TAG.iter_unpack(value))


def _write_us(element: int, value: int) -> bytes:
    if not 0 <= value <= 0xFFFF:
        raise Misuse(f"element (0000,{element:04X}) = {value}")
    return _US(0, element, 2, value)


def _write_at(element: int, tags: tuple[int, ...]) -> bytes:
    return _HEAD.pack(0, element, 4 * len(tags)) + b"".join(
        _TAG.pack(tag >> 16, tag & 0xFFFF) for tag in tags
    )


def _text_writer(vr: str) -> Callable[[int, str], bytes]:
    padding, largest = b"\0" if vr == "UI" else b" ", _LARGEST_TEXT[vr]

    def write(element: int, text: str) -> bytes:
        if len(text) > largest or not text.isascii():
            raise Misuse(f"element (0000,{element:04X}) = {text!r}")
        value = text.encode("ascii")
        if len(value) & 1:
            value += padding
        return _HEAD.pack(0, element, len(value)) + value

    return write


_VALUE_READERS: Final[dict[str, Callable[[bytes, int], Any]]] = {
    "US": _read_us,
    "UI": _read_ui,
    "AE": _read_text,
    "LO": _read_text,
    "AT": _read_at,
}
_READERS: Final = {element.element: (element.field, _VALUE_READERS[element.vr]) for element in ELEMENTS}
_WRITERS: Final[dict[str, Callable[[int, Any], bytes]]] = {
    "US": _write_us,
    "UI": _text_writer("UI"),
    "AE": _text_writer("AE"),
    "LO": _text_writer("LO"),
    "AT": _write_at,
}
