"""Backup keeper: has backups made when their time has come, and when somebody asked for one.

Receives nothing: who wants a backup writes a row into the table ``backups``. The work is a process of its own, which gives way to
others. One keeper of all nodes takes a row, by a lease; what a crash interrupted is noted as such when the lease has run out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import asyncpg
import trio

from config.backup import BackupSettings
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup import book
from pacs_actors.lifecycle.backup.manifest import Kind
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import Unavailable

_LOOK_EVERY_S: Final = 2.0
_FIRST_LEASE_S: Final = 60.0  # the process renews it

Work = Callable[[int, Kind], Awaitable[str]]
"""``work(number, kind)`` makes the backup of a row and notes there what came of it; why it failed, or nothing."""


class BackupKeeper:
    """made, failed: how many since the start"""

    def __init__(self, settings: BackupSettings, database: Database, work: Work) -> None:
        self.settings, self.database, self.work = settings, database, work
        self.made = self.failed = 0

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while self.settings.to is not None:
            try:
                await self._serve(self.settings.to)
            except (Unavailable, asyncpg.UndefinedTableError):
                pass  # the database is away, or has no tables yet: the next look is soon
            await trio.sleep(_LOOK_EVERY_S)

    async def _serve(self, place: str) -> None:
        days, hours = self.settings.full_every_days, self.settings.incremental_every_h
        await self.database.run(partial(book.ask_if_due, full_every_days=days, incremental_every_h=hours))
        due = await self.database.run(partial(book.take, place=place, lease_s=_FIRST_LEASE_S))
        if due is None:
            return
        number, kind = due
        began = trio.current_time()
        logs.event("backup_begins", number=number, kind=kind)
        why = await self.work(number, kind)
        if why:
            self.failed += 1
            logs.error("backup_failed", number=number, kind=kind, why=why)
            outcome = book.Outcome(problem=why)
            await self.database.run(partial(book.end_if_running, number=number, outcome=outcome))
            return
        self.made += 1
        logs.event("backup_done", number=number, kind=kind, took_s=round(trio.current_time() - began, 1))

    def counters(self) -> dict[str, int]:
        """For the status."""
        return {"backups_made": self.made, "backups_failed": self.failed}
