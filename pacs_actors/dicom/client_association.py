"""The requestor's end of an association: connect, propose, release, abort (PS3.8 7.1-7.3). No message is handled here.

Every wait has a deadline; whatever happens, a socket that was opened is closed.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.dicom.client_errors import AssociationAborted, AssociationRejected
from pacs_actors.dicom.client_proposals import Proposal
from pacs_actors.dicom.link import DicomLink
from pacs_actors.dicom.wire import PeerGone, connect
from protocols.errors import ConfigError, Misuse, PacsError, PeerError
from protocols.ul.association import Event, Side, State, UpperLayer, abort_pdu
from protocols.ul.model import AbortReason, AssociateAccept, AssociateReject, AssociateRequest
from protocols.ul.negotiation import interpret, is_ae_title, request
from protocols.ul.pdu import Abort, PduType, ReleaseReply, ReleaseRequest, decode

_ABORT_WITHIN_S: Final = 1.0
_LINGER_S: Final = 0.5
_SLOWEST_BYTES_S: Final = 256


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long to wait for a peer, seconds.

    connect:      for the TCP connection and the TLS handshake
    association:  for the answer to our A-ASSOCIATE-RQ
    message:      silence inside a message, and for the peer to take what we send
    response:     silence before a response, between pending responses, and between the images of a C-GET
    cancel:       for the final response after our C-CANCEL
    release:      for the answer to our A-RELEASE-RQ
    """

    connect: float = 10.0
    association: float = 30.0
    message: float = 30.0
    response: float = 120.0
    cancel: float = 10.0
    release: float = 5.0


async def open_link(
    host: str,
    port: int,
    *,
    called: str,
    calling: str,
    contexts: Sequence[Proposal],
    tls: ssl.SSLContext | None,
    max_pdu_bytes: int,
    timeouts: Timeouts,
    certificate_name: str | None = None,
) -> DicomLink:
    """Connect and negotiate; an established link.

    certificate_name:  with TLS: a name that the peer's certificate must carry; None: its authority's word is enough
    raises: ConfigError for an AE title that is none, PeerGone, PeerSilent, PeerError, AssociationRejected,
            AssociationAborted
    """
    for name, title in (("called", called), ("calling", calling)):
        if not is_ae_title(title):
            raise ConfigError(f"{name}: {title!r} is no AE title: 1 to 16 ASCII characters, no backslash")
    roles = {proposal.abstract_syntax: proposal.role for proposal in contexts if proposal.role is not None}
    ask = request(
        [(proposal.abstract_syntax, proposal.transfer_syntaxes) for proposal in contexts],
        calling_ae=calling,
        called_ae=called,
        max_pdu_bytes=max_pdu_bytes,
        roles=roles,
    )
    upper_layer = UpperLayer(Side.REQUESTOR)
    upper_layer.fire(Event.ASSOCIATE_REQUEST)
    wire = await connect(host, port, within_s=timeouts.connect, tls=tls)
    link = DicomLink(wire, upper_layer, max_pdu_bytes=max_pdu_bytes, minimum_rate_bytes_s=_SLOWEST_BYTES_S)
    link.message_timeout_s, link.idle_timeout_s = timeouts.message, timeouts.response
    try:
        upper_layer.fire(Event.TRANSPORT_CONFIRMED)
        if tls is not None and certificate_name not in (None, *wire.peer_certificate_names()):
            raise PeerGone(f"its certificate does not carry the name {certificate_name}")
        await _negotiate(link, ask, max_pdu_bytes, timeouts)
    except BaseException as error:
        await abort(link, error)
        raise
    return link


async def _negotiate(link: DicomLink, ask: AssociateRequest, max_pdu_bytes: int, timeouts: Timeouts) -> None:
    link.wire.patience_s = timeouts.association
    await link.send_pdu(ask)
    kind, body = await link.receive_control()
    link.upper_layer.received(kind)
    answer = decode(kind, body)
    match answer:
        case AssociateAccept():
            link.negotiated = interpret(ask, answer, max_pdu_bytes=max_pdu_bytes)
            link.peer_max_pdu_bytes = link.negotiated.peer_max_pdu
        case AssociateReject(result, source, reason):
            raise AssociationRejected(result, source, reason)
        case Abort(source, reason):
            raise AssociationAborted(source, reason)
        case _:
            raise PeerError(
                f"PDU type {kind:02X}H answers an A-ASSOCIATE-RQ",
                section="PS3.8 table 9-10",
                abort_reason=AbortReason.UNEXPECTED_PDU,
            )


async def release(link: DicomLink, *, within_s: float) -> None:
    """End the association in good order; close the connection, in order or not.

    A peer that is gone, silent or confused at this point has done all that was asked of it: nothing is raised.
    """
    try:
        with trio.move_on_after(within_s) as patience:
            link.upper_layer.fire(Event.RELEASE_REQUEST)
            link.wire.patience_s = within_s
            await link.send_pdu(ReleaseRequest())
            while link.upper_layer.state not in (State.IDLE, State.AWAITING_CLOSE):
                await _release_step(link)
    except PacsError as error:
        await abort(link, error)
        return
    except BaseException as error:
        await abort(link, error)
        raise
    if patience.cancelled_caught:
        await abort(link, None)
        return
    link.wire.close_now()


async def _release_step(link: DicomLink) -> None:
    """One PDU while we wait for the A-RELEASE-RP; both ends may have asked at once (PS3.8 9.2, Sta9 and Sta11)."""
    kind, _ = await link.receive_control()
    link.upper_layer.received(kind)
    if kind == PduType.RELEASE_REQUEST:
        link.upper_layer.fire(Event.RELEASE_RESPONSE)
        await link.send_pdu(ReleaseReply())


async def answer_release(link: DicomLink) -> None:
    """The peer asked for the release, which it may between messages: agree, and close."""
    with (
        contextlib.suppress(PacsError),
        trio.CancelScope(shield=True, deadline=trio.current_time() + _ABORT_WITHIN_S),
    ):
        link.upper_layer.fire(Event.RELEASE_RESPONSE)
        await link.send_pdu(ReleaseReply())
        await link.wire.close(linger_s=_LINGER_S)
    link.wire.close_now()


async def abort(link: DicomLink, error: BaseException | None) -> None:
    """Send the A-ABORT that state and error ask for, if the peer can still hear it, and close. Never raises."""
    with (
        trio.CancelScope(shield=True, deadline=trio.current_time() + _ABORT_WITHIN_S),
        contextlib.suppress(PacsError, Misuse),
    ):
        if not isinstance(error, PeerGone | AssociationAborted | AssociationRejected):
            await _send_abort(link, error)
    link.wire.close_now()


async def _send_abort(link: DicomLink, error: BaseException | None) -> None:
    event = Event.INVALID_PDU if isinstance(error, PeerError) else Event.ABORT_REQUEST
    pdu = abort_pdu(link.upper_layer.fire(event), error.abort_reason if isinstance(error, PeerError) else 0)
    if pdu is not None:
        link.wire.patience_s = _ABORT_WITHIN_S
        await link.send_pdu(pdu)
        await link.wire.close(linger_s=_LINGER_S)


def connection_problem(gone: PeerGone) -> str | None:
    """Why TCP or TLS did not come about, in the system's words; None if a connection was closed later."""
    cause: BaseException | None = gone.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or cause}"
    while cause is not None:
        inner = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__
        if inner is None:
            break
        cause = inner
    return cause.strerror if isinstance(cause, OSError) else None
