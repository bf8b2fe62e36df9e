"""Requests and their responses on an association that we opened: one at a time, each wait with a deadline.

Whatever interrupts a request between its first byte and its final response ends the association: what would come next on
it could not be told from what was expected. Peers may send requests of their own meanwhile; those go to a handler each.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import trio
from msgspec import Struct

from pacs_actors.dicom.client_association import Timeouts, abort, answer_release, release
from pacs_actors.dicom.client_errors import AssociationAborted, AssociationOver, ContextNotAccepted
from pacs_actors.dicom.link import Aborted, DicomLink, Incoming, Released
from pacs_actors.dicom.wire import PeerGone, PeerSilent
from pacs_actors.operations import logs
from protocols.dimse.commands import NO_DATA_SET, RESPONSE, Command, CommandField, encode_command
from protocols.dimse.commands import respond as response_to
from protocols.dimse.status import UNRECOGNIZED_OPERATION, StatusKind, kind_of
from protocols.errors import PacsError, PeerError
from protocols.ul.model import AbortReason
from protocols.ul.negotiation import Context, Negotiated

_CANCELLABLE: Final = (CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ, CommandField.C_GET_RQ)
_LAST_MESSAGE_ID: Final = 0xFFFF
_LAST_WORDS_WITHIN_S: Final = 0.5

Handler = Callable[[Incoming], Awaitable[None]]


class Reply(Struct, frozen=True):
    """A response, its data set read."""

    command: Command
    data_set: bytes | None

    @property
    def status(self) -> int:
        return self.command.status or 0

    @property
    def comment(self) -> str:
        return self.command.error_comment or ""


class Unfinished(Protocol):
    """A request whose responses are read one by one; ``close`` gives up on the rest."""

    async def close_within_turn(self) -> None: ...


class Exchange:
    """One established association of ours.

    handlers:  what the peer may ask us, by command field; anything else is answered 0211H
    unfinished: the request whose responses somebody may still be reading
    """

    def __init__(self, link: DicomLink, negotiated: Negotiated, timeouts: Timeouts) -> None:
        self.link, self.negotiated, self.timeouts = link, negotiated, timeouts
        self.handlers: dict[int, Handler] = {}
        self.unfinished: Unfinished | None = None
        self._over: str | None = None
        self._outstanding: tuple[Context, Command] | None = None
        self._cancel_deadline: float | None = None
        self._inside_message = False
        self._message_id = 0
        self._turn = trio.Lock()
        self._sending = trio.Lock()
        self._patience = trio.CancelScope()

    # -- contexts -------------------------------------------------------------------------------------------------
    def context(self, sop_class_uid: str, transfer_syntax_uid: str | None = None) -> Context:
        """An accepted presentation context. Raises ContextNotAccepted."""
        for context in self.negotiated.contexts.values():
            if context.abstract_syntax == sop_class_uid and transfer_syntax_uid in (
                None,
                context.transfer_syntax,
            ):
                return context
        raise ContextNotAccepted(sop_class_uid, transfer_syntax_uid)

    # -- turns ----------------------------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def turn(self, owner: Unfinished | None = None) -> AsyncIterator[None]:
        """Have the association to oneself. What somebody else left unfinished is cancelled and drained first.

        raises: AssociationOver if the association has ended; AssociationAborted, PeerGone, PeerSilent, PeerError,
                AssociationOver when it ends now
        """
        async with self._turn:
            self._check_alive()
            try:
                if self.unfinished is not None and self.unfinished is not owner:
                    await self.unfinished.close_within_turn()
                    self._check_alive()
                yield
            except BaseException as error:
                raise await self._judge(error) from error.__cause__

    async def _judge(self, error: BaseException) -> BaseException:
        """What the caller gets to hear; ends the association unless it is unharmed."""
        if self._over is not None:
            return error
        match error:
            case Released():
                self._over = "the peer released it"
                await answer_release(self.link)
                return AssociationOver(self._over)
            case Aborted(source=source, reason=reason):
                return await self._end(AssociationAborted(source, reason))
            case PeerGone():
                return await self._end(await self._last_words() or error)
            case PeerError() | PeerSilent():
                return await self._end(error)
            case _ if self._outstanding is not None or self._inside_message:
                return await self._end(error)
        return error

    async def _end(self, error: BaseException) -> BaseException:
        self._over = str(error) or type(error).__name__
        await abort(self.link, error)
        return error

    async def _last_words(self) -> AssociationAborted | None:
        """The A-ABORT that a peer sent before its connection broke under what we were sending."""
        with (
            contextlib.suppress(PacsError),
            trio.CancelScope(shield=True, deadline=trio.current_time() + _LAST_WORDS_WITHIN_S),
        ):
            try:
                while True:
                    incoming = await self.link.receive_message()
                    if incoming.command.has_data_set:
                        await self.link.skip_data_set(incoming.context_id)
            except Aborted as words:
                return AssociationAborted(words.source, words.reason)
        return None

    def _check_alive(self) -> None:
        if self._over is not None:
            raise AssociationOver(self._over)

    # -- requests and responses -----------------------------------------------------------------------------------
    def next_message_id(self) -> int:
        self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
        return self._message_id

    def begin(self, context: Context, command: Command) -> None:
        """From now on the final response to ``command`` is owed to us."""
        self._outstanding = context, command
        self._cancel_deadline = None

    async def ask(self, context: Context, command: Command, data_set: bytes | None = None) -> None:
        """Send a request. Its responses are read with ``reply``."""
        self.begin(context, command)
        await self._send(context.context_id, command, data_set)

    async def reply(self) -> Reply:
        """The next response to the request, pending or final; requests of the peer are handled meanwhile."""
        while True:
            incoming = await self._receive()
            if not incoming.command.is_response:
                await self._handle(incoming)
                continue
            self._check_response(incoming.command)
            data_set = None
            if incoming.command.has_data_set:
                data_set = await self.link.receive_identifier(incoming.context_id)
            if kind_of(incoming.command.status or 0) is not StatusKind.PENDING:
                self._outstanding = None
            return Reply(incoming.command, data_set)

    async def _receive(self) -> Incoming:
        now = trio.current_time()
        wait_s = self.timeouts.response
        if self._cancel_deadline is not None:
            wait_s = max(0.0, self._cancel_deadline - now)
        self.link.wire.acknowledge_at_once()
        with trio.CancelScope(deadline=now + wait_s) as self._patience:
            return await self.link.receive_message()
        raise PeerSilent(f"no response within {wait_s:g} s")

    def _check_response(self, response: Command) -> None:
        expected = self._outstanding[1] if self._outstanding is not None else None
        if (
            expected is None
            or response.command_field != expected.command_field | RESPONSE
            or response.message_id_responded_to != expected.message_id
        ):
            raise PeerError(
                f"response {response.command_field:04X}H to message {response.message_id_responded_to}, "
                "which was not asked",
                section="PS3.7 9.3",
                abort_reason=AbortReason.UNEXPECTED_PDU,
            )

    async def _handle(self, incoming: Incoming) -> None:
        command = incoming.command
        handler = self.handlers.get(command.command_field)
        if handler is not None:
            await handler(incoming)
            return
        if command.has_data_set:
            await self.link.skip_data_set(incoming.context_id)
        if command.command_field != CommandField.C_CANCEL_RQ:
            await self.respond(incoming, UNRECOGNIZED_OPERATION)

    async def handle_next(self) -> None:
        """Wait for a request of the peer, with no request of ours outstanding, and let its handler have it.

        Only the wait for its first byte can be cancelled: a message that has begun is taken and answered.
        """
        await self.link.wait_message()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self.timeouts.response) as patience:
            self._inside_message = True
            incoming = await self._receive()
            if incoming.command.is_response:
                self._check_response(incoming.command)
            await self._handle(incoming)
            self._inside_message = False
        if patience.cancelled_caught:
            raise PeerSilent(f"a message that did not end within {self.timeouts.response:g} s")

    async def respond(self, incoming: Incoming, status: int, *, comment: str | None = None) -> None:
        """Answer a request of the peer."""
        response = response_to(incoming.command, status, error_comment=comment[:64] if comment else None)
        await self._send(incoming.context_id, response, None)

    async def _send(self, context_id: int, command: Command, data_set: bytes | None) -> None:
        async with self._sending:
            await self.link.send_message(context_id, encode_command(command), data_set)

    # -- cancelling and ending ------------------------------------------------------------------------------------
    async def cancel(self) -> None:
        """Send a C-CANCEL for the request that is running, if it can be cancelled; its reader gets the final response.

        May be called from another task. Does nothing the second time, or when nothing is running.
        """
        if self._outstanding is None or self._cancel_deadline is not None or self._over is not None:
            return
        context, command = self._outstanding
        if command.command_field not in _CANCELLABLE:
            return
        self._cancel_deadline = trio.current_time() + self.timeouts.cancel
        self._patience.deadline = min(self._patience.deadline, self._cancel_deadline)
        cancel = Command(
            command_field=CommandField.C_CANCEL_RQ,
            message_id_responded_to=command.message_id,
            data_set_type=NO_DATA_SET,
        )
        await self._send(context.context_id, cancel, None)

    @property
    def is_owed(self) -> bool:
        """True while a final response is still to come."""
        return self._outstanding is not None

    @property
    def is_over(self) -> bool:
        return self._over is not None

    async def finish(self) -> None:
        """Release the association and close."""
        if self.unfinished is not None and self._over is None:
            with contextlib.suppress(PacsError):
                async with self.turn():
                    pass
        if self._over is None:
            self._over = "we released it"
            await release(self.link, within_s=self.timeouts.release)

    async def abandon(self, error: BaseException | None) -> None:
        """Abort the association and close, unless it has ended already."""
        if self._over is None:
            self._over = "we aborted it"
            logs.debug("client_association_aborted", why=type(error).__name__)
            await abort(self.link, error)
