"""Auditor: writes the audit, in order, a batch at a time.

Receives AuditEvent; appends to ``Trail``. While PostgreSQL is away the events wait in the mailbox; when that is full, those
who act wait a little, and then the event goes to the log. A batch survives a crash of the actor, and of the worker: what is
not written yet is in the spool.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import outcome
import trio

from pacs_actors.audit.spool import Spool
from pacs_actors.audit.trail import Trail
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Envelope, Mailbox
from pacs_actors.operations import logs
from protocols.errors import Unavailable
from protocols.messages.audit import AuditEvent

_LINGER_S = 0.1
_MOST = 500
_RETRY_S = 1.0


class Auditor:
    """written: rows since the start"""

    def __init__(self, trail: Trail, mailbox: Mailbox[AuditEvent], spool: Spool | None = None) -> None:
        self.trail, self.mailbox, self.spool = trail, mailbox, spool
        self.written = 0
        self._batch: list[Envelope[AuditEvent]] = []
        self._trying = False  # still set when a crash ended the last life in the middle of a batch

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        if self._trying:
            await self._append_one_by_one()
        while True:
            if not self._batch:
                try:
                    self._batch.append(await self.mailbox.receive())
                except trio.EndOfChannel:
                    return
                await trio.sleep(_LINGER_S)
            try:
                while len(self._batch) < _MOST:
                    self._batch.append(self.mailbox.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                pass
            await self._append(self._batch)
            self._batch = []

    def unwritten(self) -> Iterator[AuditEvent]:
        """What is not surely written; empties the mailbox: for when there is no time left."""
        yield from [envelope.message for envelope in self._batch]
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                yield self.mailbox.receive_nowait().message

    async def _append_one_by_one(self) -> None:
        """A row that PostgreSQL does not take must not keep the others out: it goes to the log instead."""
        while self._batch:
            envelope = self._batch[0]
            try:
                await self._append([envelope])
            except Exception as refused:
                event = envelope.message
                logs.error(
                    "audit_row_refused", refused, audit=event.event, outcome=event.outcome, by=event.who
                )
                envelope.answered.set()
                self._trying = False
                await self._settle([envelope])
            del self._batch[0]

    async def _append(self, batch: list[Envelope[AuditEvent]]) -> None:
        """However long PostgreSQL is away."""
        self._trying = True
        while True:
            try:
                await self.trail.append([envelope.message for envelope in batch])
                break
            except Unavailable:
                await trio.sleep(_RETRY_S)
        self._trying = False
        self.written += len(batch)
        for envelope in batch:
            envelope.answer = outcome.Value(None)
            envelope.answered.set()
        await self._settle(batch)

    async def _settle(self, batch: list[Envelope[AuditEvent]]) -> None:
        if self.spool is not None:
            await self.spool.settle([envelope.message for envelope in batch])
