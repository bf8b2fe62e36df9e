"""Spool replayer: writes what killed workers told the audit and could not write any more; returns when all of it is there.

Receives nothing. Starts when the database has our tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import trio

from pacs_actors.audit.audit import unrecorded
from pacs_actors.audit.spool import events_of
from pacs_actors.audit.trail import Trail
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import Unavailable
from protocols.messages.audit import AuditEvent

_BLOCK: Final = 500
_RETRY_S: Final = 1.0


class SpoolReplayer:
    """left: files, oldest first; each goes when it is in the database. replayed: rows so far"""

    def __init__(self, trail: Trail, left: Sequence[Path]) -> None:
        self.trail, self._left = trail, list(left)
        self.replayed = 0

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while self._left:
            path = self._left[0]
            try:
                await self._replay(path)
                await trio.to_thread.run_sync(path.unlink)
            except FileNotFoundError:
                pass
            except OSError as error:  # the disk does not give it: the next start tries again
                logs.error("audit_spool_unreadable", error, file=path.name)
            del self._left[0]

    async def _replay(self, path: Path) -> None:
        """raises: OSError"""
        events, before = events_of(path), self.replayed
        while block := await trio.to_thread.run_sync(_taken, events):
            try:
                await self._append(block)
            except Exception as refused:  # one row that PostgreSQL does not take must not keep the others out
                logs.error("audit_row_refused", refused, file=path.name)
                await self._one_by_one(block)
        logs.event("audit_replayed", file=path.name, rows=self.replayed - before)

    async def _one_by_one(self, block: Sequence[AuditEvent]) -> None:
        for event in block:
            try:
                await self._append([event])
            except Exception:  # said already
                unrecorded(event)

    async def _append(self, block: Sequence[AuditEvent]) -> None:
        """However long PostgreSQL is away."""
        while True:
            try:
                self.replayed += await self.trail.append_missing(block)
                return
            except Unavailable:
                await trio.sleep(_RETRY_S)


def _taken(events: Iterator[AuditEvent]) -> list[AuditEvent]:
    return list(islice(events, _BLOCK))
