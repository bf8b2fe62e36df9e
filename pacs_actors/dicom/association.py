"""Association handler: one peer's association with us as the acceptor, from its first byte to its last.

Receives DIMSE requests on a DicomLink and gives each to its service; one task, one request at a time. Errors of the peer end in an
A-ABORT, refusals in a response with their status, our own bugs in an A-ABORT and a log line; the siblings notice nothing.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import trio

from pacs_actors.dicom.access import Grant, Turned
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.dicom.link import Aborted, DicomLink, Incoming, Released
from pacs_actors.dicom.own_requests import OwnRequests
from pacs_actors.dicom.wire import PeerGone, PeerSilent, Wire
from pacs_actors.operations import logs
from protocols.dimse.commands import DATA_SET, NO_DATA_SET, RESPONSE, Command, encode_command
from protocols.errors import PacsError, PeerError
from protocols.messages.status import AssociationStatus
from protocols.ul.association import Event, Side, UpperLayer, abort_pdu
from protocols.ul.model import AssociateReject
from protocols.ul.negotiation import Context, Negotiated
from protocols.ul.pdata import MIN_PEER_PDU_BYTES
from protocols.ul.pdu import AssociateRequest, PduType, ReleaseReply, decode

Service = Callable[["Association", Incoming], Awaitable[None]]

UNRECOGNIZED_OPERATION = 0x0211
NOT_AUTHORIZED = 0x0124
_LINGER_S = 2.0
_DRAINING_IDLE_S = 1.0


class Association:
    """One connection from a peer.

    negotiated, calling_ae, called_ae, grant, user:  known once the association is established
    doing:                                           what it is at, for the status page
    """

    def __init__(
        self, wire: Wire, address: str, facilities: Facilities, services: Mapping[int, Service], place: int
    ) -> None:
        self.wire, self.address, self.facilities, self.services, self.place = (
            wire,
            address,
            facilities,
            services,
            place,
        )
        settings = facilities.settings.dicom
        self.upper_layer = UpperLayer(Side.ACCEPTOR)
        self.link = DicomLink(
            wire,
            self.upper_layer,
            max_pdu_bytes=settings.max_pdu_bytes,
            minimum_rate_bytes_s=settings.minimum_rate_bytes_s,
        )
        self.link.message_timeout_s = settings.network_timeout_s
        self.link.idle_timeout_s = settings.idle_timeout_s
        self.calling_ae = self.called_ae = self.user = ""
        self.negotiated: Negotiated
        self.grant: Grant
        self.doing = "connecting"
        self.began = trio.current_time()
        self.requests = self.stored = 0
        # Instances stored, by study, patient and SOP class, for the audit
        self.transfers: Counter[tuple[str, str, str]] = Counter()
        self.draining = False
        self._idle_scope: trio.CancelScope | None = None
        self._own = OwnRequests()
        self._life = trio.CancelScope()

    # -- life -----------------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Serve the peer until it is gone. Raises nothing but cancellation."""
        with self._life:
            await self._run()

    async def _run(self) -> None:
        linger_s = 0.0
        try:
            self.upper_layer.fire(Event.TRANSPORT_INDICATED)
            with trio.move_on_after(self.facilities.settings.dicom.artim_s) as artim:
                await self.wire.handshake()
                established = await self._establish()
            if artim.cancelled_caught:
                logs.event("association_timed_out", address=self.address)
                await self._abort(None)
                return
            if established:
                await self._serve_requests()
            linger_s = _LINGER_S
        except Released:
            self.upper_layer.fire(Event.RELEASE_RESPONSE)
            with contextlib.suppress(PacsError):
                await self.link.send_pdu(ReleaseReply())
            linger_s = _LINGER_S
            logs.debug("association_released", calling=self.calling_ae, address=self.address)
        except Aborted as abort:
            logs.event(
                "association_aborted", calling=self.calling_ae, address=self.address, reason=abort.reason
            )
        except PeerError as error:
            logs.warning("peer_error", calling=self.calling_ae, address=self.address, why=str(error))
            await self._abort(error)
            linger_s = _LINGER_S
        except (PeerGone, PeerSilent) as gone:
            logs.event("association_lost", calling=self.calling_ae, address=self.address, why=str(gone))
            if isinstance(gone, PeerSilent):
                await self._abort(gone)
        except PacsError as failure:
            logs.warning(
                "association_given_up", calling=self.calling_ae, address=self.address, why=str(failure)
            )
            await self._abort(None)
            linger_s = _LINGER_S
        except trio.Cancelled:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 0.5):
                await self._abort(None)
            raise
        except Exception as bug:
            logs.error("association_crashed", exception=bug, calling=self.calling_ae, address=self.address)
            await self._abort(None)
            linger_s = _LINGER_S
        finally:
            self._own.end()
            with trio.CancelScope(shield=True):
                await self.facilities.audit.transferred(self, self.transfers)
                await self.wire.close(linger_s=linger_s)

    async def _abort(self, error: PacsError | None) -> None:
        """Send the A-ABORT that the state asks for; the peer may be gone already."""
        with contextlib.suppress(Exception):
            at_fault = isinstance(error, PeerError)
            action = self.upper_layer.fire(Event.INVALID_PDU if at_fault else Event.ABORT_REQUEST)
            pdu = abort_pdu(action, error.abort_reason if isinstance(error, PeerError) else 0)
            if pdu is not None:
                self.wire.patience_s = 1.0
                await self.link.send_pdu(pdu)

    async def _establish(self) -> bool:
        """Take the A-ASSOCIATE-RQ and answer it; False if it was rejected."""
        self.wire.patience_s = self.facilities.settings.dicom.artim_s
        kind, body = await self.link.receive_control()
        # Who was evicted meanwhile has lost its place: it must not be counted in it below.
        await trio.lowlevel.checkpoint_if_cancelled()
        if kind != PduType.ASSOCIATE_REQUEST:
            action = self.upper_layer.received(kind)
            pdu = abort_pdu(action, 2)
            if pdu is not None:
                await self.link.send_pdu(pdu)
            return False
        request = decode(kind, body)
        assert isinstance(request, AssociateRequest)
        self.upper_layer.received(kind)
        self.calling_ae, self.called_ae = request.calling_ae, request.called_ae
        certificate_names = self.wire.peer_certificate_names()
        identified = await self.facilities.identify(request, self.address, certificate_names)
        answer = self.facilities.negotiate(request, self.address, certificate_names, identified)
        if isinstance(answer, Turned | AssociateReject):
            self.upper_layer.fire(Event.REJECT)
            why = answer.why if isinstance(answer, Turned) else "refused by negotiation"
            await self.facilities.audit.association_rejected(self, why)
            logs.event(
                "association_rejected",
                calling=self.calling_ae,
                called=self.called_ae,
                address=self.address,
                why=why,
            )
            await self.link.send_pdu(AssociateReject(answer.result, answer.source, answer.reason))
            return False
        accept, self.negotiated, self.grant = answer
        self.user = self.grant.user
        self.link.negotiated = self.negotiated
        self.link.peer_max_pdu_bytes = max(MIN_PEER_PDU_BYTES, self.negotiated.peer_max_pdu)
        self.upper_layer.fire(Event.ACCEPT)
        self.facilities.page.name(self.place, self.calling_ae)
        await self.link.send_pdu(accept)
        await self.facilities.audit.association_opened(self)
        logs.debug("association_opened", calling=self.calling_ae, called=self.called_ae, address=self.address)
        return True

    async def _serve_requests(self) -> None:
        while await self._pause():
            incoming = await self.link.receive_message()
            if await self.takes_response(incoming):
                continue
            self.requests += 1
            service = self.services.get(incoming.command.command_field)
            if service is not None:
                await service(self, incoming)
            else:
                await self._refuse_unknown(incoming)
        await self._abort(None)

    async def _pause(self) -> bool:
        """Until the peer's next message; requests of our own go out. False when we drain and it has been idle for a second.

        raises: PeerSilent
        """
        self.doing = "idle"
        if self.link.has_bytes() or (self._own.due and self.link.pending_message()):
            # Who sends request upon request without a pause must not keep the loop from the others.
            await trio.lowlevel.checkpoint()
            return True
        began = trio.current_time()
        while True:
            if self._own.due:
                own = self._own.next()
                await self.link.send_message(own.context_id, own.command, own.data_set)
                began = trio.current_time()
            patience_s = _DRAINING_IDLE_S if self.draining else self.link.idle_timeout_s
            with trio.CancelScope(deadline=began + patience_s) as self._idle_scope:
                await self.wire.until_readable()
            expired = trio.current_time() >= self._idle_scope.deadline
            if self._idle_scope.cancelled_caught and expired:
                if self.draining:
                    return False
                raise PeerSilent(f"idle for {patience_s:g} s")
            self._idle_scope = None
            if self.link.pending_message():
                return True

    async def _refuse_unknown(self, incoming: Incoming) -> None:
        command = incoming.command
        if command.has_data_set:
            await self.link.skip_data_set(incoming.context_id)
        if command.is_response or command.command_field == 0x0FFF:
            return  # a response, or a cancel of something that has ended
        await self.respond(incoming, UNRECOGNIZED_OPERATION, comment="operation not supported")

    async def ask(self, context_id: int, command: Command, data_set: bytes | None = None) -> Command:
        """Send a request of our own when the peer pauses; its response. The message ID is given here.

        raises: Unavailable if the association ends before the response
        """
        own = self._own.add(context_id, command, data_set)
        try:
            if self._idle_scope is not None:
                self._idle_scope.cancel()  # ends the wait, not the pause
            await own.answered.wait()
        finally:
            self._own.withdraw(own)
        return own.answer.unwrap()

    async def takes_response(self, incoming: Incoming) -> bool:
        """Whether a message is the response to a request of our own; then its data set, which says nothing, is read past."""
        if not self._own.take(incoming.command):
            return False
        if incoming.command.has_data_set:
            await self.link.skip_data_set(incoming.context_id)
        return True

    @property
    def established(self) -> bool:
        return self.upper_layer.established

    def evict(self) -> None:
        """Close a connection that has not asked for an association, to make room for one that may."""
        self._life.cancel()

    def drain(self) -> None:
        """End the association when the peer leaves it idle for a second."""
        self.draining = True
        if self._idle_scope is not None:
            self._idle_scope.deadline = trio.current_time() + _DRAINING_IDLE_S

    # -- what services use ------------------------------------------------------------------------------------------------------
    def context(self, incoming: Incoming) -> Context:
        return self.negotiated.contexts[incoming.context_id]

    async def respond(
        self, incoming: Incoming, status: int, *, comment: str | None = None, data_set: bytes | None = None
    ) -> None:
        """The response to a request, with the fields that every service shares."""
        request = incoming.command
        response = Command(
            command_field=request.command_field | RESPONSE,
            message_id_responded_to=request.message_id,
            affected_sop_class_uid=request.affected_sop_class_uid or request.requested_sop_class_uid,
            affected_sop_instance_uid=request.affected_sop_instance_uid or request.requested_sop_instance_uid,
            status=status,
            error_comment=comment[:64] if comment else None,
            data_set_type=DATA_SET if data_set is not None else NO_DATA_SET,
        )
        await self.link.send_message(incoming.context_id, encode_command(response), data_set)

    def status(self) -> AssociationStatus:
        return AssociationStatus(
            calling_ae=self.calling_ae,
            called_ae=self.called_ae,
            address=self.address,
            since_s=round(trio.current_time() - self.began, 1),
            requests=self.requests,
            stored=self.stored,
            received_bytes=self.wire.received_bytes,
            sent_bytes=self.wire.sent_bytes,
            doing=self.doing,
            place=self.place,
        )
