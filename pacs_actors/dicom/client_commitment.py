"""Storage Commitment as SCU (PS3.4 annex J): N-ACTION, then the N-EVENT-REPORT, on whichever association it comes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.dicom.client_errors import RequestFailed
from pacs_actors.dicom.client_exchange import Exchange
from pacs_actors.dicom.client_identifiers import Answer, decode_answer, encode_identifier
from pacs_actors.dicom.link import DicomLink, Incoming
from pacs_actors.dicom.wire import PeerSilent
from protocols.dimse.commands import DATA_SET, Command, CommandField
from protocols.dimse.status import (
    INVALID_ARGUMENT_VALUE,
    NO_SUCH_EVENT_TYPE,
    SUCCESS,
    StatusKind,
    kind_of,
)
from protocols.errors import Misuse, PacsError
from protocols.ul.sop_classes import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
)

MOST_REFERENCES: Final = 4000
"""Of one request, so that request and report stay below the limit that receivers set to identifiers."""
MOST_OPEN_TRANSACTIONS: Final = 256
_REQUEST_STORAGE_COMMITMENT: Final = 1
_EVENT_TYPES: Final = (1, 2)

FAILURE_REASONS: Final = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0213: "resource limitation",
    0x0122: "SOP class not supported",
    0x0119: "class and instance do not go together",
    0x0131: "duplicate transaction UID",
}
"""PS3.3 C.14.1.1."""


class Reference(Struct, frozen=True):
    """An instance whose safekeeping is asked for."""

    sop_class_uid: str
    sop_instance_uid: str


class CommitmentResult(Struct, frozen=True):
    """What the peer reports.

    committed:  SOP Instance UIDs that it answers for
    failed:     SOP Instance UID to Failure Reason (0008,1197)
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: Mapping[str, int]


class Reports:
    """Where the reports of open transactions arrive, from any association.

    listens:  True if peers may also bring them on associations of their own
    """

    def __init__(self, *, listens: bool = False) -> None:
        self.listens = listens
        self._expected: dict[str, tuple[trio.Event, list[CommitmentResult]]] = {}

    def expect(self, transaction_uid: str) -> None:
        """raises: Misuse beyond 256 open transactions"""
        if len(self._expected) >= MOST_OPEN_TRANSACTIONS:
            raise Misuse("too many open transactions")
        self._expected[transaction_uid] = trio.Event(), []

    def forget(self, transaction_uid: str) -> None:
        self._expected.pop(transaction_uid, None)

    def accept(self, answer: Answer) -> bool:
        """Take a report; False if nobody waits for it."""
        result = read_report(answer)
        expected = self._expected.get(result.transaction_uid)
        if expected is None:
            return False
        event, results = expected
        results.append(result)
        event.set()
        return True

    def is_here(self, transaction_uid: str) -> bool:
        return self._expected[transaction_uid][0].is_set()

    async def wait(self, transaction_uid: str) -> CommitmentResult:
        event, results = self._expected[transaction_uid]
        await event.wait()
        return results[0]


def read_report(answer: Answer) -> CommitmentResult:
    """The event information of an N-EVENT-REPORT (PS3.4 table J.3-2)."""
    committed = [_uid(item) for item in _items(answer, "ReferencedSOPSequence")]
    failed = {_uid(item): _reason(item) for item in _items(answer, "FailedSOPSequence")}
    return CommitmentResult(answer.text("TransactionUID"), tuple(committed), failed)


def _items(answer: Answer, keyword: str) -> Iterable[Mapping[str, object]]:
    value = answer.values.get(keyword, ())
    return () if isinstance(value, str) else value


def _uid(item: Mapping[str, object]) -> str:
    return str(item.get("ReferencedSOPInstanceUID", ""))


def _reason(item: Mapping[str, object]) -> int:
    text = str(item.get("FailureReason", ""))
    return int(text) if text.isdigit() else 0x0110


async def take_report(link: DicomLink, incoming: Incoming, transfer_syntax_uid: str, reports: Reports) -> int:
    """Read an N-EVENT-REPORT's data set and hand the report over; the status to answer.

    raises: PeerError if it cannot be read, and what ends associations
    """
    command = incoming.command
    if not command.has_data_set:
        return INVALID_ARGUMENT_VALUE
    raw = await link.receive_identifier(incoming.context_id)
    if command.event_type_id not in _EVENT_TYPES:
        return NO_SUCH_EVENT_TYPE
    return SUCCESS if reports.accept(decode_answer(raw, transfer_syntax_uid)) else INVALID_ARGUMENT_VALUE


async def commit(
    exchange: Exchange, references: Sequence[Reference], reports: Reports, within_s: float
) -> CommitmentResult:
    """Ask for safekeeping and wait for the report. See ``Peer.commit``."""
    if not 0 < len(references) <= MOST_REFERENCES:
        raise Misuse(f"{len(references)} references in one commitment request")
    transaction_uid = f"2.25.{uuid.uuid4().int}"

    async def take(incoming: Incoming) -> None:
        syntax = exchange.negotiated.contexts[incoming.context_id].transfer_syntax
        status = await take_report(exchange.link, incoming, syntax, reports)
        await exchange.respond(incoming, status)

    reports.expect(transaction_uid)
    exchange.handlers[CommandField.N_EVENT_REPORT_RQ] = take
    try:
        await _request(exchange, transaction_uid, references)
        with trio.move_on_after(within_s):
            return await _report(exchange, transaction_uid, reports)
        raise PeerSilent(f"no storage commitment report within {within_s:g} s")
    finally:
        del exchange.handlers[CommandField.N_EVENT_REPORT_RQ]
        reports.forget(transaction_uid)


async def _request(exchange: Exchange, transaction_uid: str, references: Sequence[Reference]) -> None:
    async with exchange.turn():
        context = exchange.context(STORAGE_COMMITMENT_PUSH_MODEL)
        action = encode_identifier(
            {
                "TransactionUID": transaction_uid,
                "ReferencedSOPSequence": [
                    {
                        "ReferencedSOPClassUID": reference.sop_class_uid,
                        "ReferencedSOPInstanceUID": reference.sop_instance_uid,
                    }
                    for reference in references
                ],
            },
            context.transfer_syntax,
        )
        command = Command(
            command_field=CommandField.N_ACTION_RQ,
            message_id=exchange.next_message_id(),
            requested_sop_class_uid=STORAGE_COMMITMENT_PUSH_MODEL,
            requested_sop_instance_uid=STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
            action_type_id=_REQUEST_STORAGE_COMMITMENT,
            data_set_type=DATA_SET,
        )
        await exchange.ask(context, command, action)
        reply = await exchange.reply()
        if kind_of(reply.status) is StatusKind.FAILURE:
            raise RequestFailed(command.command_field, reply.status, reply.comment)


async def _report(exchange: Exchange, transaction_uid: str, reports: Reports) -> CommitmentResult:
    """The report, from this association or from any that ``reports`` listens to."""
    ended: list[PacsError] = []

    async def read_here(scope: trio.CancelScope) -> None:
        try:
            while not reports.is_here(transaction_uid):
                async with exchange.turn():
                    await exchange.handle_next()
        except PacsError as error:
            ended.append(error)
            if not reports.listens:
                scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_here, nursery.cancel_scope)
        result = await reports.wait(transaction_uid)
        nursery.cancel_scope.cancel()
        return result
    raise ended[0]
