"""The PDU codec: round trips, hostile bytes, and pynetdicom as an independent peer."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pynetdicom import pdu as peer
from pynetdicom import pdu_primitives as primitives
from pynetdicom.presentation import build_context

from protocols.errors import Misuse, PeerError
from protocols.ul.model import LOCAL_LIMIT_EXCEEDED
from protocols.ul.pdu import (
    MAX_ASSOCIATE_BYTES,
    Abort,
    AbortReason,
    AcceptedContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    CommonExtended,
    Pdu,
    ProposedContext,
    ReleaseReply,
    ReleaseRequest,
    Role,
    UserIdentity,
    decode,
    encode,
)
from protocols.ul.sop_classes import ALL_TRANSFER_SYNTAXES, STORAGE

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"

uids = st.text("0123456789.", min_size=1, max_size=64)
titles = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=16)
bytes_ = st.binary(max_size=40)
context_ids = st.integers(0, 127).map(lambda n: 2 * n + 1)
roles = st.dictionaries(uids, st.builds(Role, st.booleans(), st.booleans()), max_size=4)
windows = st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535))


def unique_contexts(one: Any) -> Any:
    return st.lists(one, max_size=8, unique_by=lambda context: context.context_id).map(tuple)


requests = st.builds(
    AssociateRequest,
    called_ae=titles,
    calling_ae=titles,
    contexts=unique_contexts(
        st.builds(ProposedContext, context_ids, uids, st.lists(uids, max_size=5).map(tuple))
    ),
    max_pdu_bytes=st.integers(0, 2**32 - 1),
    implementation_class_uid=uids,
    implementation_version_name=titles,
    roles=roles,
    extended=st.dictionaries(uids, bytes_, max_size=3),
    common_extended=st.dictionaries(
        uids, st.builds(CommonExtended, uids, st.lists(uids, max_size=3).map(tuple)), max_size=3
    ),
    user_identity=st.none() | st.builds(UserIdentity, st.integers(1, 5), st.booleans(), bytes_, bytes_),
    asynchronous_window=windows,
    application_context=uids,
    protocol_version=st.integers(0, 65535),
)
accepts = st.builds(
    AssociateAccept,
    called_ae=titles,
    calling_ae=titles,
    contexts=unique_contexts(st.builds(AcceptedContext, context_ids, st.integers(0, 4), uids)),
    max_pdu_bytes=st.integers(0, 2**32 - 1),
    implementation_class_uid=uids,
    implementation_version_name=titles,
    roles=roles,
    extended=st.dictionaries(uids, bytes_, max_size=3),
    user_identity_response=st.none() | bytes_,
    asynchronous_window=windows,
)
octets = st.integers(0, 255)
pdus = st.one_of(
    requests,
    accepts,
    st.builds(AssociateReject, octets, octets, octets),
    st.builds(Abort, octets, octets),
    st.just(ReleaseRequest()),
    st.just(ReleaseReply()),
)


def parts(encoded: bytes) -> tuple[int, bytes]:
    pdu_type, length = struct.unpack(">BxI", encoded[:6])
    assert length == len(encoded) - 6
    return pdu_type, encoded[6:]


@given(pdus)
def test_what_is_encoded_is_decoded(pdu: Pdu) -> None:
    assert decode(*parts(encode(pdu))) == pdu


@given(octets, st.binary(max_size=400))
@example(1, bytes(68) + b"\x50\0\0\x04\x58\0\0\0")
def test_random_bytes_are_a_pdu_or_a_peer_error(pdu_type: int, body: bytes) -> None:
    try:
        decode(pdu_type, memoryview(body))
    except PeerError as error:
        assert error.abort_reason in range(7)


@given(requests | accepts, st.data())
def test_a_damaged_association_pdu_is_a_pdu_or_a_peer_error(pdu: Pdu, data: st.DataObject) -> None:
    pdu_type, body = parts(encode(pdu))
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(66, len(damaged) - 1))] = data.draw(octets)
    cut = data.draw(st.integers(0, len(damaged)))
    for bad in (bytes(damaged), bytes(damaged[:cut])):
        try:
            decode(pdu_type, bad)
        except PeerError as error:
            assert error.abort_reason == AbortReason.INVALID_PARAMETER_VALUE


def item(item_type: int, content: bytes) -> bytes:
    return struct.pack(">BxH", item_type, len(content)) + content


HEAD = struct.pack(">H2x16s16s32x", 1, b"PACS".ljust(16), b"CT1".ljust(16))
USER = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3")
CONTEXT = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, IMPLICIT.encode()))


def test_unknown_items_and_sub_items_are_ignored() -> None:
    plain = decode(1, HEAD + CONTEXT + item(0x50, USER))
    context = item(
        0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x77, b"x") + item(0x40, IMPLICIT.encode())
    )
    body = HEAD + item(0xEE, b"new") + context + item(0x50, item(0x5A, b"newer") + USER) + item(0x7F, b"")
    assert decode(1, body) == plain


def test_padding_of_uids_and_titles_is_no_part_of_them() -> None:
    head = struct.pack(">H2x16s16s32x", 1, b"  PACS", b"CT 1\0\0")
    context = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode() + b"\0") + item(0x40, IMPLICIT.encode() + b" "))
    request = decode(1, head + context)
    assert isinstance(request, AssociateRequest)
    assert (request.called_ae, request.calling_ae) == ("PACS", "CT 1")
    assert request.contexts == (ProposedContext(1, CT, (IMPLICIT,)),)


@pytest.mark.parametrize(
    "body",
    [
        HEAD[:-1],
        HEAD + b"\x20\0\0",
        HEAD + b"\x20\0\0\x05\1\0\0\0",
        HEAD + item(0x20, b"\1\0\0"),
        HEAD + item(0x20, b"\2\0\0\0"),
        HEAD + item(0x20, b"\0\0\0\0"),
        HEAD + CONTEXT + CONTEXT,
        HEAD + item(0x20, b"\1\0\0\0" + 2 * item(0x30, CT.encode())),
        HEAD + 2 * item(0x10, b"1.2"),
        HEAD + item(0x10, b"1.2 \0\xff.3"),
        HEAD + 2 * item(0x50, USER),
        HEAD + item(0x50, item(0x51, b"\0\0\1")),
        HEAD + item(0x50, b"\x52\0\0\x041.2"),
        HEAD + item(0x50, item(0x53, b"\0\0\1")),
        HEAD + item(0x50, item(0x54, b"\0")),
        HEAD + item(0x50, item(0x54, b"\0\x031.2\1")),
        HEAD + item(0x50, item(0x54, b"\0\x091.2\1\1")),
        HEAD + item(0x50, item(0x56, b"\0\x091.2")),
        HEAD + item(0x50, item(0x57, b"\0\x031.2\0\x031.3\0\x04\0\x091.")),
        HEAD + item(0x50, item(0x58, b"\1")),
        HEAD + item(0x50, item(0x58, b"\2\1\xff\xffabc")),
        HEAD + item(0x50, item(0x58, b"\2\1\0\x03abc")),
    ],
)
def test_a_length_that_lies_is_an_invalid_parameter(body: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        decode(1, body)
    assert caught.value.abort_reason == AbortReason.INVALID_PARAMETER_VALUE


def test_every_odd_context_number_can_be_used_and_no_more() -> None:
    def proposed(numbers: range) -> bytes:
        return b"".join(item(0x20, bytes((n & 0xFF, 0, 0, 0)) + item(0x30, CT.encode())) for n in numbers)

    full = decode(1, HEAD + proposed(range(1, 256, 2)))
    assert isinstance(full, AssociateRequest) and len(full.contexts) == 128
    with pytest.raises(PeerError, match="even or repeated"):
        decode(1, HEAD + proposed(range(1, 258, 2)))


def test_the_largest_request_that_makes_sense_fits_and_more_is_refused() -> None:
    contexts = tuple(
        ProposedContext(2 * n + 1, uid, ALL_TRANSFER_SYNTAXES) for n, uid in enumerate(list(STORAGE)[:128])
    )
    request = AssociateRequest(
        called_ae="PACS", calling_ae="CT1", contexts=contexts, implementation_class_uid="1.2"
    )
    encoded = encode(request)
    assert len(encoded) <= MAX_ASSOCIATE_BYTES and decode(*parts(encoded)) == request
    with pytest.raises(PeerError, match="PDU of"):
        decode(1, HEAD + item(0xEE, bytes(65531)) * 5)


def test_nothing_is_missed_when_user_information_and_contexts_are_absent() -> None:
    request = decode(1, HEAD)
    assert isinstance(request, AssociateRequest)
    assert (request.application_context, request.contexts, request.max_pdu_bytes) == ("", (), 0)


@pytest.mark.parametrize("title", [b"\xff\0\x1b[2J", b"", b"' OR 1=1 --", "é".encode()])
def test_any_title_can_be_decoded(title: bytes) -> None:
    request = decode(1, struct.pack(">H2x16s16s32x", 1, title, b"CT1"))
    assert isinstance(request, AssociateRequest)
    assert request.called_ae.encode("latin-1") == title.rstrip(b"\0 ")


@pytest.mark.parametrize(
    ("pdu_type", "reason"), [(0, AbortReason.UNRECOGNIZED_PDU), (4, AbortReason.UNEXPECTED_PDU), (255, 1)]
)
def test_a_type_that_has_no_codec_is_a_peer_error(pdu_type: int, reason: int) -> None:
    with pytest.raises(PeerError) as caught:
        decode(pdu_type, bytes(4))
    assert caught.value.abort_reason == reason


@pytest.mark.parametrize("pdu_type", [3, 5, 6, 7])
@pytest.mark.parametrize("length", [0, 3, 5])
def test_the_short_pdus_have_four_bytes(pdu_type: int, length: int) -> None:
    with pytest.raises(PeerError):
        decode(pdu_type, bytes(length))


@pytest.mark.parametrize(
    "changes",
    [
        {"called_ae": "X" * 17},
        {"contexts": (ProposedContext(2, CT, ()),)},
        {"contexts": (ProposedContext(257, CT, ()),)},
        {"contexts": (ProposedContext(1, CT, ()),) * 2},
        {"contexts": (ProposedContext(1, "1." * 33, ()),)},
        {"contexts": (ProposedContext(1, "1.é", ()),)},
        {"contexts": (ProposedContext(1, CT, ("1." * 32,) * 1000),)},
        {"contexts": tuple(ProposedContext(n, CT, ("1." * 32,) * 900) for n in (1, 3, 5, 7, 9))},
        {"user_identity": UserIdentity(1, False, bytes(65536))},
        {"extended": {f"1.{n}": bytes(60000) for n in range(5)}},
        {"implementation_version_name": "X" * 17},
    ],
)
def test_what_the_standard_forbids_us_to_send_is_misuse(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"called_ae": "PACS", "calling_ae": "CT1", "contexts": ()} | changes
    with pytest.raises(Misuse):
        encode(AssociateRequest(**fields))


def test_secrets_are_in_no_repr() -> None:
    identity = UserIdentity(2, True, b"alice", b"open sesame")
    request = AssociateRequest(called_ae="PACS", calling_ae="CT1", contexts=(), user_identity=identity)
    accept = AssociateAccept(
        called_ae="PACS", calling_ae="CT1", contexts=(), user_identity_response=b"ticket"
    )
    shown = f"{request} {accept!r} {identity!r}"
    assert "sesame" not in shown and "alice" not in shown and "ticket" not in shown


# -- pynetdicom as the peer ------------------------------------------------------------------


def user_information() -> list[Any]:
    length = primitives.MaximumLengthNotification()
    length.maximum_length_received = 16382
    implementation = primitives.ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3.4"
    version = primitives.ImplementationVersionNameNotification()
    version.implementation_version_name = "PEER_1"
    return [length, implementation, version]


def requested_by_the_peer() -> Any:
    primitive = primitives.A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "CT1", "PACS"
    contexts = [build_context(CT, [IMPLICIT, "1.2.840.10008.1.2.1"]), build_context(MR, [IMPLICIT])]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    window = primitives.AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 2, 3
    role = primitives.SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, False, True
    extended = primitives.SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = MR, b"\2\0\3"
    common = primitives.SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = MR, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = ["1.2.840.10008.5.1.4.1.1.4.1", CT]
    identity = primitives.UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = b"alice", b"sesame"
    primitive.user_information = [*user_information(), window, role, extended, common, identity]
    return primitive


def expected_request() -> AssociateRequest:
    return AssociateRequest(
        called_ae="PACS",
        calling_ae="CT1",
        contexts=(
            ProposedContext(1, CT, (IMPLICIT, "1.2.840.10008.1.2.1")),
            ProposedContext(3, MR, (IMPLICIT,)),
        ),
        max_pdu_bytes=16382,
        implementation_class_uid="1.2.3.4",
        implementation_version_name="PEER_1",
        roles={CT: Role(scu=False, scp=True)},
        extended={MR: b"\2\0\3"},
        common_extended={MR: CommonExtended("1.2.840.10008.4.2", ("1.2.840.10008.5.1.4.1.1.4.1", CT))},
        user_identity=UserIdentity(2, True, b"alice", b"sesame"),
        asynchronous_window=(2, 3),
    )


def test_the_peers_request_says_to_us_what_it_meant() -> None:
    assert decode(*parts(peer.A_ASSOCIATE_RQ(requested_by_the_peer()).encode())) == expected_request()


def test_our_request_says_to_the_peer_what_we_meant() -> None:
    theirs = peer.A_ASSOCIATE_RQ()
    theirs.decode(encode(expected_request()))
    again = theirs.to_primitive()
    assert (again.calling_ae_title, again.called_ae_title) == ("CT1", "PACS")
    assert [(c.context_id, c.abstract_syntax) for c in again.presentation_context_definition_list] == [
        (1, CT),
        (3, MR),
    ]
    # Their encoder, fed with what they understood, gives a request that means the same.
    assert decode(*parts(peer.A_ASSOCIATE_RQ(again).encode())) == expected_request()


def test_our_accept_says_to_the_peer_what_we_meant_and_back() -> None:
    ours = AssociateAccept(
        called_ae="PACS",
        calling_ae="CT1",
        contexts=(AcceptedContext(1, 0, IMPLICIT), AcceptedContext(3, 3, IMPLICIT)),
        max_pdu_bytes=131072,
        implementation_class_uid="1.2.3.4",
        implementation_version_name="PEER_1",
        roles={CT: Role(scu=False, scp=True)},
        extended={MR: b"\1"},
        user_identity_response=b"ticket",
        asynchronous_window=(1, 1),
    )
    theirs = peer.A_ASSOCIATE_AC()
    theirs.decode(encode(ours))
    primitive = theirs.to_primitive()
    assert [(c.context_id, c.result) for c in primitive.presentation_context_definition_results_list] == [
        (1, 0),
        (3, 3),
    ]
    assert primitive.maximum_length_received == 131072
    assert decode(*parts(theirs.encode())) == ours


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LOCAL_LIMIT_EXCEEDED, peer.A_ASSOCIATE_RJ),
        (ReleaseRequest(), peer.A_RELEASE_RQ),
        (ReleaseReply(), peer.A_RELEASE_RP),
        (Abort(2, 6), peer.A_ABORT_RQ),
    ],
)
def test_the_short_pdus_are_the_peers_byte_for_byte(ours: Pdu, theirs: Any) -> None:
    decoded = theirs()
    decoded.decode(encode(ours))
    assert decoded.encode() == encode(ours)
