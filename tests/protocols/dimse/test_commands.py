"""The command-set codec: round trips, hostile bytes, and pynetdicom as an independent peer."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import dimse_messages as messages
from pynetdicom import dimse_primitives as primitives
from pynetdicom.dsutils import decode as decode_data_set
from pynetdicom.dsutils import encode as encode_data_set

from protocols.dimse.commands import (
    DATA_SET,
    MAX_COMMAND_BYTES,
    NO_DATA_SET,
    Command,
    CommandField,
    decode_command,
    encode_command,
    find_pending,
    respond,
    store_response,
)
from protocols.dimse.elements import ELEMENTS
from protocols.errors import Misuse, PeerError

CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCE = "1.2.826.0.1.3680043.8.498.1"

uids = st.text("0123456789.", min_size=1, max_size=64)
us = st.integers(0, 0xFFFF)
titles = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=16)
tags = st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=4).map(tuple)
VALUES: dict[str, st.SearchStrategy[Any]] = {"US": us, "UI": uids, "AE": titles, "LO": titles, "AT": tags}
optional = {
    element.field: st.none() | VALUES[element.vr]
    for element in ELEMENTS
    if element.field not in ("command_field", "data_set_type")
}
responses = st.builds(
    Command,
    command_field=us.map(lambda field: field | 0x8000),
    data_set_type=us,
    **(optional | {"message_id_responded_to": us, "status": us}),
)
store_requests = st.builds(
    Command,
    command_field=st.just(CommandField.C_STORE_RQ),
    message_id=us,
    affected_sop_class_uid=uids,
    affected_sop_instance_uid=uids,
    priority=us,
    data_set_type=us,
    move_originator_ae=st.none() | titles,
    move_originator_message_id=st.none() | us,
)


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


def us_(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


def with_length(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


@given(responses | store_requests)
def test_what_is_encoded_is_decoded(command: Command) -> None:
    encoded = encode_command(command)
    assert decode_command(memoryview(encoded)) == command
    assert struct.unpack_from("<I", encoded, 8)[0] == len(encoded) - 12


@given(store_requests)
def test_the_order_of_elements_changes_nothing(command: Command) -> None:
    """The fast way of reading a C-STORE-RQ and the general one understand the same."""
    encoded = encode_command(command)
    pieces = []
    at = 0
    while at < len(encoded):
        end = at + 8 + struct.unpack_from("<I", encoded, at + 4)[0]
        pieces.append(encoded[at:end])
        at = end
    assert decode_command(b"".join(reversed(pieces))) == command


@given(st.binary(max_size=300))
def test_random_bytes_are_a_command_or_a_peer_error(data: bytes) -> None:
    try:
        decode_command(data)
    except PeerError as error:
        assert error.abort_reason in range(7)


@given(store_requests | responses, st.data())
def test_a_damaged_command_is_a_command_or_a_peer_error(command: Command, data: st.DataObject) -> None:
    damaged = bytearray(encode_command(command))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_command(damaged[: data.draw(st.integers(0, len(damaged)))])
    except PeerError as error:
        assert error.abort_reason in range(7)


STORE = (
    element(0x0002, CT.encode() + b"\0"),
    us_(0x0100, 1),
    us_(0x0110, 7),
    us_(0x0700, 0),
    us_(0x0800, 1),
    element(0x1000, INSTANCE.encode() + b"\0"),
)


def test_a_store_request_is_read() -> None:
    command = decode_command(with_length(*STORE))
    assert (command.message_id, command.has_data_set, command.is_response) == (7, True, False)
    assert (command.affected_sop_class_uid, command.affected_sop_instance_uid) == (CT, INSTANCE)


def test_unknown_and_empty_elements_are_skipped() -> None:
    echo = (us_(0x0100, 0x30), us_(0x0110, 1), us_(0x0800, NO_DATA_SET))
    plain = decode_command(with_length(*echo))
    assert decode_command(with_length(*echo, element(0x5110, b"1"), element(0x0700, b""))) == plain
    assert decode_command(b"".join(echo)) == plain


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xde\xad\xbe\xef" * 50,
        with_length(*STORE)[:-1],
        with_length(*STORE) + b"\0\0\0",
        with_length(*STORE, element(0x0010, b"x", group=8)),
        with_length(*STORE[1:]),
        with_length(*STORE[:1], *STORE[2:]),
        with_length(*STORE[:2], *STORE[3:]),
        with_length(*STORE[:4], *STORE[5:]),
        with_length(*STORE[:5]),
        with_length(element(0x0002, b""), *STORE[1:]),
        with_length(element(0x0002, b"\0\0"), *STORE[1:]),
        with_length(*STORE[:5], element(0x1000, b"\0\0")),
        with_length(*STORE[:2], element(0x0110, b"\1\0\0\0"), *STORE[3:]),
        with_length(*STORE[:5], element(0x1000, "1.é".encode())),
        with_length(*STORE[:2], element(0x0901, b"\1\2\3"), *STORE[2:]),
        with_length(*STORE[:5], struct.pack("<HHI", 0, 0x1000, 0xFFFFFFFE)),
        with_length(us_(0x0100, 0x0FFF), us_(0x0800, NO_DATA_SET)),
        with_length(us_(0x0100, 0x8030), us_(0x0120, 1), us_(0x0800, NO_DATA_SET)),
        with_length(us_(0x0100, 0x4242), us_(0x0800, NO_DATA_SET)),
    ],
)
def test_what_is_no_command_set_is_a_peer_error(data: bytes) -> None:
    with pytest.raises(PeerError):
        decode_command(data)


def test_a_command_set_over_the_limit_is_refused() -> None:
    filler = element(0x5110, bytes(MAX_COMMAND_BYTES))
    with pytest.raises(PeerError, match="a command set of"):
        decode_command(with_length(*STORE, filler))
    long_uid = element(0x1000, b"1" * MAX_COMMAND_BYTES)
    with pytest.raises(PeerError, match="a command set of"):
        decode_command(with_length(*STORE[:5], long_uid))


@pytest.mark.parametrize(
    "fields",
    [
        {"message_id": 0x10000},
        {"message_id": -1},
        {"move_destination": "X" * 17},
        {"error_comment": "X" * 65},
        {"error_comment": "é"},
        {"affected_sop_instance_uid": "1.é"},
    ],
)
def test_what_does_not_fit_its_vr_is_misuse(fields: dict[str, Any]) -> None:
    with pytest.raises(Misuse):
        encode_command(Command(command_field=1, **fields))


@given(store_requests, us)
def test_the_fast_store_response_is_the_general_one(request: Command, status: int) -> None:
    assert store_response(request, status) == encode_command(respond(request, status))


def test_a_store_response_can_carry_a_comment() -> None:
    request = decode_command(with_length(*STORE))
    answered = decode_command(store_response(request, 0xA700, error_comment="no space"))
    assert (answered.status, answered.error_comment, answered.message_id_responded_to) == (
        0xA700,
        "no space",
        7,
    )


@given(st.integers(65, MAX_COMMAND_BYTES - 200))
def test_a_uid_of_any_length_is_answered(length: int) -> None:
    request = decode_command(with_length(*STORE[:5], element(0x1000, b"1" * length)))
    answered = decode_command(store_response(request, 0xA900, error_comment="not a UID"))
    assert answered.affected_sop_instance_uid == "1" * length


def test_an_action_is_answered_with_its_uids() -> None:
    request = Command(
        command_field=CommandField.N_ACTION_RQ,
        message_id=3,
        requested_sop_class_uid="1.2.840.10008.1.20.1",
        requested_sop_instance_uid="1.2.840.10008.1.20.1.1",
        action_type_id=1,
        data_set_type=DATA_SET,
    )
    answered = respond(decode_command(encode_command(request)), 0)
    assert answered == Command(
        command_field=CommandField.N_ACTION_RSP,
        message_id_responded_to=3,
        affected_sop_class_uid="1.2.840.10008.1.20.1",
        affected_sop_instance_uid="1.2.840.10008.1.20.1.1",
        action_type_id=1,
        status=0,
    )


@pytest.mark.parametrize("field", [CommandField.C_CANCEL_RQ, CommandField.C_STORE_RSP])
def test_only_requests_are_answered(field: int) -> None:
    with pytest.raises(Misuse):
        respond(Command(command_field=field, message_id_responded_to=1, status=0), 0)


# -- pynetdicom as the peer ------------------------------------------------------------------


def theirs(message: Any, primitive: Any) -> bytes:
    message.primitive_to_message(primitive)
    encoded = encode_data_set(message.command_set, True, True)
    assert encoded is not None
    return bytes(encoded)


def filled(primitive: Any, **values: Any) -> Any:
    for name, value in values.items():
        setattr(primitive, name, value)
    return primitive


PEERS = [
    (
        messages.C_STORE_RQ,
        filled(
            primitives.C_STORE(),
            MessageID=7,
            AffectedSOPClassUID=CT,
            AffectedSOPInstanceUID=INSTANCE,
            Priority=2,
            DataSet=BytesIO(b"x"),
            MoveOriginatorApplicationEntityTitle="MOVER",
            MoveOriginatorMessageID=9,
        ),
        Command(
            command_field=CommandField.C_STORE_RQ,
            message_id=7,
            affected_sop_class_uid=CT,
            affected_sop_instance_uid=INSTANCE,
            priority=2,
            data_set_type=DATA_SET,
            move_originator_ae="MOVER",
            move_originator_message_id=9,
        ),
    ),
    (
        messages.C_STORE_RSP,
        filled(
            primitives.C_STORE(),
            MessageIDBeingRespondedTo=7,
            AffectedSOPClassUID=CT,
            AffectedSOPInstanceUID=INSTANCE,
            Status=0xB000,
        ),
        Command(
            command_field=CommandField.C_STORE_RSP,
            message_id_responded_to=7,
            affected_sop_class_uid=CT,
            affected_sop_instance_uid=INSTANCE,
            status=0xB000,
        ),
    ),
    (
        messages.C_MOVE_RQ,
        filled(
            primitives.C_MOVE(),
            MessageID=8,
            AffectedSOPClassUID="1.2.840.10008.5.1.4.1.2.2.2",
            Priority=0,
            MoveDestination="DEST",
            Identifier=BytesIO(b"x"),
        ),
        Command(
            command_field=CommandField.C_MOVE_RQ,
            message_id=8,
            affected_sop_class_uid="1.2.840.10008.5.1.4.1.2.2.2",
            priority=0,
            move_destination="DEST",
            data_set_type=DATA_SET,
        ),
    ),
    (
        messages.C_MOVE_RSP,
        filled(
            primitives.C_MOVE(),
            MessageIDBeingRespondedTo=8,
            AffectedSOPClassUID="1.2.840.10008.5.1.4.1.2.2.2",
            Status=0xFF00,
            NumberOfRemainingSuboperations=4,
            NumberOfCompletedSuboperations=3,
            NumberOfFailedSuboperations=2,
            NumberOfWarningSuboperations=1,
        ),
        Command(
            command_field=CommandField.C_MOVE_RSP,
            message_id_responded_to=8,
            affected_sop_class_uid="1.2.840.10008.5.1.4.1.2.2.2",
            status=0xFF00,
            remaining=4,
            completed=3,
            failed=2,
            warning=1,
        ),
    ),
    (
        messages.C_ECHO_RQ,
        filled(primitives.C_ECHO(), MessageID=1, AffectedSOPClassUID="1.2.840.10008.1.1"),
        Command(
            command_field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid="1.2.840.10008.1.1"
        ),
    ),
    (
        messages.C_CANCEL_RQ,
        filled(primitives.C_CANCEL(), MessageIDBeingRespondedTo=5),
        Command(command_field=CommandField.C_CANCEL_RQ, message_id_responded_to=5),
    ),
    (
        messages.N_EVENT_REPORT_RQ,
        filled(
            primitives.N_EVENT_REPORT(),
            MessageID=2,
            AffectedSOPClassUID="1.2.840.10008.1.20.1",
            AffectedSOPInstanceUID="1.2.840.10008.1.20.1.1",
            EventTypeID=2,
            EventInformation=BytesIO(b"x"),
        ),
        Command(
            command_field=CommandField.N_EVENT_REPORT_RQ,
            message_id=2,
            affected_sop_class_uid="1.2.840.10008.1.20.1",
            affected_sop_instance_uid="1.2.840.10008.1.20.1.1",
            event_type_id=2,
            data_set_type=DATA_SET,
        ),
    ),
    (
        messages.N_ACTION_RQ,
        filled(
            primitives.N_ACTION(),
            MessageID=2,
            RequestedSOPClassUID="1.2.840.10008.1.20.1",
            RequestedSOPInstanceUID="1.2.840.10008.1.20.1.1",
            ActionTypeID=1,
            ActionInformation=BytesIO(b"x"),
        ),
        Command(
            command_field=CommandField.N_ACTION_RQ,
            message_id=2,
            requested_sop_class_uid="1.2.840.10008.1.20.1",
            requested_sop_instance_uid="1.2.840.10008.1.20.1.1",
            action_type_id=1,
            data_set_type=DATA_SET,
        ),
    ),
]


@pytest.mark.parametrize(("message", "primitive", "command"), PEERS)
def test_the_peers_command_says_to_us_what_it_meant(message: Any, primitive: Any, command: Command) -> None:
    assert decode_command(theirs(message(), primitive)) == command


@pytest.mark.parametrize(("message", "primitive", "command"), PEERS)
def test_our_command_is_the_peers_to_them(message: Any, primitive: Any, command: Command) -> None:
    ours = decode_data_set(BytesIO(encode_command(command)), True, True)
    wanted = message()
    wanted.primitive_to_message(primitive)
    assert {item.tag: item.value for item in ours} == {item.tag: item.value for item in wanted.command_set}


def test_the_peer_reads_our_fast_answers() -> None:
    request = decode_command(with_length(*STORE))
    stored = decode_data_set(BytesIO(store_response(request, 0x0000)), True, True)
    assert (stored.CommandField, stored.MessageIDBeingRespondedTo, stored.Status) == (0x8001, 7, 0)
    assert (stored.AffectedSOPClassUID, stored.AffectedSOPInstanceUID) == (CT, INSTANCE)
    find = Command(
        command_field=CommandField.C_FIND_RQ, message_id=4, affected_sop_class_uid=CT, data_set_type=1
    )
    pending = decode_data_set(BytesIO(find_pending(find, 0xFF01)), True, True)
    assert (pending.CommandField, pending.Status, pending.CommandDataSetType) == (0x8020, 0xFF01, DATA_SET)
