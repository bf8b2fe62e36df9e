"""What acceptor and requestor agree on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocols.errors import Misuse, PeerError
from protocols.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from protocols.ul.model import (
    APPLICATION_CONTEXT_NOT_SUPPORTED,
    CALLED_AE_NOT_RECOGNIZED,
    CALLING_AE_NOT_RECOGNIZED,
    NO_REASON_GIVEN,
    PROTOCOL_VERSION_NOT_SUPPORTED,
)
from protocols.ul.negotiation import (
    MAX_USER_IDENTITY_BYTES,
    MIN_PEER_PDU_BYTES,
    Context,
    IdentityVerdict,
    Policy,
    QuerySupport,
    Service,
    Side,
    answer,
    interpret,
    is_ae_title,
    request,
)
from protocols.ul.pdu import (
    AcceptedContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    CommonExtended,
    ContextResult,
    ProposedContext,
    Role,
    UserIdentity,
    decode,
    encode,
)
from protocols.ul.sop_classes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    UNCOMPRESSED,
    VERIFICATION,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
US = "1.2.840.10008.5.1.4.1.1.6.1"
JPEG = "1.2.840.10008.1.2.4.70"

SERVICES = {
    CT: Service((EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, JPEG), True, requestor_scp=True),
    VERIFICATION: Service(UNCOMPRESSED),
    STUDY_ROOT_FIND: Service(UNCOMPRESSED),
    US: Service(UNCOMPRESSED, allowed=False),
}
POLICY = Policy(ae_titles=frozenset({"PACS"}), service=SERVICES.get)


def ask(*contexts: ProposedContext, **fields: Any) -> AssociateRequest:
    proposed = contexts or (ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),)
    known: dict[str, Any] = {
        "called_ae": "PACS",
        "calling_ae": "CT1",
        "contexts": proposed,
        "max_pdu_bytes": 16384,
    }
    return AssociateRequest(**(known | fields))


def accepted(asked: AssociateRequest, policy: Policy = POLICY, **more: Any) -> AssociateAccept:
    reply = answer(asked, policy, **more)
    assert isinstance(reply, AssociateAccept)
    assert decode(2, encode(reply)[6:]) == reply
    return reply


@pytest.mark.parametrize(
    ("fields", "rejection"),
    [
        ({"protocol_version": 0}, PROTOCOL_VERSION_NOT_SUPPORTED),
        ({"protocol_version": 2}, PROTOCOL_VERSION_NOT_SUPPORTED),
        ({"application_context": "1.2.3"}, APPLICATION_CONTEXT_NOT_SUPPORTED),
        ({"application_context": ""}, APPLICATION_CONTEXT_NOT_SUPPORTED),
        ({"called_ae": "OTHER"}, CALLED_AE_NOT_RECOGNIZED),
        ({"called_ae": ""}, CALLED_AE_NOT_RECOGNIZED),
        ({"called_ae": "\xff\0\x1b[2J"}, CALLED_AE_NOT_RECOGNIZED),
        ({"calling_ae": ""}, CALLING_AE_NOT_RECOGNIZED),
        ({"calling_ae": "A\\B"}, CALLING_AE_NOT_RECOGNIZED),
        ({"max_pdu_bytes": 1}, NO_REASON_GIVEN),
        ({"max_pdu_bytes": MIN_PEER_PDU_BYTES - 1}, NO_REASON_GIVEN),
        ({"contexts": ()}, NO_REASON_GIVEN),
        ({"user_identity": UserIdentity(1, False, bytes(MAX_USER_IDENTITY_BYTES + 1))}, NO_REASON_GIVEN),
    ],
)
def test_a_request_that_cannot_be_taken_is_rejected_for_its_reason(
    fields: dict[str, Any], rejection: AssociateReject
) -> None:
    assert answer(ask(**fields), POLICY) == rejection


def test_an_unknown_caller_is_rejected() -> None:
    policy = replace(POLICY, knows_calling=frozenset({"CT1"}).__contains__)
    assert answer(ask(calling_ae="CT2"), policy) == CALLING_AE_NOT_RECOGNIZED
    accepted(ask(), policy)


def test_without_titles_of_our_own_any_valid_one_is_ours() -> None:
    policy = replace(POLICY, ae_titles=None)
    accepted(ask(called_ae="ANY-SCP"), policy)
    assert answer(ask(called_ae="\x01"), policy) == CALLED_AE_NOT_RECOGNIZED


def test_a_later_protocol_version_that_includes_the_first_is_taken() -> None:
    assert accepted(ask(protocol_version=3)).protocol_version == 1


def test_every_context_gets_its_own_answer() -> None:
    reply = accepted(
        ask(
            ProposedContext(1, CT, (IMPLICIT_VR_LITTLE_ENDIAN,)),
            ProposedContext(3, CT, (JPEG, IMPLICIT_VR_LITTLE_ENDIAN)),
            ProposedContext(5, CT, ("1.2.3",)),
            ProposedContext(7, MR, (IMPLICIT_VR_LITTLE_ENDIAN,)),
            ProposedContext(9, US, (IMPLICIT_VR_LITTLE_ENDIAN,)),
            ProposedContext(11, CT, ()),
        )
    )
    assert [(c.context_id, c.result) for c in reply.contexts] == [
        (1, ContextResult.ACCEPTANCE),
        (3, ContextResult.ACCEPTANCE),
        (5, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
        (7, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED),
        (9, ContextResult.USER_REJECTION),
        (11, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
    ]
    assert reply.contexts[1].transfer_syntax == JPEG


def test_images_come_in_the_proposers_first_syntax_and_queries_in_ours() -> None:
    both = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)
    reply = accepted(ask(ProposedContext(1, CT, both), ProposedContext(3, STUDY_ROOT_FIND, both)))
    assert [c.transfer_syntax for c in reply.contexts] == [
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
    ]


def test_ten_thousand_transfer_syntaxes_are_answered() -> None:
    many = tuple(f"1.2.3.{n}" for n in range(10_000))
    reply = accepted(ask(ProposedContext(1, CT, (*many, JPEG)), ProposedContext(3, VERIFICATION, many)))
    assert [c.result for c in reply.contexts] == [0, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED]


@pytest.mark.parametrize("proposed", [Role(a, b) for a in (False, True) for b in (False, True)])
def test_no_role_is_granted_that_was_not_proposed(proposed: Role) -> None:
    contexts = [
        ProposedContext(2 * n + 1, uid, (IMPLICIT_VR_LITTLE_ENDIAN,))
        for n, uid in enumerate((CT, VERIFICATION, MR))
    ]
    reply = accepted(ask(*contexts, roles=dict.fromkeys((CT, VERIFICATION, MR, STUDY_ROOT_FIND), proposed)))
    assert reply.roles == {CT: proposed, VERIFICATION: Role(proposed.scu, False)}


def test_roles_are_ours_as_seen_from_our_side() -> None:
    asked = ask(
        ProposedContext(1, CT, (IMPLICIT_VR_LITTLE_ENDIAN,)),
        ProposedContext(3, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),
        roles={CT: Role(scu=False, scp=True)},
    )
    reply = accepted(asked)
    ours = interpret(asked, reply, side=Side.ACCEPTOR).contexts
    theirs = interpret(asked, reply).contexts
    assert ours[1] == Context(1, CT, IMPLICIT_VR_LITTLE_ENDIAN, scu=True, scp=False)
    assert theirs[1] == Context(1, CT, IMPLICIT_VR_LITTLE_ENDIAN, scu=False, scp=True)
    assert (ours[3].scu, ours[3].scp, theirs[3].scu, theirs[3].scp) == (False, True, True, False)


def test_an_acceptor_cannot_grant_what_was_not_proposed() -> None:
    asked = ask(roles={VERIFICATION: Role(scu=False, scp=True)})
    granted = replace(
        accepted(asked),
        roles={VERIFICATION: Role(scu=True, scp=True), CT: Role(scu=True, scp=True)},
        extended={CT: b"\2"},
    )
    agreed = interpret(asked, granted)
    assert (agreed.contexts[1].scu, agreed.contexts[1].scp) == (False, True)
    assert agreed.extended == {}
    unasked = interpret(ask(), granted).contexts[1]
    assert (unasked.scu, unasked.scp) == (True, False)


def test_an_asynchronous_window_is_answered_honestly_and_only_when_asked_for() -> None:
    assert accepted(ask()).asynchronous_window is None
    assert accepted(ask(asynchronous_window=(0, 8))).asynchronous_window == (1, 1)


def test_common_extended_negotiation_is_taken_without_reply() -> None:
    asked = ask(common_extended={CT: CommonExtended("1.2.840.10008.4.2")})
    assert accepted(asked) == accepted(ask())


@pytest.mark.parametrize(
    ("kind", "wanted", "verdict", "response"),
    [
        (5, True, IdentityVerdict(True, b"token"), b"token"),
        (3, True, IdentityVerdict(True, b"ticket"), b"ticket"),
        (5, False, IdentityVerdict(True, b"token"), None),
        (2, True, IdentityVerdict(True, b"ignored"), b""),
        (2, False, IdentityVerdict(True), None),
        (2, True, None, None),
    ],
)
def test_an_identity_is_answered_as_it_was_asked(
    kind: int, wanted: bool, verdict: IdentityVerdict | None, response: bytes | None
) -> None:
    asked = ask(user_identity=UserIdentity(kind, wanted, b"alice", b"sesame"))
    assert accepted(asked, identity=verdict).user_identity_response == response


def test_a_ticket_is_in_no_repr() -> None:
    assert "ticket" not in f"{IdentityVerdict(True, b'ticket')}"


def test_a_refused_identity_refuses_the_association() -> None:
    asked = ask(user_identity=UserIdentity(2, True, b"alice", b"wrong"))
    assert answer(asked, POLICY, identity=IdentityVerdict(False)) == NO_REASON_GIVEN


@pytest.mark.parametrize(
    ("uid", "asked", "reply"),
    [
        (STUDY_ROOT_FIND, b"\1", b"\1"),
        (STUDY_ROOT_FIND, b"\1\1\1\1", b"\1\0\1\0"),
        (STUDY_ROOT_FIND, b"\0\1\0\1", b"\0\0\0\0"),
        (STUDY_ROOT_FIND, b"\1\1\1\1\1\1\1", b"\1\0\1\0\0\0\0"),
        (STUDY_ROOT_FIND, b"\1" * 60_000, b"\1\0\1\0\0\0\0"),
        (STUDY_ROOT_FIND, b"", b""),
        (STUDY_ROOT_MOVE, b"\1\1", b"\1\0"),
        (STUDY_ROOT_GET, b"\0", b"\0"),
        (CT, b"\2\0\3\0\0\0", None),
    ],
)
def test_an_extended_reply_claims_only_what_was_asked_and_is_done(
    uid: str, asked: bytes, reply: bytes | None
) -> None:
    assert QuerySupport(relational=True, fuzzy=True).reply(uid, asked) == reply


def test_what_was_agreed_is_read_back_from_the_reply() -> None:
    done = QuerySupport(relational=True, fuzzy=True)
    assert QuerySupport.agreed(done.reply(STUDY_ROOT_FIND, b"\1" * 7) or b"") == done
    assert QuerySupport.agreed(b"") == QuerySupport()


def test_extended_replies_go_only_to_accepted_classes() -> None:
    policy = replace(POLICY, extended=QuerySupport(relational=True).reply)
    asked = ask(
        ProposedContext(1, STUDY_ROOT_FIND, UNCOMPRESSED),
        ProposedContext(3, STUDY_ROOT_MOVE, UNCOMPRESSED),
        extended={STUDY_ROOT_FIND: b"\1\1", STUDY_ROOT_MOVE: b"\1", CT: b"\2"},
    )
    reply = accepted(asked, policy)
    assert reply.extended == {STUDY_ROOT_FIND: b"\1\0"}
    assert interpret(asked, reply).extended == reply.extended


@pytest.mark.parametrize(
    ("peer_bytes", "sent"), [(0, 65536), (MIN_PEER_PDU_BYTES, 128), (16384, 16384), (2**32 - 1, 65536)]
)
def test_we_send_no_more_than_the_peer_takes_nor_than_we_like(peer_bytes: int, sent: int) -> None:
    asked = ask(max_pdu_bytes=peer_bytes)
    assert interpret(asked, accepted(asked), side=Side.ACCEPTOR, max_pdu_bytes=65536).peer_max_pdu == sent


def test_the_requestors_contexts_are_numbered_and_limited() -> None:
    made = request([(CT, (JPEG,)), (CT, UNCOMPRESSED)], calling_ae="PACS", called_ae="CT1")
    assert [(c.context_id, c.transfer_syntaxes) for c in made.contexts] == [(1, (JPEG,)), (3, UNCOMPRESSED)]
    assert request([(CT, (JPEG,))] * 128, calling_ae="A", called_ae="B").contexts[-1].context_id == 255
    for wrong in ([], [(CT, (JPEG,))] * 129):
        with pytest.raises(Misuse):
            request(wrong, calling_ae="A", called_ae="B")


def test_what_both_sides_conclude_is_the_same_agreement() -> None:
    asked = request([(CT, UNCOMPRESSED), (MR, UNCOMPRESSED)], calling_ae="CT1", called_ae="PACS")
    reply = accepted(asked)
    ours, theirs = interpret(asked, reply, side=Side.ACCEPTOR), interpret(asked, reply)
    assert list(ours.contexts) == list(theirs.contexts) == [1]
    assert (ours.called_ae, ours.calling_ae) == ("PACS", "CT1")
    for each in (ours, theirs):
        assert each.peer_implementation_class_uid == IMPLEMENTATION_CLASS_UID
        assert each.peer_implementation_version_name == IMPLEMENTATION_VERSION_NAME


@pytest.mark.parametrize(
    "nonsense",
    [
        {"contexts": (AcceptedContext(5, 0, IMPLICIT_VR_LITTLE_ENDIAN),)},
        {"contexts": (AcceptedContext(1, 0, JPEG),)},
        {"contexts": (AcceptedContext(1, 0, ""),)},
        {"max_pdu_bytes": 7},
    ],
)
def test_an_acceptor_that_answers_nonsense_is_a_peer_error(nonsense: dict[str, Any]) -> None:
    asked = ask()
    with pytest.raises(PeerError):
        interpret(asked, replace(accepted(asked), **nonsense))


def test_a_context_without_answer_is_refused() -> None:
    asked = ask()
    assert interpret(asked, replace(accepted(asked), contexts=())).contexts == {}


@given(st.text(max_size=20))
def test_an_ae_title_is_sixteen_printable_characters(title: str) -> None:
    fits = (
        1 <= len(title) <= 16 and all(32 <= ord(c) < 127 and c != "\\" for c in title) and title.strip() != ""
    )
    assert is_ae_title(title) == fits
