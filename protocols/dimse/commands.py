"""Command sets (PS3.7 6.3, annex E): group 0000H, Implicit VR Little Endian, read and written by hand.

C-STORE-RQ has a path of its own for reading, and its answer one for writing: both happen once per image.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from protocols.dimse.elements import MAX_COMMAND_BYTES, encode_elements, invalid, read_elements
from protocols.errors import Misuse

NO_DATA_SET: Final = 0x0101
DATA_SET: Final = 0x0001
"""What we write when there is one; any value but 0101H says so."""
RESPONSE: Final = 0x8000


class CommandField:
    """Command Field (0000,0100), PS3.7 E.1. A response has ``RESPONSE`` added."""

    C_STORE_RQ: Final = 0x0001
    C_STORE_RSP: Final = 0x8001
    C_GET_RQ: Final = 0x0010
    C_GET_RSP: Final = 0x8010
    C_FIND_RQ: Final = 0x0020
    C_FIND_RSP: Final = 0x8020
    C_MOVE_RQ: Final = 0x0021
    C_MOVE_RSP: Final = 0x8021
    C_ECHO_RQ: Final = 0x0030
    C_ECHO_RSP: Final = 0x8030
    C_CANCEL_RQ: Final = 0x0FFF
    N_EVENT_REPORT_RQ: Final = 0x0100
    N_EVENT_REPORT_RSP: Final = 0x8100
    N_GET_RQ: Final = 0x0110
    N_GET_RSP: Final = 0x8110
    N_SET_RQ: Final = 0x0120
    N_SET_RSP: Final = 0x8120
    N_ACTION_RQ: Final = 0x0130
    N_ACTION_RSP: Final = 0x8130
    N_CREATE_RQ: Final = 0x0140
    N_CREATE_RSP: Final = 0x8140
    N_DELETE_RQ: Final = 0x0150
    N_DELETE_RSP: Final = 0x8150


class Priority:
    """Priority (0000,0700)."""

    MEDIUM: Final = 0
    HIGH: Final = 1
    LOW: Final = 2


class Command(Struct, frozen=True, kw_only=True, gc=False):
    """One command set; None: the element is absent or empty. Names are PS3.7 E.1's, shortened.

    data_set_type:      Command Data Set Type (0000,0800)
    remaining … warning: Number of … Sub-operations
    offending_element, attribute_identifier_list: tags
    """

    command_field: int
    message_id: int | None = None
    message_id_responded_to: int | None = None
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    data_set_type: int = NO_DATA_SET
    priority: int | None = None
    status: int | None = None
    requested_sop_class_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    move_destination: str | None = None
    move_originator_ae: str | None = None
    move_originator_message_id: int | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    offending_element: tuple[int, ...] | None = None
    error_comment: str | None = None
    error_id: int | None = None
    event_type_id: int | None = None
    action_type_id: int | None = None
    attribute_identifier_list: tuple[int, ...] | None = None

    @property
    def has_data_set(self) -> bool:
        return self.data_set_type != NO_DATA_SET

    @property
    def is_response(self) -> bool:
        return self.command_field & RESPONSE != 0


_STORE_MIDDLE: Final = Layout("<QHQHQHQHII").unpack_from
_U16_HEAD: Final = {element: 0x0002_0000_0000 | element << 16 for element in (0x0100, 0x0110, 0x0700, 0x0800)}
_FIELD_HEAD: Final = _U16_HEAD[0x0100]
_MESSAGE_HEAD: Final = _U16_HEAD[0x0110]
_PRIORITY_HEAD: Final = _U16_HEAD[0x0700]
_TYPE_HEAD: Final = _U16_HEAD[0x0800]


def decode_command(data: bytes | bytearray | memoryview) -> Command:
    """The command set in ``data``. Elements that we do not know are skipped, and their order is not tested.

    raises:  PeerError if it is no command set, or lacks what its command cannot do without
    """
    if len(data) > MAX_COMMAND_BYTES:
        raise invalid(f"a command set of {len(data)} bytes", "PS3.7 6.3")
    data = bytes(data)
    command = _store_request(data)
    return _any_command(data) if command is None else command


def _store_request(data: bytes) -> Command | None:
    """A C-STORE-RQ as nearly everybody lays it out, without move originator; None: it is none."""
    size = len(data)
    if size < 76 or data[:8] != b"\0\0\0\0\4\0\0\0" or data[12:16] != b"\0\0\2\0":
        return None
    class_end = 20 + int.from_bytes(data[16:20], "little")
    if class_end + 48 > size:
        return None
    head_1, field, head_2, message_id, head_3, priority, head_4, data_set_type, head_5, length = (
        _STORE_MIDDLE(data, class_end)
    )
    start = class_end + 48
    if (
        field != CommandField.C_STORE_RQ
        or head_1 != _FIELD_HEAD
        or head_2 != _MESSAGE_HEAD
        or head_3 != _PRIORITY_HEAD
        or head_4 != _TYPE_HEAD
        or head_5 != 0x1000_0000
        or start + length != size
    ):
        return None
    try:
        sop_class = data[20:class_end].decode("ascii").rstrip("\0 ")
        sop_instance = data[start:].decode("ascii").rstrip("\0 ")
    except UnicodeDecodeError:
        return None
    if not sop_class or not sop_instance:
        return None
    return Command(
        command_field=field,
        message_id=message_id,
        affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=sop_instance,
        data_set_type=data_set_type,
        priority=priority,
    )


_ALWAYS: Final = ("command_field", "data_set_type")
_RESPONSE_NEEDS: Final = ("message_id_responded_to", "status")
_REQUESTED: Final = ("message_id", "requested_sop_class_uid", "requested_sop_instance_uid")
_NEEDS: Final[dict[int, tuple[str, ...]]] = {
    CommandField.C_STORE_RQ: ("message_id", "affected_sop_class_uid", "affected_sop_instance_uid"),
    CommandField.C_FIND_RQ: ("message_id", "affected_sop_class_uid"),
    CommandField.C_GET_RQ: ("message_id", "affected_sop_class_uid"),
    CommandField.C_MOVE_RQ: ("message_id", "affected_sop_class_uid", "move_destination"),
    CommandField.C_ECHO_RQ: ("message_id",),
    CommandField.C_CANCEL_RQ: ("message_id_responded_to",),
    CommandField.N_EVENT_REPORT_RQ: (
        "message_id",
        "affected_sop_class_uid",
        "affected_sop_instance_uid",
        "event_type_id",
    ),
    CommandField.N_GET_RQ: _REQUESTED,
    CommandField.N_SET_RQ: _REQUESTED,
    CommandField.N_ACTION_RQ: (*_REQUESTED, "action_type_id"),
    CommandField.N_CREATE_RQ: ("message_id", "affected_sop_class_uid"),
    CommandField.N_DELETE_RQ: _REQUESTED,
}
"""What a request cannot do without (PS3.7 9.3, 10.3); one that we do not know, what an answer needs."""


def _any_command(data: bytes) -> Command:
    found = read_elements(data)
    field = found.get("command_field", 0)
    needs = _RESPONSE_NEEDS if field & RESPONSE else _NEEDS.get(field, ("message_id",))
    missing = [name for name in (*_ALWAYS, *needs) if found.get(name, "") == ""]
    if missing:
        raise invalid(f"command {field:04X}H without {', '.join(missing)}", "PS3.7 9.3")
    return Command(**found)


def encode_command(command: Command) -> bytes:
    """The command set's bytes, its group length in front.

    raises:  Misuse if a value does not fit its VR
    """
    return encode_elements(asdict(command))


_STORE_RESPONSE: Final = Layout("<HHII HHI").pack
_STORE_RESPONSE_MIDDLE: Final = Layout("<HHIH HHIH HHIH HHIH HHI").pack


def store_response(request: Command, status: int, *, error_comment: str | None = None) -> bytes:
    """The C-STORE-RSP to ``request``, with its UIDs (PS3.7 9.3.1.2).

    error_comment:  at most 64 characters; never anything about a patient
    """
    if error_comment is not None:
        return encode_command(respond(request, status, error_comment=error_comment))
    sop_class = (request.affected_sop_class_uid or "").encode("ascii")
    instance = (request.affected_sop_instance_uid or "").encode("ascii")
    if len(sop_class) & 1:
        sop_class += b"\0"
    if len(instance) & 1:
        instance += b"\0"
    middle = _STORE_RESPONSE_MIDDLE(
        0, 0x0100, 2, CommandField.C_STORE_RSP, 0, 0x0120, 2, request.message_id or 0,
        0, 0x0800, 2, NO_DATA_SET, 0, 0x0900, 2, status, 0, 0x1000, len(instance),
    )  # fmt: skip
    length = 56 + len(sop_class) + len(instance)
    return b"".join(
        (_STORE_RESPONSE(0, 0, 4, length, 0, 0x0002, len(sop_class)), sop_class, middle, instance)
    )


def find_pending(request: Command, status: int) -> bytes:
    """The C-FIND-RSP that goes with each match of ``request``: the same bytes every time, so make it once.

    status:  FF00H, or FF01H if an optional key is not supported (PS3.4 C.4.1.1.4)
    """
    return encode_command(respond(request, status, data_set_type=DATA_SET))


def respond(request: Command, status: int, **fields: Any) -> Command:
    """The response to ``request``, with the UIDs that PS3.7 wants back and other ``fields`` of ``Command``.

    raises:  Misuse for a C-CANCEL-RQ or a response: neither is answered
    """
    if request.is_response or request.command_field == CommandField.C_CANCEL_RQ:
        raise Misuse(f"an answer to command {request.command_field:04X}H")
    return Command(
        **{
            "command_field": request.command_field | RESPONSE,
            "message_id_responded_to": request.message_id,
            "affected_sop_class_uid": request.affected_sop_class_uid or request.requested_sop_class_uid,
            "affected_sop_instance_uid": request.affected_sop_instance_uid
            or request.requested_sop_instance_uid,
            "event_type_id": request.event_type_id,
            "action_type_id": request.action_type_id,
            "status": status,
        }
        | fields
    )
