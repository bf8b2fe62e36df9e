"""How the acceptor answers an A-ASSOCIATE-RQ: pure rules (PS3.8 7.1.1, PS3.7 annex D)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from protocols.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from protocols.ul.model import (
    APPLICATION_CONTEXT,
    APPLICATION_CONTEXT_NOT_SUPPORTED,
    CALLED_AE_NOT_RECOGNIZED,
    CALLING_AE_NOT_RECOGNIZED,
    NO_REASON_GIVEN,
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_NOT_SUPPORTED,
    AcceptedContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    Role,
    UserIdentity,
)
from protocols.ul.pdata import DEFAULT_PDU_BYTES, MIN_PEER_PDU_BYTES
from protocols.ul.sop_classes import IMPLICIT_VR_LITTLE_ENDIAN

MAX_USER_IDENTITY_BYTES: Final = 16 * 1024
"""Both fields together; a request with more is refused before anybody looks into it."""


class Service(Struct, frozen=True):
    """How we treat one abstract syntax.

    transfer_syntaxes:       those we take
    proposers_order:         True: the requestor's first that we take, so that images come as they are stored;
                             False: our own first
    requestor_scu, _scp:     roles that the requestor may have (PS3.7 D.3.3.4)
    allowed:                 False: we know it, but not for this peer
    """

    transfer_syntaxes: tuple[str, ...]
    proposers_order: bool = False
    requestor_scu: bool = True
    requestor_scp: bool = False
    allowed: bool = True


class Policy(Struct, frozen=True, kw_only=True):
    """What the acceptor agrees to.

    ae_titles:       our own; None: answer to any valid title
    service:         abstract syntax to Service, None if not supported: usually a dict's ``get``
    knows_calling:   whether we talk to this calling AE title; None: to any valid one
    extended:        SOP Class UID and its extended negotiation to our reply, None for no reply
    max_pdu_bytes:   what we offer, and the most we send if the peer sets no or a larger limit
    """

    ae_titles: frozenset[str] | None
    service: Callable[[str], Service | None]
    knows_calling: Callable[[str], bool] | None = None
    extended: Callable[[str, bytes], bytes | None] | None = None
    max_pdu_bytes: int = DEFAULT_PDU_BYTES
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version_name: str = IMPLEMENTATION_VERSION_NAME


class IdentityVerdict(Struct, frozen=True):
    """What became of a user identity. Its repr shows no ticket.

    response:  server ticket, SAML response or token for kinds 3 to 5, sent only if it was asked for
    """

    accepted: bool
    response: bytes = b""

    def __repr__(self) -> str:
        return f"IdentityVerdict(accepted={self.accepted})"


def is_ae_title(title: str) -> bool:
    """1 to 16 printable ASCII characters but the backslash, not all of them spaces (PS3.5 6.2)."""
    return (
        0 < len(title) <= 16
        and title.isascii()
        and title.isprintable()
        and "\\" not in title
        and not title.isspace()
    )


def answer(
    request: AssociateRequest, policy: Policy, *, identity: IdentityVerdict | None = None
) -> AssociateAccept | AssociateReject:
    """The acceptor's answer. Every proposed context gets its own; rejections are those of PS3.8 table 9-21.

    identity:  the verdict on ``request.user_identity``; None: nobody looks at identities, which refuses none
               (PS3.7 D.3.3.7)
    """
    refusal = _refusal(request, policy, identity)
    if refusal is not None:
        return refusal
    contexts = tuple(_judge(context, policy.service(context.abstract_syntax)) for context in request.contexts)
    return AssociateAccept(
        called_ae=request.called_ae,
        calling_ae=request.calling_ae,
        contexts=contexts,
        max_pdu_bytes=policy.max_pdu_bytes,
        implementation_class_uid=policy.implementation_class_uid,
        implementation_version_name=policy.implementation_version_name,
        roles=_agreed_roles(request, contexts, policy),
        extended=_extended_replies(request, contexts, policy),
        user_identity_response=_identity_response(request.user_identity, identity),
        asynchronous_window=None if request.asynchronous_window is None else (1, 1),
    )


def _refusal(
    request: AssociateRequest, policy: Policy, identity: IdentityVerdict | None
) -> AssociateReject | None:
    if not request.protocol_version & PROTOCOL_VERSION:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    if not is_ae_title(request.called_ae) or (
        policy.ae_titles is not None and request.called_ae not in policy.ae_titles
    ):
        return CALLED_AE_NOT_RECOGNIZED
    if not is_ae_title(request.calling_ae) or (
        policy.knows_calling is not None and not policy.knows_calling(request.calling_ae)
    ):
        return CALLING_AE_NOT_RECOGNIZED
    too_small = 0 < request.max_pdu_bytes < MIN_PEER_PDU_BYTES
    if too_small or not request.contexts or not identity_fits(request.user_identity):
        return NO_REASON_GIVEN
    if identity is not None and not identity.accepted:
        return NO_REASON_GIVEN
    return None


def identity_fits(identity: UserIdentity | None) -> bool:
    """Whether a user identity is short enough to be looked at."""
    return identity is None or len(identity.primary) + len(identity.secondary) <= MAX_USER_IDENTITY_BYTES


def _judge(context: ProposedContext, service: Service | None) -> AcceptedContext:
    result, transfer_syntax = ContextResult.ACCEPTANCE, None
    if service is None:
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif not service.allowed:
        result = ContextResult.USER_REJECTION
    else:
        transfer_syntax = _choose(context.transfer_syntaxes, service)
        if transfer_syntax is None:
            result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    # The field has no meaning in a refusal, but it must hold some UID: decoders choke on an empty one.
    return AcceptedContext(context.context_id, result, transfer_syntax or IMPLICIT_VR_LITTLE_ENDIAN)


def _choose(proposed: tuple[str, ...], service: Service) -> str | None:
    first, second = proposed, service.transfer_syntaxes
    if not service.proposers_order:
        first, second = second, first
    taken = set(second)
    return next((uid for uid in first if uid in taken), None)


def _accepted_syntaxes(request: AssociateRequest, contexts: Iterable[AcceptedContext]) -> set[str]:
    accepted = {context.context_id for context in contexts if context.result == ContextResult.ACCEPTANCE}
    return {context.abstract_syntax for context in request.contexts if context.context_id in accepted}


def _agreed_roles(
    request: AssociateRequest, contexts: tuple[AcceptedContext, ...], policy: Policy
) -> dict[str, Role]:
    """The proposed roles that we grant; never one that was not proposed (PS3.7 D.3.3.4)."""
    roles: dict[str, Role] = {}
    if request.roles:
        for uid in _accepted_syntaxes(request, contexts) & request.roles.keys():
            service, proposed = policy.service(uid), request.roles[uid]
            if service is not None:
                roles[uid] = Role(
                    proposed.scu and service.requestor_scu, proposed.scp and service.requestor_scp
                )
    return roles


def _extended_replies(
    request: AssociateRequest, contexts: tuple[AcceptedContext, ...], policy: Policy
) -> dict[str, bytes]:
    replies: dict[str, bytes] = {}
    if request.extended and policy.extended is not None:
        for uid in _accepted_syntaxes(request, contexts) & request.extended.keys():
            reply = policy.extended(uid, request.extended[uid])
            if reply is not None:
                replies[uid] = reply
    return replies


def _identity_response(identity: UserIdentity | None, verdict: IdentityVerdict | None) -> bytes | None:
    """Only to who asked for it, and empty for names and passcodes (PS3.7 D.3.3.7.2)."""
    if identity is None or verdict is None or not identity.response_requested:
        return None
    return verdict.response if identity.kind in (3, 4, 5) else b""
