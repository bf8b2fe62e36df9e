"""C-MOVE and C-GET as SCU (PS3.4 C.4.2, C.4.3): one request, its progress, its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from pacs_actors.dicom.client_errors import status_words
from pacs_actors.dicom.client_exchange import Exchange, Reply
from pacs_actors.dicom.client_identifiers import Keys, decode_answer, encode_identifier
from pacs_actors.dicom.client_receiving import Arriving, Receiver
from pacs_actors.dicom.link import Incoming
from protocols.dimse.commands import DATA_SET, Command, CommandField, Priority
from protocols.dimse.status import SOP_CLASS_NOT_SUPPORTED, SUCCESS, StatusKind, kind_of
from protocols.errors import PeerError, Refusal

FAILED_SOP_INSTANCE_UID_LIST: Final = "FailedSOPInstanceUIDList"


class SubOperationCounts(Struct, frozen=True):
    """Numbers of C-STORE sub-operations (PS3.7 9.1.4.1). ``remaining``: None if the peer did not say."""

    remaining: int | None
    completed: int
    failed: int
    warning: int


Progress = Callable[[SubOperationCounts], object]


class RetrieveResult(Struct, frozen=True):
    """How a C-MOVE or C-GET ended.

    counts:       as the peer says
    failed_uids:  SOP Instance UIDs that it could not send, as far as it lists them
    words:        the status in words
    """

    status: int
    kind: StatusKind
    comment: str
    counts: SubOperationCounts
    failed_uids: tuple[str, ...]
    words: str


class Wanted(Struct, frozen=True):
    """What to retrieve. ``destination``: AE title for C-MOVE, None for C-GET."""

    sop_class_uid: str
    keys: Keys
    level: str
    destination: str | None = None


async def move(exchange: Exchange, wanted: Wanted, progress: Progress | None) -> RetrieveResult:
    """See ``Peer.move``."""
    async with exchange.turn():
        return await _retrieve(exchange, CommandField.C_MOVE_RQ, wanted, progress)


async def get(
    exchange: Exchange, wanted: Wanted, receiver: Receiver, limit_bytes: int, progress: Progress | None
) -> RetrieveResult:
    """See ``Peer.get``."""

    async def take(incoming: Incoming) -> None:
        await _take(exchange, incoming, receiver, limit_bytes)

    async with exchange.turn():
        exchange.handlers[CommandField.C_STORE_RQ] = take
        try:
            return await _retrieve(exchange, CommandField.C_GET_RQ, wanted, progress)
        finally:
            del exchange.handlers[CommandField.C_STORE_RQ]


async def _retrieve(
    exchange: Exchange, command_field: int, wanted: Wanted, progress: Progress | None
) -> RetrieveResult:
    context = exchange.context(wanted.sop_class_uid)
    identifier = encode_identifier(wanted.keys, context.transfer_syntax, level=wanted.level)
    command = Command(
        command_field=command_field,
        message_id=exchange.next_message_id(),
        affected_sop_class_uid=wanted.sop_class_uid,
        priority=Priority.MEDIUM,
        data_set_type=DATA_SET,
        move_destination=wanted.destination,
    )
    await exchange.ask(context, command, identifier)
    while True:
        reply = await exchange.reply()
        counts = _counts(reply)
        if progress is not None:
            progress(counts)
        if kind_of(reply.status) is not StatusKind.PENDING:
            return RetrieveResult(
                reply.status,
                kind_of(reply.status),
                reply.comment,
                counts,
                _failed_uids(reply, context.transfer_syntax),
                status_words(reply.status, command_field, reply.comment),
            )


def _counts(reply: Reply) -> SubOperationCounts:
    command = reply.command
    return SubOperationCounts(
        command.remaining, command.completed or 0, command.failed or 0, command.warning or 0
    )


def _failed_uids(reply: Reply, transfer_syntax_uid: str) -> tuple[str, ...]:
    if reply.data_set is None:
        return ()
    try:
        text = decode_answer(reply.data_set, transfer_syntax_uid).text(FAILED_SOP_INSTANCE_UID_LIST)
    except PeerError:
        return ()  # the retrieval itself is over, and its status stands
    return tuple(filter(None, text.split("\\")))


async def _take(exchange: Exchange, incoming: Incoming, receiver: Receiver, limit_bytes: int) -> None:
    """One C-STORE of the peer. Whether our role was agreed is not looked at: we asked for these images."""
    arriving = Arriving(exchange.link, incoming, exchange.negotiated, limit_bytes)
    comment = None
    if not incoming.command.has_data_set or not arriving.fits_context:
        status = SOP_CLASS_NOT_SUPPORTED
    else:
        try:
            await receiver.receive(arriving)
            status = SUCCESS
        except Refusal as refusal:
            status, comment = refusal.dimse_status, str(refusal)
    if incoming.command.has_data_set:
        await arriving.skip()
    await exchange.respond(incoming, status, comment=comment)
