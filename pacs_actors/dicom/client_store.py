"""C-STORE as SCU (PS3.4 annex B): files go out as they are, by way of ``ObjectSender``.

With a transcoder, an uncompressed file that the peer does not take as it is goes out in another uncompressed transfer syntax.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from msgspec import Struct

from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.dicom.client_errors import ContextNotAccepted, status_words
from pacs_actors.dicom.client_exchange import Exchange
from pacs_actors.dicom.client_files import DicomFile, identify, open_file, outgoing
from pacs_actors.dicom.sender import ObjectSender, Outgoing
from pacs_actors.threads import NativePool
from protocols.dimse.commands import DATA_SET, Command, CommandField, Priority
from protocols.dimse.status import DUPLICATE_SOP_INSTANCE, StatusKind, kind_of
from protocols.ul.negotiation import Context
from protocols.ul.sop_classes import UNCOMPRESSED


class StoreResult(Struct, frozen=True):
    """What the peer answered to one C-STORE.

    kind:        success, warning or failure; a duplicate (0111H) is a warning: the peer has the instance
    comment:     the peer's Error Comment, empty if it gave none
    size_bytes:  of the data set
    transfer_syntax_uid:  in which it was sent
    """

    sop_class_uid: str
    sop_instance_uid: str
    status: int
    kind: StatusKind
    comment: str
    size_bytes: int
    transfer_syntax_uid: str

    @property
    def words(self) -> str:
        return status_words(self.status, CommandField.C_STORE_RQ, self.comment)


def store_kind(status: int) -> StatusKind:
    return StatusKind.WARNING if status == DUPLICATE_SOP_INSTANCE else kind_of(status)


class Storer:
    """Sends objects on one association."""

    def __init__(
        self, exchange: Exchange, pool: NativePool, sender: ObjectSender, transcoder: Transcoder | None
    ) -> None:
        self._exchange, self._pool, self._sender, self._transcoder = exchange, pool, sender, transcoder

    async def store(self, source: Path | DicomFile | bytes) -> StoreResult:
        """See ``Peer.store``."""
        if isinstance(source, bytes):
            return await self._store_bytes(source)
        path = source if isinstance(source, Path) else source.path
        file, fd = await self._pool.run(open_file, path, abandon=_close)
        return await self._store_file(file, fd)

    async def _store_file(self, file: DicomFile, fd: int) -> StoreResult:
        exchange, sender = self._exchange, self._sender
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, fd)
            async with exchange.turn():
                context = self._context(file)
                if context.transfer_syntax == file.transfer_syntax_uid:
                    leaving = outgoing(file, fd)
                else:
                    leaving = await self._converted(file, fd, context.transfer_syntax)
                try:
                    if leaving.fd == fd:
                        stack.pop_all()  # the sender closes it
                    await sender.prepare(leaving, context.context_id)
                    command = self._command(file.sop_class_uid, file.sop_instance_uid)
                    exchange.begin(context, command)
                    await sender.send(context.context_id, command.message_id or 0)
                finally:
                    sender.drop()
                return await self._result(command, leaving.length, context)

    def _context(self, file: DicomFile) -> Context:
        """The file's own context; without it, one of the same SOP class that it may be converted for.

        raises: ContextNotAccepted
        """
        try:
            return self._exchange.context(*file.context)
        except ContextNotAccepted:
            if self._transcoder is not None and file.transfer_syntax_uid in UNCOMPRESSED:
                for syntax in UNCOMPRESSED:
                    with contextlib.suppress(ContextNotAccepted):
                        return self._exchange.context(file.sop_class_uid, syntax)
            raise

    async def _converted(self, file: DicomFile, fd: int, transfer_syntax_uid: str) -> Outgoing:
        """The data set in another uncompressed transfer syntax, in a file that has no name."""
        assert self._transcoder is not None
        made, length = await self._transcoder.convert(
            os.dup(fd),
            offset=file.data_offset,
            length=file.size_bytes - file.data_offset,
            source=file.transfer_syntax_uid,
            target=transfer_syntax_uid,
        )
        return Outgoing(made, 0, length, file.sop_class_uid, file.sop_instance_uid)

    async def _store_bytes(self, data: bytes) -> StoreResult:
        sop_class_uid, sop_instance_uid, syntax, offset = identify(data, "bytes to store")
        exchange = self._exchange
        async with exchange.turn():
            context = exchange.context(sop_class_uid, syntax)
            command = self._command(sop_class_uid, sop_instance_uid)
            await exchange.ask(context, command, data[offset:])
            return await self._result(command, len(data) - offset, context)

    def _command(self, sop_class_uid: str, sop_instance_uid: str) -> Command:
        return Command(
            command_field=CommandField.C_STORE_RQ,
            message_id=self._exchange.next_message_id(),
            affected_sop_class_uid=sop_class_uid,
            affected_sop_instance_uid=sop_instance_uid,
            priority=Priority.MEDIUM,
            data_set_type=DATA_SET,
        )

    async def _result(self, command: Command, size_bytes: int, context: Context) -> StoreResult:
        reply = await self._exchange.reply()
        return StoreResult(
            command.affected_sop_class_uid or "",
            command.affected_sop_instance_uid or "",
            reply.status,
            store_kind(reply.status),
            reply.comment,
            size_bytes,
            context.transfer_syntax,
        )


def _close(opened: tuple[DicomFile, int]) -> None:
    os.close(opened[1])
