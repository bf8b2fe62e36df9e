"""Reconciler: holds objects and index against each other when somebody asks for it.

Receives nothing; finds what was asked for in the table ``integrity_runs``, whose leases make it one worker of the archive. Sends
IndexInstance for what is to be indexed. A walk that a crash ended begins anew: what it fixed stays fixed.
"""

from __future__ import annotations

import secrets
from typing import Final

import trio

from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.database import Database
from pacs_actors.lifecycle.integrity_book import MOST_LISTED, IntegrityBook
from pacs_actors.lifecycle.integrity_damage import DamageKeeper, Healer
from pacs_actors.lifecycle.integrity_fixing import Fixer
from pacs_actors.lifecycle.integrity_lease import holding
from pacs_actors.lifecycle.integrity_reading import Condition
from pacs_actors.lifecycle.integrity_rows import IntegrityRows, Row
from pacs_actors.lifecycle.integrity_runs import IntegrityRuns, LeaseLost, Work
from pacs_actors.lifecycle.reconciling import Kind, Reconciliation, Trouble
from pacs_actors.lifecycle.scrubbing import Damage
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.operations import logs
from pacs_actors.threads import NativePool
from protocols.errors import Unavailable
from protocols.messages.archive import IndexMessage

_LOOK_EVERY_S: Final = 2.0
_THREADS: Final = 2
_OF_OBJECTS: Final = {Kind.LOST: Condition.LOST, Kind.UNREADABLE: Condition.UNREADABLE}


class Reconciler:
    """custom: tag -> VR of the attributes indexed besides the built-in ones; healer: as the scrubber's"""

    healer: Healer | None = None

    def __init__(
        self,
        store: LocalObjectStore,
        database: Database,
        progress: IndexProgress,
        index: Mailbox[IndexMessage],
        *,
        custom: dict[int, str],
    ) -> None:
        self.store, self.progress, self.index, self.custom = store, progress, index, custom
        self.book, self.runs = IntegrityBook(database, store.node), IntegrityRuns(database, store.node)
        self.working = False

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        lease = secrets.token_hex(8)
        while True:
            try:
                work = await self.runs.take("reconcile", lease)
                if work is not None:
                    await self._serve(work)
                    continue
            except Unavailable:
                pass  # the lease runs out, and whoever looks next begins anew
            except LeaseLost:
                logs.warning("reconcile_taken_over")
            await trio.sleep(_LOOK_EVERY_S)

    async def _serve(self, work: Work) -> None:
        """raises: Unavailable, LeaseLost"""
        logs.event("reconcile_begins", run=work.run, fix=work.fix)
        rows = IntegrityRows(self.book.database)
        keeper = DamageKeeper(self.store, self.book, self.healer)
        fixer = Fixer(self.store, rows, self.progress, self.index, custom=self.custom) if work.fix else None
        self.working, problem = True, ""
        try:
            async with NativePool(_THREADS, "reconcile") as pool:

                async def tell(trouble: Trouble) -> None:
                    work.objects, work.found, work.fixed = (
                        walk.objects,
                        walk.found.total(),
                        walk.fixed.total(),
                    )
                    if not trouble.fixed and work.found - work.fixed <= MOST_LISTED:
                        await self._note(keeper, trouble)

                walk = Reconciliation(self.store, rows, pool, fixer, tell, alone=False)
                await holding(self.runs, work, walk.run)
                work.objects, work.found, work.fixed = walk.objects, walk.found.total(), walk.fixed.total()
        except OSError as why:
            problem = f"a folder cannot be listed: {why.strerror or why}"
        finally:
            self.working = False
        while not problem and await self.book.settle_what_is_gone(work.run):
            await self.runs.renew(work)
        await self.runs.finish(work, problem)
        logs.event("reconcile_done", run=work.run, found=work.found, fixed=work.fixed, problem=problem)

    async def _note(self, keeper: DamageKeeper, trouble: Trouble) -> None:
        condition = _OF_OBJECTS.get(trouble.kind)
        if condition is None or not trouble.sop_instance_uid:
            await self.book.found(
                trouble.kind.value, trouble.subject, trouble.detail, "reconcile", trouble.sop_instance_uid
            )
            return
        row = Row(trouble.subject, trouble.sop_instance_uid, 0, b"")
        damage = Damage(condition, trouble.subject, trouble.sop_instance_uid, trouble.detail, row)
        await keeper.keep(damage, "reconcile", quarantine=False)
