"""Recovery reader: at a worker's start, finds what an earlier process stored and did not index.

Sends IndexInstance for it; receives nothing. It reads the batch folders from the slot's mark on, skips what the index knows,
checks each other object against its digest, and says when all is indexed. Images are accepted meanwhile; queries wait for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Final, TypeVar

import trio

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.objects.recovery import recover_batch
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Envelope, Mailbox
from pacs_actors.operations import logs
from protocols.dataset.record import IndexEntry, ScannedInstance
from protocols.dataset.scan import scan
from protocols.errors import Unavailable
from protocols.messages.archive import FlushIndex, IndexInstance, IndexMessage

T = TypeVar("T")

# Places in the index's mailbox that recovery may fill; it hands on half of them while the other half is indexed.
MOST_WAITING: Final = 1000

_RETRY_S = 0.2
_FLUSH_WITHIN_S = 3600.0


class RecoveryReader:
    """slots:  whose folders this worker reads: its own, and those of workers that this node no longer has
    whole:  read them from the beginning, not from the mark: to make the index again
    """

    def __init__(
        self,
        slots: Iterable[int],
        catalogue: Catalogue,
        store: LocalObjectStore,
        progress: IndexProgress,
        index: Mailbox[IndexMessage],
        *,
        first_own_batch: int,
        debt: int,
        custom: dict[int, str],
        whole: bool = False,
    ) -> None:
        self.slots, self.catalogue, self.store, self.progress, self.index = (
            tuple(slots),
            catalogue,
            store,
            progress,
            index,
        )
        self.first_own_batch, self.debt, self.custom, self.whole = first_own_batch, debt, custom, whole
        self.recovered = self.damaged = self.unreadable = 0
        self._flush: Envelope[IndexMessage] | None = None

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Reads once and returns; started again after a crash it begins anew."""
        task_status.started()
        began = trio.current_time()
        try:
            for slot in self.slots:
                await self._read_slot(slot)
            await self.index.ask(FlushIndex(), within_s=_FLUSH_WITHIN_S)
        except Unavailable as draining:
            logs.event("recovery_cut_short", why=str(draining))  # the next start goes on from the same mark
            return
        self.progress.unrecovered_from = None
        self.progress.page.count_indexed(self.debt)
        self.debt = 0
        self.progress.page.set_recovered()
        logs.event("recovery_done", instances=self.recovered, took_s=round(trio.current_time() - began, 2))

    async def _read_slot(self, slot: int) -> None:
        mark = 0 if self.whole else await self._patiently(self.catalogue.mark, slot)
        for batch in self.store.batches(slot, mark):
            if slot == self.store.slot and batch >= self.first_own_batch:
                break  # ours: the ingest writers hand these on themselves
            known = await self._patiently(self.catalogue.known_keys, slot, batch)
            found = await recover_batch(self.store, slot, batch, known, self._scan)
            self.damaged += len(found.damaged)
            self.unreadable += len(found.unreadable)
            await self._hand_on(found.entries)

    async def _hand_on(self, entries: Iterable[IndexEntry]) -> None:
        """No more than MOST_WAITING at a time: what is being stored meanwhile needs its places, too."""
        rest = iter(entries)
        while some := list(islice(rest, MOST_WAITING // 2 - 1)):
            for entry in some:
                self.recovered += 1
                await self.index.tell(IndexInstance(entry, recovered=True))
            before, self._flush = self._flush, await self.index.tell(FlushIndex())
            if before is not None:
                await before.answered.wait()

    def _scan(self, data_set: memoryview, transfer_syntax_uid: str, complete: bool) -> ScannedInstance:
        return scan(data_set, transfer_syntax_uid, custom=self.custom, complete=complete)

    async def _patiently(self, ask: Callable[..., Awaitable[T]], *arguments: int) -> T:
        """PostgreSQL may come later than we."""
        while True:
            try:
                return await ask(*arguments)
            except Unavailable:
                await trio.sleep(_RETRY_S)
