"""Auditor: writes the audit trail, in order, a batch at a time. And ``Audit``, through which everybody tells it.

Receives AuditEvent; owns the writing side of the table ``audit_events``, which is append-only. While PostgreSQL is away the
events wait in the mailbox; when that is full, those who act wait a little, and then the event goes to the log.
"""

from __future__ import annotations

from typing import Protocol

import trio

from pacs_actors.archive.ledger import Ledger
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Envelope, Mailbox
from pacs_actors.operations import logs
from protocols.errors import Unavailable
from protocols.messages.archive import AuditEvent

_LINGER_S = 0.1
_MOST = 500
_RETRY_S = 1.0
_WAIT_S = 2.0


class Party(Protocol):
    """Whoever acts: an association has these."""

    calling_ae: str
    called_ae: str
    address: str


class Audit:
    """Tells the auditor. Nothing here waits for the database."""

    def __init__(self, mailbox: Mailbox[AuditEvent]) -> None:
        self.mailbox = mailbox

    async def note(self, event: AuditEvent) -> None:
        """Hand an event to the auditor; what cannot be handed over is logged, so that it is not lost without a trace."""
        with trio.move_on_after(_WAIT_S):
            try:
                await self.mailbox.tell(event)
                return
            except Unavailable:
                pass
        logs.error(
            "audit_overflow",
            audit=event.event,
            outcome=event.outcome,
            by=event.who,
            uids=list(event.uids[:10]),
        )

    async def association_opened(self, party: Party) -> None:
        await self.note(
            AuditEvent(
                "association", "success", party.calling_ae, party.address, details={"called": party.called_ae}
            )
        )

    async def association_rejected(self, party: Party, why: str) -> None:
        details: dict[str, str | int] = {"called": party.called_ae, "why": why}
        await self.note(
            AuditEvent("association", "refused", party.calling_ae, party.address, details=details)
        )

    async def stored(self, party: Party, study_instance_uid: str, patient_id: str, instances: int) -> None:
        """Instances of one study that came over one association (PS3.15 A.5.3.4: DICOM Instances Transferred)."""
        await self.note(
            AuditEvent(
                "store",
                "success",
                party.calling_ae,
                party.address,
                patient_id,
                (study_instance_uid,),
                {"instances": instances},
            )
        )

    async def store_refused(self, party: Party, sop_instance_uid: str, why: str) -> None:
        await self.note(
            AuditEvent(
                "store",
                "refused",
                party.calling_ae,
                party.address,
                uids=(sop_instance_uid[:64],),
                details={"why": why[:200]},
            )
        )

    async def queried(
        self, party: Party, level: str, keys: dict[str, str | int], matches: int, outcome: str
    ) -> None:
        await self.note(
            AuditEvent(
                "query",
                outcome,
                party.calling_ae,
                party.address,
                details={"level": level, "matches": matches, **keys},
            )
        )

    async def retrieved(
        self,
        party: Party,
        how: str,
        uids: tuple[str, ...],
        counts: dict[str, str | int],
        outcome: str,
        patient_id: str = "",
    ) -> None:
        await self.note(AuditEvent(how, outcome, party.calling_ae, party.address, patient_id, uids, counts))


class Auditor:
    def __init__(self, ledger: Ledger, mailbox: Mailbox[AuditEvent]) -> None:
        self.ledger, self.mailbox = ledger, mailbox
        self._batch: list[AuditEvent] = []

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            if not self._batch:
                try:
                    self._add(await self.mailbox.receive())
                except trio.EndOfChannel:
                    return
                await trio.sleep(_LINGER_S)
            try:
                while len(self._batch) < _MOST:
                    self._add(self.mailbox.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                pass
            try:
                await self.ledger.append_audit(self._batch)
                self._batch = []
            except Unavailable:
                await trio.sleep(_RETRY_S)

    def _add(self, envelope: Envelope[AuditEvent]) -> None:
        self._batch.append(envelope.message)
