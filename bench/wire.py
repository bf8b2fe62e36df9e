"""The few bytes of DICOM that a load generator needs: PDUs (PS3.8 9.3) and command sets (PS3.7 annex E).

Written apart from the server on purpose: a mistake shared by both sides would measure as success.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

IMPLICIT_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
VERIFICATION: Final = "1.2.840.10008.1.1"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLEMENTATION_CLASS: Final = "2.25.269811529337540189415830287405421640257"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
RELEASE_REQUEST: Final = struct.pack(">BBII", RELEASE_RQ, 0, 4, 0)
RELEASE_RESPONSE: Final = struct.pack(">BBII", RELEASE_RP, 0, 4, 0)

C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO, RESPONSE = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x8000
NO_DATA_SET, DATA_SET = 0x0101, 0x0000
PENDING: Final = frozenset({0xFF00, 0xFF01})
# Element numbers of group 0000
AFFECTED_CLASS, COMMAND_FIELD, MESSAGE_ID, RESPONDED_ID = 0x0002, 0x0100, 0x0110, 0x0120
MOVE_DESTINATION, PRIORITY, DATA_SET_TYPE, STATUS = 0x0600, 0x0700, 0x0800, 0x0900
AFFECTED_INSTANCE, COMPLETED = 0x1000, 0x1021

OFFERED_PDU_BYTES: Final = 131072
COMMAND_LIMIT_BYTES: Final = 65536
PDV_OVERHEAD: Final = 6


class PeerFailed(Exception):
    """The peer refused, aborted, went away or broke the standard: the case under measurement has failed."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A presentation context to offer (PS3.8 9.3.2.2); ``as_scp`` asks for the SCP role, as C-GET needs."""

    abstract_syntax: str
    transfer_syntaxes: Sequence[str] = (EXPLICIT_LE, IMPLICIT_LE)
    as_scp: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an A-ASSOCIATE-AC granted.

    contexts:       context ID -> transfer syntax
    max_pdu_bytes:  longest P-DATA-TF variable field that the peer takes; 0: any
    """

    contexts: Mapping[int, str]
    max_pdu_bytes: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What an A-ASSOCIATE-RQ asked for; ``roles`` holds the raw role selection items, to be echoed."""

    called: bytes
    calling: bytes
    contexts: Mapping[int, tuple[str, tuple[str, ...]]]
    max_pdu_bytes: int
    roles: list[bytes] = field(default_factory=list)


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _user_information(roles: bytes) -> bytes:
    return _item(
        0x50,
        _item(0x51, struct.pack(">I", OFFERED_PDU_BYTES))
        + _item(0x52, IMPLEMENTATION_CLASS.encode())
        + roles,
    )


def associate_request(calling: str, called: str, proposals: Sequence[Proposal]) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2); the n-th proposal gets context ID 2n + 1."""
    if not 1 <= len(proposals) <= 128:
        raise ValueError("between 1 and 128 presentation contexts")
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    roles = b""
    for index, proposal in enumerate(proposals):
        syntaxes = b"".join(_item(0x40, uid.encode()) for uid in proposal.transfer_syntaxes)
        abstract = _item(0x30, proposal.abstract_syntax.encode())
        items.append(_item(0x20, bytes((2 * index + 1, 0, 0, 0)) + abstract + syntaxes))
        if proposal.as_scp:
            uid = proposal.abstract_syntax.encode()
            roles += _item(0x54, struct.pack(">H", len(uid)) + uid + b"\x01\x01")
    items.append(_user_information(roles))
    return _associate_pdu(ASSOCIATE_RQ, called.encode().ljust(16), calling.encode().ljust(16), items)


def associate_accept(asked: Asked, chosen: Mapping[int, str]) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 9.3.3): ``chosen`` contexts are accepted, the others refused as not supported."""
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for context_id in asked.contexts:
        result = 0 if context_id in chosen else 3
        syntax = _item(0x40, chosen.get(context_id, IMPLICIT_LE).encode())
        items.append(_item(0x21, bytes((context_id, 0, result, 0)) + syntax))
    items.append(_user_information(b"".join(_item(0x54, role) for role in asked.roles)))
    return _associate_pdu(ASSOCIATE_AC, asked.called, asked.calling, items)


def _associate_pdu(kind: int, called: bytes, calling: bytes, items: Iterable[bytes]) -> bytes:
    body = struct.pack(">HH16s16s32x", 1, 0, called, calling) + b"".join(items)
    return struct.pack(">BBI", kind, 0, len(body)) + body


def _items(data: bytes) -> Iterable[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        position += 4
        if position + length > len(data):
            raise PeerFailed("an item of the association PDU runs past its end")
        yield kind, data[position : position + length]
        position += length


def _max_pdu_bytes(user_information: bytes) -> int:
    for kind, body in _items(user_information):
        if kind == 0x51 and len(body) == 4:
            return int(struct.unpack(">I", body)[0])
    return 0


def read_accept(body: bytes) -> Accepted:
    """Decode an A-ASSOCIATE-AC without its 6-byte header; raises PeerFailed."""
    contexts: dict[int, str] = {}
    max_pdu_bytes = 0
    for kind, item in _items(body[68:]):
        if kind == 0x21 and len(item) >= 4 and item[2] == 0:
            contexts[item[0]] = "".join(_text(value) for sub, value in _items(item[4:]) if sub == 0x40)
        elif kind == 0x50:
            max_pdu_bytes = _max_pdu_bytes(item)
    return Accepted(contexts, max_pdu_bytes)


def read_request(body: bytes) -> Asked:
    """Decode an A-ASSOCIATE-RQ without its 6-byte header; raises PeerFailed."""
    if len(body) < 68:
        raise PeerFailed("the A-ASSOCIATE-RQ is too short")
    asked = Asked(body[4:20], body[20:36], contexts := {}, 0)
    for kind, item in _items(body[68:]):
        if kind == 0x20 and len(item) >= 4:
            parts = list(_items(item[4:]))
            abstract = "".join(_text(value) for sub, value in parts if sub == 0x30)
            contexts[item[0]] = (abstract, tuple(_text(value) for sub, value in parts if sub == 0x40))
        elif kind == 0x50:
            roles = [value for sub, value in _items(item) if sub == 0x54]
            asked = Asked(asked.called, asked.calling, contexts, _max_pdu_bytes(item), roles)
    return asked


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").rstrip("\0 ")


def command_set(fields: Mapping[int, int | str]) -> bytes:
    """A command set (PS3.7 6.3.1): element number -> US as int, UI or AE as str; group length added."""
    body = b""
    for element, value in sorted(fields.items()):
        if isinstance(value, int):
            raw = struct.pack("<H", value)
        else:
            raw = value.encode()
            raw += (b" " if element == MOVE_DESTINATION else b"\0") * (len(raw) % 2)
        body += struct.pack("<HHI", 0, element, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def read_command(data: bytes) -> dict[int, bytes]:
    """Element number -> raw value of a command set; raises PeerFailed."""
    fields: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, position)
        position += 8
        if group != 0 or position + length > len(data):
            raise PeerFailed("the command set is broken")
        fields[element] = data[position : position + length]
        position += length
    return fields


def number(fields: Mapping[int, bytes], element: int) -> int:
    """The US value of a command element; raises PeerFailed if it is missing."""
    raw = fields.get(element, b"")
    if len(raw) != 2:
        raise PeerFailed(f"(0000,{element:04X}) is missing in the command set")
    return int.from_bytes(raw, "little")


def p_data(context_id: int, data: bytes, *, command: bool, max_pdu_bytes: int) -> bytes:
    """P-DATA-TF PDUs, one PDV each (PS3.8 9.3.5), that carry one whole command or data set."""
    room = fragment_bytes(max_pdu_bytes)
    parts = []
    for start in range(0, max(1, len(data)), room):
        piece = data[start : start + room]
        control = (1 if command else 0) | (2 if start + room >= len(data) else 0)
        parts.append(struct.pack(">BBIIBB", P_DATA, 0, len(piece) + 6, len(piece) + 2, context_id, control))
        parts.append(piece)
    return b"".join(parts)


def fragment_bytes(max_pdu_bytes: int) -> int:
    """How many bytes of a message fit in one PDU; raises PeerFailed for a maximum that cannot carry any."""
    limit = min(max_pdu_bytes or OFFERED_PDU_BYTES, OFFERED_PDU_BYTES)
    if limit < PDV_OVERHEAD + 2:
        raise PeerFailed(f"the peer takes PDUs of {limit} bytes at most")
    return (limit - PDV_OVERHEAD) & ~1
