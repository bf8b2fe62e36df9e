"""What both ends conclude from a request and its answer, and the requestor's request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from protocols.errors import Misuse, PeerError
from protocols.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from protocols.ul.association import Side
from protocols.ul.model import (
    MAX_CONTEXTS,
    AbortReason,
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    Role,
    UserIdentity,
)
from protocols.ul.pdata import DEFAULT_PDU_BYTES, MIN_PEER_PDU_BYTES


class Context(Struct, frozen=True):
    """An agreed presentation context. ``scu``, ``scp``: the roles that *we* may have in it."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    scu: bool
    scp: bool


class Negotiated(Struct, frozen=True):
    """What both ends agreed on.

    contexts:       by identifier, accepted ones only
    peer_max_pdu:   longest P-DATA-TF that we send, in bytes after its 6-byte header
    extended:       replies to extended negotiation, by SOP Class UID
    """

    contexts: dict[int, Context]
    peer_max_pdu: int
    extended: dict[str, bytes]
    called_ae: str
    calling_ae: str
    peer_implementation_class_uid: str
    peer_implementation_version_name: str


def request(
    proposed: Iterable[tuple[str, tuple[str, ...]]],
    *,
    calling_ae: str,
    called_ae: str,
    max_pdu_bytes: int = DEFAULT_PDU_BYTES,
    roles: Mapping[str, Role] | None = None,
    extended: Mapping[str, bytes] | None = None,
    user_identity: UserIdentity | None = None,
) -> AssociateRequest:
    """The requestor's A-ASSOCIATE-RQ. Contexts get 1, 3, 5 and so on.

    proposed:  abstract syntax and its transfer syntaxes, preferred first; one may come several times
    raises:    Misuse for none, or more than 128
    """
    contexts = tuple(
        ProposedContext(2 * index + 1, abstract_syntax, transfer_syntaxes)
        for index, (abstract_syntax, transfer_syntaxes) in enumerate(proposed)
    )
    if not 1 <= len(contexts) <= MAX_CONTEXTS:
        raise Misuse(f"{len(contexts)} presentation contexts")
    return AssociateRequest(
        called_ae=called_ae,
        calling_ae=calling_ae,
        contexts=contexts,
        max_pdu_bytes=max_pdu_bytes,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        roles=dict(roles or {}),
        extended=dict(extended or {}),
        user_identity=user_identity,
    )


def interpret(
    request: AssociateRequest,
    accept: AssociateAccept,
    *,
    side: Side = Side.REQUESTOR,
    max_pdu_bytes: int = DEFAULT_PDU_BYTES,
) -> Negotiated:
    """What holds from now on. A proposed context without an answer counts as refused.

    side:           which end we are: it decides whose limit is the peer's, and which roles are ours
    max_pdu_bytes:  the most we send, whatever the peer takes
    raises:         PeerError if the acceptor answers what was not proposed, or takes only tiny PDUs
    """
    peer = accept if side is Side.REQUESTOR else request
    return Negotiated(
        contexts=_contexts(request, accept, side),
        peer_max_pdu=_sendable(peer.max_pdu_bytes, max_pdu_bytes),
        extended={uid: reply for uid, reply in accept.extended.items() if uid in request.extended},
        called_ae=request.called_ae,
        calling_ae=request.calling_ae,
        peer_implementation_class_uid=peer.implementation_class_uid,
        peer_implementation_version_name=peer.implementation_version_name,
    )


def _sendable(peer_bytes: int, own_bytes: int) -> int:
    """0 means unlimited (PS3.8 D.1.1); we still keep to our own limit."""
    if 0 < peer_bytes < MIN_PEER_PDU_BYTES:
        raise _nonsense(f"a maximum length of {peer_bytes}", "PS3.8 D.1.1")
    return min(peer_bytes or own_bytes, own_bytes)


def _contexts(request: AssociateRequest, accept: AssociateAccept, side: Side) -> dict[int, Context]:
    proposed = {context.context_id: context for context in request.contexts}
    agreed: dict[int, Context] = {}
    for answer in accept.contexts:
        context = proposed.get(answer.context_id)
        if context is None:
            raise _nonsense(f"context {answer.context_id} was not proposed", "PS3.8 9.3.3.2")
        if answer.result != ContextResult.ACCEPTANCE:
            continue
        if answer.transfer_syntax not in context.transfer_syntaxes:
            raise _nonsense(
                f"context {answer.context_id}: {answer.transfer_syntax!r} was not proposed", "PS3.8 9.3.3.2"
            )
        role = _requestor_role(context.abstract_syntax, request, accept)
        scu, scp = (role.scu, role.scp) if side is Side.REQUESTOR else (role.scp, role.scu)
        agreed[answer.context_id] = Context(
            answer.context_id, context.abstract_syntax, answer.transfer_syntax, scu, scp
        )
    return agreed


def _requestor_role(uid: str, request: AssociateRequest, accept: AssociateAccept) -> Role:
    """SCU unless both ends said something else (PS3.7 D.3.3.4)."""
    proposed, granted = request.roles.get(uid), accept.roles.get(uid)
    if proposed is None or granted is None:
        return Role(scu=True, scp=False)
    return Role(proposed.scu and granted.scu, proposed.scp and granted.scp)


def _nonsense(what: str, section: str) -> PeerError:
    return PeerError(what, section=section, abort_reason=AbortReason.INVALID_PARAMETER_VALUE)
