"""The client side of DICOM, for any Trio program: open an association, then echo, store, find, move, get, commit.

    async with associate("127.0.0.1", 11112, called="PACS", calling="ME", contexts=for_find()) as peer:
        async with peer.find({"PatientName": "SMI*", "StudyInstanceUID": ""}) as answers:
            async for answer in answers:
                print(answer["StudyInstanceUID"])

An association that timed out, was aborted or was interrupted is never used again.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final

import trio

from pacs_actors.archive.objects.buffers import BufferPool
from pacs_actors.archive.transcoder import CannotTranscode, Transcoder
from pacs_actors.dicom import client_commitment, client_retrieve
from pacs_actors.dicom.client_association import Timeouts, connection_problem, open_link
from pacs_actors.dicom.client_commitment import CommitmentResult, Reference, Reports
from pacs_actors.dicom.client_errors import (
    ASSOCIATION_ERRORS,
    AssociationAborted,
    AssociationOver,
    AssociationRejected,
    ContextNotAccepted,
    RequestFailed,
)
from pacs_actors.dicom.client_exchange import Exchange
from pacs_actors.dicom.client_files import DicomFile, FileUnreadable, NotDicom
from pacs_actors.dicom.client_find import Answers
from pacs_actors.dicom.client_identifiers import Answer, Keys
from pacs_actors.dicom.client_proposals import (
    COMMITMENT,
    FIND,
    GET,
    MOVE,
    VERIFICATION,
    Proposal,
    Root,
    for_find,
    for_get,
    for_move,
    for_storage,
)
from pacs_actors.dicom.client_receiving import Arriving, FolderReceiver, Receiver, make_folder
from pacs_actors.dicom.client_reports import ReportListener, listen_for_reports
from pacs_actors.dicom.client_retrieve import Progress, RetrieveResult, SubOperationCounts, Wanted
from pacs_actors.dicom.client_store import Storer, StoreResult
from pacs_actors.dicom.sender import ObjectDamaged, ObjectSender
from pacs_actors.dicom.wire import PeerGone, PeerSilent
from pacs_actors.threads import NativePool
from protocols.dimse.commands import Command, CommandField
from protocols.dimse.status import SUCCESS
from protocols.ul.negotiation import DEFAULT_PDU_BYTES, Negotiated
from protocols.ul.sop_classes import VERIFICATION as VERIFICATION_SOP_CLASS

__all__ = [
    "ASSOCIATION_ERRORS",
    "COMMITMENT",
    "VERIFICATION",
    "Answer",
    "Answers",
    "Arriving",
    "AssociationAborted",
    "AssociationOver",
    "AssociationRejected",
    "CannotTranscode",
    "CommitmentResult",
    "ContextNotAccepted",
    "DicomFile",
    "FileUnreadable",
    "NotDicom",
    "ObjectDamaged",
    "Peer",
    "PeerGone",
    "PeerSilent",
    "Progress",
    "Proposal",
    "Receiver",
    "Reference",
    "ReportListener",
    "RequestFailed",
    "RetrieveResult",
    "StoreResult",
    "SubOperationCounts",
    "Timeouts",
    "associate",
    "connection_problem",
    "for_find",
    "for_get",
    "for_move",
    "for_storage",
    "listen_for_reports",
]

MAX_OBJECT_BYTES: Final = 16 * 1024**3


class Peer:
    """An established association. One request at a time: tasks that share it take turns.

    negotiated:  what both ends agreed on
    """

    def __init__(self, exchange: Exchange, pool: NativePool, storer: Storer) -> None:
        self._exchange, self._pool, self._storer = exchange, pool, storer

    @property
    def negotiated(self) -> Negotiated:
        return self._exchange.negotiated

    @property
    def is_over(self) -> bool:
        """True when the association has ended, whoever ended it."""
        return self._exchange.is_over

    def accepts(self, sop_class_uid: str, transfer_syntax_uid: str | None = None) -> bool:
        """Whether a presentation context for this was accepted."""
        try:
            self._exchange.context(sop_class_uid, transfer_syntax_uid)
        except ContextNotAccepted:
            return False
        return True

    async def echo(self) -> float:
        """C-ECHO (PS3.4 annex A); seconds until the answer. Raises RequestFailed."""
        exchange = self._exchange
        async with exchange.turn():
            context = exchange.context(VERIFICATION_SOP_CLASS)
            began = trio.current_time()
            command = Command(
                command_field=CommandField.C_ECHO_RQ,
                message_id=exchange.next_message_id(),
                affected_sop_class_uid=VERIFICATION_SOP_CLASS,
            )
            await exchange.ask(context, command)
            reply = await exchange.reply()
            if reply.status != SUCCESS:
                raise RequestFailed(command.command_field, reply.status, reply.comment)
            return trio.current_time() - began

    async def store(self, source: Path | DicomFile | bytes) -> StoreResult:
        """C-STORE (PS3.4 annex B) of a file, or of the bytes of one. The data set goes as it is, unless a
        transcoder was given to ``associate``.

        returns: whatever the peer answers, failures included; 0111H, a duplicate, counts as a warning
        raises:  ContextNotAccepted, NotDicom, FileUnreadable, ObjectDamaged: the association lives on after the first three
        """
        return await self._storer.store(source)

    def find(self, keys: Keys, *, level: str | None = "STUDY", root: Root = "study") -> Answers:
        """C-FIND (PS3.4 C.4.1). Nothing is sent before the first answer is asked for.

        keys:   keyword (or tag) to value; an empty value matches everything, and is returned
        level:  PATIENT, STUDY, SERIES or IMAGE
        """
        return Answers(self._exchange, FIND[root], keys, level)

    async def move(
        self,
        keys: Keys,
        *,
        destination: str,
        level: str = "STUDY",
        root: Root = "study",
        progress: Progress | None = None,
    ) -> RetrieveResult:
        """C-MOVE (PS3.4 C.4.2): have the peer send instances to the AE ``destination``.

        progress:  called with every response's counters
        """
        return await client_retrieve.move(
            self._exchange, Wanted(MOVE[root], keys, level, destination), progress
        )

    async def get(
        self,
        keys: Keys,
        *,
        into: Path | Receiver,
        level: str = "STUDY",
        root: Root = "study",
        progress: Progress | None = None,
        max_object_bytes: int = MAX_OBJECT_BYTES,
    ) -> RetrieveResult:
        """C-GET (PS3.4 C.4.3): have the peer send instances to us, on this association.

        into:              a folder for Part 10 files, made if it is missing, or who takes them
        max_object_bytes:  a larger one ends the association
        """
        if isinstance(into, Path):
            await make_folder(into)
            into = FolderReceiver(into, self._pool)
        return await client_retrieve.get(
            self._exchange, Wanted(GET[root], keys, level), into, max_object_bytes, progress
        )

    async def commit(
        self, references: Sequence[Reference], *, reports: Reports | None = None, within_s: float = 60.0
    ) -> CommitmentResult:
        """Storage Commitment (PS3.4 annex J): ask for safekeeping, wait for the report.

        references:  1 to 4,000
        reports:     of a ``ReportListener``, for peers that report on an association of their own; without it, the report has to
                     come on this one
        raises:      RequestFailed, PeerSilent without a report in time
        """
        return await client_commitment.commit(self._exchange, references, reports or Reports(), within_s)

    async def cancel(self) -> None:
        """Ask the peer to end the C-FIND, C-MOVE or C-GET that another task is waiting for (C-CANCEL)."""
        await self._exchange.cancel()


@contextlib.asynccontextmanager
async def associate(
    host: str,
    port: int,
    *,
    called: str,
    calling: str,
    contexts: Iterable[Proposal],
    tls: ssl.SSLContext | None = None,
    max_pdu_bytes: int = DEFAULT_PDU_BYTES,
    timeouts: Timeouts | None = None,
    pool: NativePool | None = None,
    transcoder: Transcoder | None = None,
    certificate_name: str | None = None,
) -> AsyncIterator[Peer]:
    """An association with a peer, released at the end of the ``async with``, aborted when an exception leaves it.

    called, calling:  AE titles
    contexts:         what to propose, 1 to 128: ``VERIFICATION``, ``for_storage(…)``, ``for_find()``… or several of them
    max_pdu_bytes:    the most that we take, and send, in one PDU
    pool:             native threads for files, shared among associations; without it the association has one of its own
    transcoder:       converts uncompressed files that the peer does not take as they are; propose the alternatives
                      with ``for_storage(…, alternatives=True)``
    certificate_name: with TLS: a name that the peer's certificate must carry; None: its authority's word is enough
    raises:           ConfigError, PeerGone, PeerSilent, PeerError, AssociationRejected, AssociationAborted
    """
    limits = timeouts or Timeouts()
    async with contextlib.AsyncExitStack() as stack:
        if pool is None:
            pool = await stack.enter_async_context(NativePool(1, "dicom-client"))
        link = await open_link(
            host,
            port,
            called=called,
            calling=calling,
            contexts=tuple(contexts),
            tls=tls,
            max_pdu_bytes=max_pdu_bytes,
            timeouts=limits,
            certificate_name=certificate_name,
        )
        assert link.negotiated is not None
        exchange = Exchange(link, link.negotiated, limits)
        sender = await stack.enter_async_context(ObjectSender(link, pool, BufferPool(1)))
        try:
            yield Peer(exchange, pool, Storer(exchange, pool, sender, transcoder))
        except BaseException as error:
            await exchange.abandon(error)
            raise
        else:
            await exchange.finish()
