"""Commitment agent: checks what peers want committed, and reports to them, however long that takes.

Receives a wake-up when a request was written to the table ``commitment_requests``; finds the others there itself, so a restart
between request and report loses nothing. A report goes out on a new association to the AE that asked; when that cannot be
reached, on the association on which it asked, if that is still open; else later again.
"""

from __future__ import annotations

import os

import trio
from msgspec import Struct

from pacs_actors.archive.commitment_book import CommitmentBook, DueRequest
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.progress import wait_until_indexed
from pacs_actors.archive.scope import StudyScope
from pacs_actors.dicom.association import Association
from pacs_actors.dicom.client_association import Timeouts, abort, open_link, release
from pacs_actors.dicom.client_proposals import NETWORK_SYNTAXES, Proposal
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.dicom.link import DicomLink
from pacs_actors.dicom.tls import client_context
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.dimse.commands import DATA_SET, Command, CommandField, encode_command
from protocols.dimse.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_INSTANCE,
    CommitmentResult,
    Failure,
    Reference,
    encode_report,
)
from protocols.errors import PacsError, PeerError, Unavailable
from protocols.ul.model import Role
from protocols.ul.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE

_LOOK_EVERY_S = 5.0
_AT_ONCE = 8
_MOST_ATTEMPTS = 24
_FIRST_RETRY_S = 10.0
_LONGEST_RETRY_S = 3600.0
_REPORT_WITHIN_S = 20.0
_LEASE_SLACK_S = 5.0  # what a crashed server had taken is due again after it
_TIMEOUTS = Timeouts(connect=5.0, association=10.0, response=15.0)


class ReportRefused(PacsError):
    """The peer answered our N-EVENT-REPORT with a failure."""


class Asked(Struct, frozen=True):
    """An association on which a request came; it may still be open when the report is due."""

    association: Association
    context_id: int
    transfer_syntax_uid: str


class CommitmentAgent:
    """A worker's; the agents of several workers share the table's rows among them."""

    def __init__(self, facilities: Facilities, book: CommitmentBook) -> None:
        self.facilities, self.book = facilities, book
        self._news = trio.Event()
        self._asked: dict[int, Asked] = {}

    def look(self, request: int, asked: Asked) -> None:
        """A request was written just now; it came on this association."""
        self._asked[request] = asked
        self._news.set()

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            self._news = trio.Event()
            try:
                due = await self.book.take_due(
                    _AT_ONCE, list(self._asked), lease_s=_REPORT_WITHIN_S + _LEASE_SLACK_S
                )
            except Unavailable:
                due = []
            async with trio.open_nursery() as nursery:
                for request in due:
                    nursery.start_soon(self._serve, request)
            if not due:
                with trio.move_on_after(_LOOK_EVERY_S):
                    await self._news.wait()
            self._forget_closed()

    def _forget_closed(self) -> None:
        for request, asked in list(self._asked.items()):
            if not asked.association.established:
                del self._asked[request]

    async def _serve(self, request: DueRequest) -> None:
        try:
            result = request.result
            if result is None:
                result = await self.check(request.references, request.scope)
                await self.book.checked(request.number, result)
            with trio.move_on_after(_REPORT_WITHIN_S) as patience:
                await self._report(request, result)
            if patience.cancelled_caught:
                raise Unavailable("the report was not answered in time")
            await self.book.reported(request.number)
            self._asked.pop(request.number, None)
            logs.event(
                "commitment_reported",
                requester=request.requester,
                committed=len(result.committed),
                failed=len(result.failed),
            )
        except (PacsError, OSError) as failure:
            await self._put_off(request, failure)

    async def _put_off(self, request: DueRequest, failure: Exception) -> None:
        wait_s = min(_FIRST_RETRY_S * 2**request.attempts, _LONGEST_RETRY_S)
        given_up = request.attempts + 1 >= _MOST_ATTEMPTS
        logs.warning(
            "commitment_put_off",
            requester=request.requester,
            why=str(failure),
            wait_s=wait_s,
            given_up=given_up,
        )
        try:
            await self.book.put_off(request.number, wait_s, given_up=given_up)
        except Unavailable:
            pass  # its lease runs out, and it is due again

    # -- check ------------------------------------------------------------------------------------------------------------------
    async def check(
        self, references: tuple[Reference, ...], scope: StudyScope, source: str | None = None
    ) -> CommitmentResult:
        """What of it is durable here: in the index, under the class it was named with, and as an object of the right size
        or a copy in a store.

        What is outside of the scope is answered as if it were not there; but what came from this source. raises: Unavailable
        """
        facilities = self.facilities
        if not await wait_until_indexed(facilities.progress, within_s=facilities.settings.index.catch_up_s):
            raise Unavailable("the index has not caught up")
        found = await self.book.stored([one.sop_instance_uid for one in references], scope, source)
        committed: list[Reference] = []
        failed: list[Failure] = []
        for one in references:
            stored = found.get(one.sop_instance_uid)
            reason = None
            if stored is None:
                reason = NO_SUCH_INSTANCE
            elif stored.sop_class_uid != one.sop_class_uid:
                reason = CLASS_INSTANCE_CONFLICT
            elif not (
                await facilities.native.run(self._object_is_there, stored.key, stored.size_bytes)
                or await facilities.recaller.is_safe(one.sop_instance_uid)
            ):
                reason = NO_SUCH_INSTANCE
            if reason is None:
                committed.append(one)
            else:
                failed.append(Failure(one.sop_class_uid, one.sop_instance_uid, reason))
        return CommitmentResult(tuple(committed), tuple(failed))

    def _object_is_there(self, key: str, size_bytes: int) -> bool:
        try:
            file = self.facilities.store.open(key)
        except ObjectMissing:
            return False
        os.close(file.fd)
        return file.size_bytes == size_bytes

    # -- report -----------------------------------------------------------------------------------------------------------------
    async def _report(self, request: DueRequest, result: CommitmentResult) -> None:
        destination = self.facilities.access().destination(request.requester)
        asked = self._asked.get(request.number)
        problem: PacsError = Unavailable(f"{request.requester} has no known address")
        if destination is not None:
            try:
                link = await open_link(
                    destination.host,
                    destination.port,
                    called=destination.ae_title,
                    calling=self.facilities.settings.dicom.ae_title,
                    contexts=[
                        Proposal(STORAGE_COMMITMENT_PUSH_MODEL, NETWORK_SYNTAXES, Role(scu=False, scp=True))
                    ],
                    tls=client_context(self.facilities.settings.tls) if destination.tls else None,
                    max_pdu_bytes=self.facilities.settings.dicom.max_pdu_bytes,
                    timeouts=_TIMEOUTS,
                    certificate_name=destination.certificate_name,
                )
            except PacsError as failure:
                problem = failure
            else:
                await self._report_on_own(link, request, result)
                return
        if asked is None or not asked.association.established:
            raise problem
        data = await self._encoded(request, result, asked.transfer_syntax_uid)
        _check(request, await asked.association.ask(asked.context_id, _event_report(result), data))

    async def _report_on_own(self, link: DicomLink, request: DueRequest, result: CommitmentResult) -> None:
        error: BaseException | None = None
        try:
            assert link.negotiated is not None, "open_link gives an established link"
            context = next(iter(link.negotiated.contexts.values()), None)
            if context is None:
                raise ReportRefused(f"{request.requester} takes no storage commitment reports")
            await self._exchange(link, context.context_id, context.transfer_syntax, request, result)
            await release(link, within_s=5.0)
        except BaseException as failure:
            error = failure
            raise
        finally:
            if error is not None:
                await abort(link, error)

    async def _exchange(
        self,
        link: DicomLink,
        context_id: int,
        transfer_syntax_uid: str,
        request: DueRequest,
        result: CommitmentResult,
    ) -> None:
        """One N-EVENT-REPORT and its answer on an association of our own. raises: ReportRefused besides what the link raises"""
        data = await self._encoded(request, result, transfer_syntax_uid)
        await link.send_message(context_id, encode_command(_event_report(result)), data)
        answer = await link.receive_message()
        if answer.command.command_field != CommandField.N_EVENT_REPORT_RSP:
            raise PeerError("not the response to an N-EVENT-REPORT", section="PS3.7 10.1.1", abort_reason=2)
        if answer.command.has_data_set:
            await link.skip_data_set(answer.context_id)
        _check(request, answer.command)

    async def _encoded(
        self, request: DueRequest, result: CommitmentResult, transfer_syntax_uid: str
    ) -> bytes:
        """The event information (PS3.4 J.3.3.1.2)."""
        return await self.facilities.native.run(
            encode_report,
            request.transaction_uid,
            result,
            self.facilities.settings.dicom.ae_title,
            transfer_syntax_uid,
        )


def _event_report(result: CommitmentResult) -> Command:
    return Command(
        command_field=CommandField.N_EVENT_REPORT_RQ,
        message_id=1,
        affected_sop_class_uid=STORAGE_COMMITMENT_PUSH_MODEL,
        affected_sop_instance_uid=STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
        event_type_id=result.event_type,
        data_set_type=DATA_SET,
    )


def _check(request: DueRequest, answer: Command) -> None:
    """raises: ReportRefused"""
    if answer.status:
        raise ReportRefused(f"{request.requester} answered the report with {answer.status:04X}H")
