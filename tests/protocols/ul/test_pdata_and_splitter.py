"""P-DATA-TF helpers, header checks and the splitter."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as peer

from protocols.errors import Misuse, PeerError
from protocols.ul.model import AbortReason
from protocols.ul.pdata import MIN_PEER_PDU_BYTES, check_header, encode_message, pdata_header, pdvs
from protocols.ul.pdu import MAX_ASSOCIATE_BYTES, Abort, AssociateReject, ReleaseRequest, encode
from protocols.ul.splitter import PduSplitter

LIMIT = 4096


def framed(pdu_type: int, body: bytes) -> bytes:
    return struct.pack(">BxI", pdu_type, len(body)) + body


streams = st.lists(
    st.one_of(
        st.just(encode(ReleaseRequest())),
        st.builds(lambda s, r: encode(Abort(s, r)), st.integers(0, 2), st.integers(0, 6)),
        st.just(encode(AssociateReject(1, 1, 7))),
        st.binary(min_size=1, max_size=300).map(
            lambda data: encode_message(3, data, command=False, max_pdu_bytes=128)
        ),
        st.binary(min_size=68, max_size=300).map(lambda body: framed(1, body)),
    ),
    max_size=6,
).map(b"".join)


@given(streams, st.binary(max_size=12), st.data())
def test_any_split_gives_the_same_pdus_and_the_same_end(
    good: bytes, tail: bytes, data: st.DataObject
) -> None:
    stream = good + tail
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    def run(chunks: list[bytes]) -> tuple[list[tuple[int, bytes]], str | None]:
        splitter, got = PduSplitter(LIMIT), []
        try:
            for chunk in chunks:
                for pdu in splitter.feed(chunk):
                    got.append(pdu)
        except PeerError as error:
            return got, str(error)
        return got, None

    assert run(pieces) == run([stream]) == run([stream[n : n + 1] for n in range(len(stream))])


def test_pdus_before_a_broken_one_still_come() -> None:
    found = []
    with pytest.raises(PeerError):
        for pdu in PduSplitter(LIMIT).feed(encode(ReleaseRequest()) + b"GET / HTTP/1.1"):
            found.append(pdu)
    assert found == [(5, bytes(4))]


@pytest.mark.parametrize(
    ("pdu_type", "length", "reason"),
    [
        (0, 4, AbortReason.UNRECOGNIZED_PDU),
        (8, 4, AbortReason.UNRECOGNIZED_PDU),
        (0x16, 0x0301, AbortReason.UNRECOGNIZED_PDU),
        (1, 0, AbortReason.INVALID_PARAMETER_VALUE),
        (1, 67, AbortReason.INVALID_PARAMETER_VALUE),
        (1, MAX_ASSOCIATE_BYTES + 1, AbortReason.INVALID_PARAMETER_VALUE),
        (2, 0xFFFFFFFF, AbortReason.INVALID_PARAMETER_VALUE),
        (4, 5, AbortReason.INVALID_PARAMETER_VALUE),
        (4, LIMIT + 1, AbortReason.INVALID_PARAMETER_VALUE),
        (5, 0, AbortReason.INVALID_PARAMETER_VALUE),
        (7, 5, AbortReason.INVALID_PARAMETER_VALUE),
    ],
)
def test_a_bad_header_is_refused_before_its_body(pdu_type: int, length: int, reason: int) -> None:
    with pytest.raises(PeerError) as caught:
        list(PduSplitter(LIMIT).feed(struct.pack(">BxI", pdu_type, length)))
    assert caught.value.abort_reason == reason


@pytest.mark.parametrize(
    ("pdu_type", "length"), [(1, 68), (2, MAX_ASSOCIATE_BYTES), (4, 6), (4, LIMIT), (3, 4), (7, 4)]
)
def test_lengths_at_the_limits_are_taken(pdu_type: int, length: int) -> None:
    check_header(pdu_type, length, LIMIT)
    assert list(PduSplitter(LIMIT).feed(struct.pack(">BxI", pdu_type, length))) == []


@given(st.binary(max_size=2000), st.integers(MIN_PEER_PDU_BYTES, 600), st.booleans())
def test_a_message_in_pieces_is_whole_again(data: bytes, max_pdu_bytes: int, command: bool) -> None:
    encoded = encode_message(5, data, command=command, max_pdu_bytes=max_pdu_bytes)
    bodies = [body for _, body in PduSplitter(max_pdu_bytes).feed(encoded)]
    found = [pdv for body in bodies for pdv in pdvs(body)]
    assert b"".join(pdv.data for pdv in found) == data
    assert [pdv.is_last for pdv in found] == [False] * (len(found) - 1) + [True]
    assert {(pdv.context_id, pdv.is_command) for pdv in found} == {(5, command)}
    assert sum(len(body) + 6 for body in bodies) == len(encoded)


@pytest.mark.parametrize("max_pdu_bytes", [0, 1, 7, MIN_PEER_PDU_BYTES - 1])
def test_no_message_is_cut_into_crumbs(max_pdu_bytes: int) -> None:
    with pytest.raises(Misuse):
        encode_message(1, b"x" * 100, command=True, max_pdu_bytes=max_pdu_bytes)


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\2\1", b"\0\0\0\0\1\3", b"\0\0\0\1\1\3", b"\xff\xff\xff\xff\1\3abcd"]
)
def test_a_pdv_that_lies_is_a_peer_error(body: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        pdvs(body)
    assert caught.value.abort_reason == AbortReason.INVALID_PARAMETER_VALUE


@given(st.binary(max_size=100))
def test_random_bytes_are_pdvs_or_a_peer_error(body: bytes) -> None:
    try:
        found = pdvs(body)
    except PeerError:
        return
    assert sum(6 + len(pdv.data) for pdv in found) == len(body)


@pytest.mark.parametrize(("command", "last"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_peer_reads_our_p_data(command: bool, last: bool) -> None:
    theirs: Any = peer.P_DATA_TF()
    theirs.decode(pdata_header(7, 4, command=command, last=last) + b"abcd")
    (value,) = theirs.presentation_data_value_items
    assert value.presentation_context_id == 7
    assert value.presentation_data_value == bytes((command | last << 1,)) + b"abcd"
