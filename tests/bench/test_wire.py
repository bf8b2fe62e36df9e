"""pynetdicom is the second opinion on every PDU."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from bench import wire
from bench.link import IDENTIFIER_LIMIT_BYTES, Link

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def pair() -> Iterator[tuple[Link, socket.socket]]:
    near, far = socket.create_server(("127.0.0.1", 0)), socket.socket()
    far.connect(near.getsockname())
    far.settimeout(10)
    accepted, _ = near.accept()
    with near, far, Link(accepted, timeout_s=5) as link:
        yield link, far


def command(**changes: int) -> bytes:
    fields: dict[int, int | str] = {
        wire.COMMAND_FIELD: wire.C_STORE,
        wire.MESSAGE_ID: 3,
        wire.DATA_SET_TYPE: wire.DATA_SET,
        **{getattr(wire, name): value for name, value in changes.items()},
    }
    return wire.command_set(fields)


def test_the_association_request_means_what_it_should() -> None:
    proposals = [wire.Proposal(wire.STUDY_ROOT_GET, (wire.IMPLICIT_LE,)), wire.Proposal(CT, as_scp=True)]
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(wire.associate_request("ME", "THEM", proposals))
    primitive = pdu.to_primitive()
    assert (primitive.calling_ae_title, primitive.called_ae_title) == ("ME", "THEM")
    contexts = primitive.presentation_context_definition_list
    assert [(context.context_id, context.abstract_syntax) for context in contexts] == [
        (1, wire.STUDY_ROOT_GET),
        (3, CT),
    ]
    assert contexts[1].transfer_syntax == [wire.EXPLICIT_LE, wire.IMPLICIT_LE]
    assert pdu.user_information is not None
    role = pdu.user_information.role_selection[UID(CT)]
    assert role.scp_role == 1 and role.scu_role == 1
    assert primitive.maximum_length_received == wire.OFFERED_PDU_BYTES


def test_too_many_contexts_are_refused() -> None:
    with pytest.raises(ValueError, match="128"):
        wire.associate_request("A", "B", [wire.Proposal(CT)] * 129)


def test_an_answer_accepts_what_was_chosen_and_refuses_the_rest() -> None:
    request = wire.associate_request("ME", "THEM", [wire.Proposal(CT, as_scp=True), wire.Proposal("1.2.3")])
    asked = wire.read_request(request[6:])
    assert asked.contexts == {
        1: (CT, (wire.EXPLICIT_LE, wire.IMPLICIT_LE)),
        3: ("1.2.3", (wire.EXPLICIT_LE, wire.IMPLICIT_LE)),
    }
    answer = wire.associate_accept(asked, {1: wire.EXPLICIT_LE})
    accepted = wire.read_accept(answer[6:])
    assert accepted.contexts == {1: wire.EXPLICIT_LE}
    assert accepted.max_pdu_bytes == asked.max_pdu_bytes == wire.OFFERED_PDU_BYTES
    pdu = A_ASSOCIATE_AC()
    pdu.decode(answer)
    assert [context.result for context in pdu.presentation_context] == [0, 3]
    assert pdu.user_information is not None
    assert pdu.user_information.role_selection[UID(CT)].scp_role == 1


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_peer_failed(data: bytes) -> None:
    for read in (wire.read_accept, wire.read_request, wire.read_command):
        try:
            read(data)
        except wire.PeerFailed:
            pass


@given(st.binary(max_size=3000), st.integers(8, 1000))
def test_fragments_join_to_the_message(data: bytes, limit: int) -> None:
    raw = wire.p_data(1, data, command=True, max_pdu_bytes=limit)
    joined, position, last = b"", 0, False
    while position < len(raw):
        assert not last
        length, _, _, control = struct.unpack_from(">xxIIBB", raw, position)
        assert length <= limit
        joined += raw[position + 12 : position + 6 + length]
        last = bool(control & 2)
        position += 6 + length
    assert last and joined == data


def test_messages_come_whole_however_they_are_cut(pair: tuple[Link, socket.socket]) -> None:
    link, far = pair
    raw = wire.p_data(1, command(), command=True, max_pdu_bytes=30)
    raw += wire.p_data(1, b"x" * 1000, command=False, max_pdu_bytes=100)
    raw += wire.p_data(1, command(DATA_SET_TYPE=wire.NO_DATA_SET), command=True, max_pdu_bytes=0)
    for start in range(0, len(raw), 7):
        far.sendall(raw[start : start + 7])
    far.sendall(wire.RELEASE_REQUEST)
    first, second = link.read_message(keep_data=True), link.read_message()
    assert first is not None and first.data == b"x" * 1000 == b"x" * first.size_bytes
    assert second is not None and wire.number(second.command, wire.MESSAGE_ID) == 3
    assert link.read_message() is None


def test_two_messages_in_one_pdu_both_come(pair: tuple[Link, socket.socket]) -> None:
    link, far = pair
    one = wire.p_data(1, command(DATA_SET_TYPE=wire.NO_DATA_SET), command=True, max_pdu_bytes=0)[6:]
    far.sendall(struct.pack(">BBI", wire.P_DATA, 0, 2 * len(one)) + one + one)
    assert link.read_message() is not None
    assert link.read_message() is not None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (struct.pack(">BBI", wire.P_DATA, 0, 0xFFFFFFFF), "4294967295 bytes"),
        (struct.pack(">BBIIBB", wire.P_DATA, 0, 6, 500, 1, 3), "runs past its PDU"),
        (struct.pack(">BBIH", wire.P_DATA, 0, 2, 0), "without a header"),
        (struct.pack(">BBIBBBB", wire.ABORT, 0, 4, 0, 0, 2, 1), "source 2, reason 1"),
        (struct.pack(">BBI", wire.ABORT, 0, 0), "source 0, reason 0"),
        (wire.p_data(1, b"late", command=False, max_pdu_bytes=0), "without a command set"),
        (wire.associate_request("A", "B", [wire.Proposal(CT)]), "instead of P-DATA-TF"),
        (b"", "closed the connection"),
    ],
)
def test_a_broken_peer_is_reported(pair: tuple[Link, socket.socket], raw: bytes, reason: str) -> None:
    link, far = pair
    far.sendall(raw)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(wire.PeerFailed, match=reason):
        link.read_message()


def test_a_command_set_has_a_limit(pair: tuple[Link, socket.socket]) -> None:
    link, far = pair
    piece = struct.pack(">BBIIBB", wire.P_DATA, 0, 32006, 32002, 1, 1) + bytes(32000)
    far.sendall(piece * 3)
    with pytest.raises(wire.PeerFailed, match="command set of more than"):
        link.read_message()


def test_an_identifier_has_a_limit(pair: tuple[Link, socket.socket]) -> None:
    link, far = pair
    piece = struct.pack(">BBIIBB", wire.P_DATA, 0, 100006, 100002, 1, 0) + bytes(100000)
    raw = wire.p_data(1, command(), command=True, max_pdu_bytes=0)
    raw += piece * (IDENTIFIER_LIMIT_BYTES // 100000 + 1)
    sender = threading.Thread(target=far.sendall, args=(raw,))
    sender.start()
    with pytest.raises(wire.PeerFailed, match="identifier of more than"):
        link.read_message(keep_data=True)
    sender.join()
