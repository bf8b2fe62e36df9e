"""C-FIND as SCU (PS3.4 C.4.1): answers one by one, as the consumer takes them."""

from __future__ import annotations

from types import TracebackType

from pacs_actors.dicom.client_errors import RequestFailed
from pacs_actors.dicom.client_exchange import Exchange
from pacs_actors.dicom.client_identifiers import Answer, Keys, decode_answer, encode_identifier
from protocols.dimse.commands import DATA_SET, Command, CommandField, Priority
from protocols.dimse.status import StatusKind, kind_of
from protocols.errors import PacsError, PeerError
from protocols.ul.model import AbortReason
from protocols.ul.negotiation import Context


class Answers:
    """The answers to one query: iterate over it, best inside ``async with``.

    Whoever leaves before the end sends a C-CANCEL and drains what is under way: at the end of the ``async with``, else when the
    next request is made or the association released. The consumer sets the pace; nothing is read ahead.

    status:   of the final response, None before it
    comment:  the peer's
    """

    def __init__(self, exchange: Exchange, sop_class_uid: str, keys: Keys, level: str | None) -> None:
        self._exchange, self._sop_class_uid, self._keys, self._level = exchange, sop_class_uid, keys, level
        self._context: Context | None = None
        self.status: int | None = None
        self.comment = ""
        self._closed = False

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> Answer:
        """The next answer.

        raises: RequestFailed if the peer answers with a failure, ContextNotAccepted, ConfigError for keys that are none,
                and what ends associations
        """
        if self._closed:
            raise StopAsyncIteration
        try:
            async with self._exchange.turn(self):
                # Somebody else's turn may have closed us while we waited for ours.
                answer = None if self._closed else await self._next()
        except PacsError:
            self._end()
            raise
        if answer is None:
            self._end()
            raise StopAsyncIteration
        return answer

    async def _next(self) -> Answer | None:
        context = self._context or await self._begin()
        reply = await self._exchange.reply()
        if kind_of(reply.status) is StatusKind.PENDING:
            if reply.data_set is None:
                raise PeerError(
                    "a match without an identifier",
                    section="PS3.4 C.4.1.1.4",
                    abort_reason=AbortReason.UNEXPECTED_PDU,
                )
            return decode_answer(reply.data_set, context.transfer_syntax)
        self.status, self.comment = reply.status, reply.comment
        if kind_of(reply.status) is StatusKind.FAILURE:
            raise RequestFailed(CommandField.C_FIND_RQ, reply.status, reply.comment)
        return None

    async def _begin(self) -> Context:
        exchange = self._exchange
        context = exchange.context(self._sop_class_uid)
        identifier = encode_identifier(self._keys, context.transfer_syntax, level=self._level)
        command = Command(
            command_field=CommandField.C_FIND_RQ,
            message_id=exchange.next_message_id(),
            affected_sop_class_uid=self._sop_class_uid,
            priority=Priority.MEDIUM,
            data_set_type=DATA_SET,
        )
        self._context, exchange.unfinished = context, self
        await exchange.ask(context, command, identifier)
        return context

    def _end(self) -> None:
        self._closed = True
        if self._exchange.unfinished is self:
            self._exchange.unfinished = None

    async def aclose(self) -> None:
        """Have no more answers: C-CANCEL, and what is under way is drained within ``Timeouts.cancel``.

        A peer that does not end by then is left: the association is aborted.
        """
        if self._closed or self._context is None or self._exchange.is_over:
            self._end()
            return
        try:
            async with self._exchange.turn(self):
                await self.close_within_turn()
        except PacsError:
            self._end()

    async def close_within_turn(self) -> None:
        """As ``aclose``, for who has the turn already."""
        if not self._closed and self._exchange.is_owed:
            await self._exchange.cancel()
            while self._exchange.is_owed:
                reply = await self._exchange.reply()
            self.status, self.comment = reply.status, reply.comment
        self._end()

    async def __aenter__(self) -> Answers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
