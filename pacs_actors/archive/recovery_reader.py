"""Recovery reader: at a worker's start, finds what an earlier process stored and did not index.

Sends IndexInstance for it; receives nothing. It reads the batch folders from the slot's mark on, skips what the index knows,
checks each other object against its digest, and says when all is indexed. Images are accepted meanwhile; queries wait for it.

What the disk will not give is tried again, with growing waits, for as long as it takes. Queries go on without it, the slot's mark
stays below its folder, and the status says that recovery is incomplete.
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
_FIRST_AGAIN_S, _LONGEST_AGAIN_S = 1.0, 60.0


class RecoveryReader:
    """slots:  whose folders this worker reads: its own, and those of workers that this node no longer has
    whole:  read them from the beginning, not from the mark: to make the index again
    again:  how often to try again what could not be read; None: until it can be
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
        again: int | None = None,
    ) -> None:
        self.slots, self.catalogue, self.store, self.progress, self.index = (
            tuple(slots),
            catalogue,
            store,
            progress,
            index,
        )
        self.first_own_batch, self.debt, self.custom, self.whole = first_own_batch, debt, custom, whole
        self.again = again
        self.recovered = self.damaged = 0
        self._unread: dict[tuple[int, int], int] = {}  # slot and batch -> objects, likewise below
        self._unscannable: dict[tuple[int, int], int] = {}
        self._flush: Envelope[IndexMessage] | None = None

    @property
    def unreadable(self) -> int:
        """Objects left where they are: the disk does not give them, or they are beyond our scanner."""
        return sum(self._unread.values()) + sum(self._unscannable.values())

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Reads until all is read; started again after a crash it begins anew."""
        task_status.started()
        began = trio.current_time()
        self._unread.clear()
        self._unscannable.clear()
        try:
            for slot in self.slots:
                await self._read_slot(slot)
            await self._show_progress()
            self.progress.page.count_indexed(self.debt)
            self.debt = 0
            # Even if something could not be read: queries must not wait for a disk that may never give it.
            self.progress.page.set_recovered()
            await self._read_again()
        except Unavailable as draining:
            logs.event("recovery_cut_short", why=str(draining))  # the next start goes on from the same mark
            return
        if not self._unread:
            logs.event(
                "recovery_done", instances=self.recovered, took_s=round(trio.current_time() - began, 2)
            )

    async def _read_again(self) -> None:
        wait_s, left = _FIRST_AGAIN_S, self.again
        while self._unread and left != 0:
            logs.error("recovery_incomplete", objects=self.progress.unrecovered, again_in_s=wait_s)
            await trio.sleep(wait_s)
            wait_s, left = min(wait_s * 2, _LONGEST_AGAIN_S), None if left is None else left - 1
            for slot, batch in list(self._unread):
                await self._read_batch(slot, batch)
            await self._show_progress()

    async def _show_progress(self) -> None:
        """Once what was handed on is indexed: the mark may rise to the lowest folder of which something is missing."""
        await self.index.ask(FlushIndex(), within_s=_FLUSH_WITHIN_S)
        own = [batch for slot, batch in self._unread if slot == self.store.slot]
        self.progress.unrecovered_from = min(own, default=None)
        self.progress.unrecovered = sum(self._unread.values())

    async def _read_slot(self, slot: int) -> None:
        mark = 0 if self.whole else await self._patiently(self.catalogue.mark, slot)
        for batch in self.store.batches(slot, mark):
            if slot == self.store.slot and batch >= self.first_own_batch:
                break  # ours: the ingest writers hand these on themselves
            await self._read_batch(slot, batch)

    async def _read_batch(self, slot: int, batch: int) -> None:
        known = await self._patiently(self.catalogue.known_keys, slot, batch)
        place = slot, batch
        self._unscannable.pop(place, None)
        try:
            found = await recover_batch(self.store, slot, batch, known, self._scan)
        except OSError as why:
            logs.error("batch_unreadable", slot=slot, batch=batch, why=str(why))
            self._unread[place] = max(1, self._unread.get(place, 0))
            return
        self.damaged += len(found.damaged)
        if found.unscannable:
            self._unscannable[place] = len(found.unscannable)
        if found.unread:
            self._unread[place] = len(found.unread)
        else:
            self._unread.pop(place, None)
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
