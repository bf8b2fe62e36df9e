"""Report listener: takes the N-EVENT-REPORTs that a peer brings on an association of its own (PS3.4 J.3.3).

Receives connections, hands reports to ``Reports``. Open only while somebody waits for reports; serves nothing else but C-ECHO.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Final

import trio

from pacs_actors.dicom.client_association import Timeouts, abort, answer_release
from pacs_actors.dicom.client_commitment import Reports, take_report
from pacs_actors.dicom.link import DicomLink, Incoming, Released
from pacs_actors.dicom.wire import Wire
from pacs_actors.operations import logs
from protocols.dimse.commands import CommandField, encode_command, respond
from protocols.dimse.status import SUCCESS, UNRECOGNIZED_OPERATION
from protocols.errors import ConfigError, PacsError, PeerError
from protocols.ul.association import Event, Side, UpperLayer
from protocols.ul.model import AbortReason, AssociateReject, AssociateRequest
from protocols.ul.negotiation import DEFAULT_PDU_BYTES, Policy, Service, answer, interpret
from protocols.ul.pdu import decode
from protocols.ul.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, UNCOMPRESSED, VERIFICATION

_MOST_CONNECTIONS: Final = 16
_SERVICES: Final = {
    STORAGE_COMMITMENT_PUSH_MODEL: Service(UNCOMPRESSED, requestor_scp=True),
    VERIFICATION: Service(UNCOMPRESSED),
}


class ReportListener:
    """reports: give this to ``Peer.commit``. port: where it listens."""

    def __init__(self, sock: socket.socket, ae_title: str, timeouts: Timeouts) -> None:
        self.reports = Reports(listens=True)
        self.port: int = sock.getsockname()[1]
        self._sock, self._timeouts = sock, timeouts
        self._policy = Policy(ae_titles=frozenset({ae_title}), service=_SERVICES.get)
        self._places = trio.CapacityLimiter(_MOST_CONNECTIONS)

    async def run(self) -> None:
        """Accept until cancelled; at most 16 connections at once."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                try:
                    accepted, _ = self._sock.accept()
                except OSError:
                    await trio.lowlevel.checkpoint()
                    continue
                if self._places.borrowed_tokens + 1 > _MOST_CONNECTIONS:
                    accepted.close()
                    continue
                nursery.start_soon(self._serve, accepted)

    async def _serve(self, accepted: socket.socket) -> None:
        link = DicomLink(
            Wire(accepted, patience_s=self._timeouts.association),
            UpperLayer(Side.ACCEPTOR),
            max_pdu_bytes=DEFAULT_PDU_BYTES,
            minimum_rate_bytes_s=256,
        )
        link.message_timeout_s, link.idle_timeout_s = self._timeouts.message, self._timeouts.response
        async with self._places:
            try:
                await self._converse(link)
            except Released:
                await answer_release(link)
            except (PacsError, trio.Cancelled) as error:
                await abort(link, error)
                if isinstance(error, trio.Cancelled):
                    raise
                logs.debug("report_association_ended", why=str(error))
            finally:
                link.wire.close_now()

    async def _converse(self, link: DicomLink) -> None:
        if not await self._establish(link):
            return
        while True:
            incoming = await link.receive_message()
            await self._handle(link, incoming)

    async def _establish(self, link: DicomLink) -> bool:
        upper_layer = link.upper_layer
        upper_layer.fire(Event.TRANSPORT_INDICATED)
        kind, body = await link.receive_control()
        upper_layer.received(kind)
        asked = decode(kind, body)
        if not isinstance(asked, AssociateRequest):
            raise PeerError(
                f"PDU type {kind:02X}H opens a connection",
                section="PS3.8 table 9-10",
                abort_reason=AbortReason.UNEXPECTED_PDU,
            )
        verdict = answer(asked, self._policy)
        if isinstance(verdict, AssociateReject):
            upper_layer.fire(Event.REJECT)
            await link.send_pdu(verdict)
            await link.wire.close(linger_s=1.0)
            return False
        link.negotiated = interpret(asked, verdict, side=Side.ACCEPTOR)
        link.peer_max_pdu_bytes = link.negotiated.peer_max_pdu
        upper_layer.fire(Event.ACCEPT)
        await link.send_pdu(verdict)
        return True

    async def _handle(self, link: DicomLink, incoming: Incoming) -> None:
        command = incoming.command
        assert link.negotiated is not None
        if command.is_response or command.command_field == CommandField.C_CANCEL_RQ:
            raise PeerError(
                "a message that answers nothing",
                section="PS3.7 9.3",
                abort_reason=AbortReason.UNEXPECTED_PDU,
            )
        if command.command_field == CommandField.N_EVENT_REPORT_RQ:
            syntax = link.negotiated.contexts[incoming.context_id].transfer_syntax
            status = await take_report(link, incoming, syntax, self.reports)
        else:
            if command.has_data_set:
                await link.skip_data_set(incoming.context_id)
            known = command.command_field == CommandField.C_ECHO_RQ
            status = SUCCESS if known else UNRECOGNIZED_OPERATION
        await link.send_message(incoming.context_id, encode_command(respond(command, status)))


@contextlib.asynccontextmanager
async def listen_for_reports(
    *, ae_title: str, host: str = "127.0.0.1", port: int = 0, timeouts: Timeouts | None = None
) -> AsyncIterator[ReportListener]:
    """Listen while inside the ``async with``.

    ae_title:  our own, that peers call
    port:      0: any free one, ``ReportListener.port`` says which
    raises:    ConfigError if the address cannot be had
    """
    try:
        sock = socket.create_server((host, port), backlog=_MOST_CONNECTIONS)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    with sock:
        sock.setblocking(False)
        listener = ReportListener(sock, ae_title, timeouts or Timeouts())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            yield listener
            nursery.cancel_scope.cancel()
