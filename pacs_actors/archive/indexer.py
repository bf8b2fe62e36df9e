"""Indexer: makes stored instances visible, a batch at a time.

Receives IndexInstance and FlushIndex; owns the worker's side of the index. While PostgreSQL is away it holds its batch and tries
again; its mailbox is the backlog. A batch survives a crash of the actor; after one its instances are tried one by one, and one
that crashes us again while others do not is set aside, so that it cannot keep them from being found.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

import msgspec
import outcome
import trio

from config.settings import IndexSettings
from pacs_actors.archive.batch import folder
from pacs_actors.archive.catalogue import Catalogue, Outcome, OutcomeKind
from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.objects.keys import ObjectMissing, node_of
from pacs_actors.archive.progress import IndexProgress, batch_of
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Envelope, Mailbox
from pacs_actors.operations import logs
from pacs_actors.operations.step_times import StepTimes
from protocols.errors import OutOfResources, Unavailable
from protocols.messages.archive import FlushIndex, IndexInstance, IndexMessage

_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.1, 2.0
_CRASHES_ALONE = 2  # the first may have been somebody else's fault


class Indexer:
    """compared: gives the key of a copy here of an instance's object on another node, to compare with it; None: there is none"""

    def __init__(
        self,
        settings: IndexSettings,
        catalogue: Catalogue,
        store: ObjectStore,
        progress: IndexProgress,
        mailbox: Mailbox[IndexMessage],
        compared: Callable[[str], Awaitable[str | None]] | None = None,
    ) -> None:
        self.settings, self.catalogue, self.store, self.progress, self.mailbox = (
            settings,
            catalogue,
            store,
            progress,
            mailbox,
        )
        self._compared = compared
        self._batch: list[IndexInstance] = []
        self._flushes: list[Envelope[IndexMessage]] = []
        self._settled: set[str] = set()
        self._unsettled: set[str] = set()
        self._crashes: Counter[str] = Counter()  # of instances tried alone
        self._indexed_before_crash: int | None = None
        self._trying = False  # still set when a crash ended the last life in the middle of a batch
        self.batches = self.instances = self.duplicates = self.conflicts = self.healed = 0
        self.took = StepTimes()

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        if self._trying:
            await self._index_one_by_one()
        while True:
            if not self._batch and not self._flushes:
                try:
                    self._add(await self.mailbox.receive())
                except trio.EndOfChannel:
                    return
            await self._linger()
            await self._index()

    def _add(self, envelope: Envelope[IndexMessage]) -> None:
        if isinstance(envelope.message, FlushIndex):
            self._flushes.append(envelope)
        else:
            self._batch.append(envelope.message)

    async def _linger(self) -> None:
        """Let the batch grow: a row in a batch of a hundred costs a tenth of a row alone."""
        if not self._flushes and not self.progress.hurry.is_set():
            with trio.move_on_after(self.settings.linger_ms / 1000):
                await self.progress.hurry.wait()
        self.progress.hurry = trio.Event()
        try:
            while len(self._batch) < self.settings.batch and not self._flushes:
                self._add(self.mailbox.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            pass

    async def _index(self) -> None:
        retry_s = _FIRST_RETRY_S
        while self._batch:
            entries = [order.entry for order in self._batch]
            self._trying = True
            began = monotonic()
            try:
                outcomes = await self.catalogue.index_batch(
                    entries, mark=(self.store.slot, self.progress.mark())
                )
                self.took.note(began, monotonic())
                for order, found in zip(self._batch, outcomes, strict=True):
                    key = order.entry.stored.key
                    if (
                        found.kind is not OutcomeKind.INDEXED or found.patient_mismatch
                    ) and key not in self._settled:
                        await self._settle_if_possible(order, found)
                        self._settled.add(key)
                break
            except Unavailable as away:
                logs.warning("index_waits", why=str(away), batch=len(entries), backlog=self.progress.backlog)
                await trio.sleep(retry_s)
                retry_s = min(retry_s * 2, _LONGEST_RETRY_S)
        self.batches += bool(self._batch)
        self.instances += len(self._batch)
        self._finish_batch()
        for envelope in self._flushes:
            envelope.answer = outcome.Value(None)
            envelope.answered.set()
        self._flushes = []

    def _finish_batch(self) -> None:
        done, self._batch = self._batch, []
        self._trying = False
        self._settled.clear()
        fresh = 0
        for order in done:
            key = order.entry.stored.key
            if not order.recovered:
                if key not in self._unsettled:  # otherwise the mark stays below its folder
                    self.progress.indexed(key)
                fresh += 1
            elif key in self._unsettled and key.startswith(f"{self.store.slot}/"):
                self.progress.stay_below(batch_of(key))
        self._unsettled.clear()
        self.progress.page.count_indexed(fresh)

    async def _index_one_by_one(self) -> None:
        """After a crash. What crashes us alone goes to the end; once another went well it is the one at fault."""
        if self._indexed_before_crash is None:
            self._indexed_before_crash = self.instances
        flushes, self._flushes = self._flushes, []
        suspects = deque(self._batch)
        while suspects:
            suspect = suspects.popleft()
            self._batch = [suspect]
            try:
                await self._index()
            except BaseException as crash:
                key = suspect.entry.stored.key
                self._crashes[key] += isinstance(crash, Exception)
                if self._crashes[key] < _CRASHES_ALONE or self.instances == self._indexed_before_crash:
                    self._batch, self._flushes = [*suspects, suspect], flushes
                    raise
                await self._set_aside(suspect, crash)
        self._flushes, self._indexed_before_crash = flushes, None

    async def _set_aside(self, order: IndexInstance, bug: BaseException) -> None:
        """Keep an instance that we cannot index, where the next start does not stumble over it again."""
        key = order.entry.stored.key
        logs.error("instance_unindexable", exception=bug, key=key, uid=order.entry.scanned.sop_instance_uid)
        try:
            await self.store.quarantine(key, "unindexable")
        except OutOfResources as read_only:
            logs.warning("instance_unsettled", key=key, why=str(read_only))
            self._unsettled.add(key)
        except ObjectMissing:
            pass  # put aside or dropped before
        self.conflicts += 1
        self._finish_batch()

    async def _settle_if_possible(self, order: IndexInstance, found: Outcome) -> None:
        """A store that is read-only lets nothing be put aside: the next start's recovery settles what is left."""
        try:
            await self._settle(order, found)
        except OutOfResources as read_only:
            logs.warning("instance_unsettled", key=order.entry.stored.key, why=str(read_only))
            self._unsettled.add(order.entry.stored.key)

    async def _settle(self, order: IndexInstance, found: Outcome) -> None:
        """An instance that is not simply new. The first copy is always kept; nothing is overwritten."""
        if found.patient_mismatch:
            await self.catalogue.audit_conflict(order.entry, found, order.address, what="patient_mismatch")
        match found.kind:
            case OutcomeKind.INDEXED | OutcomeKind.ALREADY:
                pass
            case OutcomeKind.DUPLICATE if found.first_key:
                await self._settle_copy(order, found, found.first_key)
            case _:
                await self._keep_aside(order, found)

    async def _settle_copy(self, order: IndexInstance, found: Outcome, first_key: str) -> None:
        """One with the digest that was answered for first. A first copy that is lost gives its place to it."""
        key = order.entry.stored.key
        while first_key != key:
            if not _on_one_node(first_key, key) and await self._settle_with_other_node(order, found):
                return
            if await self._readable(self.store.same, first_key, key):
                self.duplicates += 1
                await self.store.remove(key)
                return
            if await self._readable(self.store.verify, first_key) or not await self._readable(
                self.store.verify, key
            ):
                await self._keep_aside(order, msgspec.structs.replace(found, first_key=first_key))
                return
            holder = await self.catalogue.heal(order.entry, first_key, order.address)
            if holder is None:  # deleted since it was found: then this is a new one
                (again,) = await self.catalogue.index_batch([order.entry])
                await self._settle(order, again)
                return
            if holder == key:
                self.healed += 1
                logs.warning(
                    "object_healed", uid=order.entry.scanned.sop_instance_uid, lost=first_key, by=key
                )
                with suppress(ObjectMissing):  # what is left of it
                    await self.store.quarantine(first_key, "damaged")
            first_key = holder  # another worker's copy may have been quicker

    async def _settle_with_other_node(self, order: IndexInstance, found: Outcome) -> bool:
        """The first copy lies where we cannot look. False: nor has a store a copy of it, so ours takes its place, and its node
        compares the two as soon as ours is in a store.
        """
        key, uid = order.entry.stored.key, order.entry.scanned.sop_instance_uid
        other = await self._compared(uid) if self._compared is not None else None
        if other is None:
            return False
        if await self._readable(self.store.same, other, key):
            self.duplicates += 1
            await self.store.remove(key)
        else:
            await self._keep_aside(order, found)
        return True

    async def _keep_aside(self, order: IndexInstance, found: Outcome) -> None:
        entry, first_key = order.entry, found.first_key
        try:
            key = await self.store.quarantine(entry.stored.key, "conflict")
        except ObjectMissing:
            return  # handed on twice, and settled the first time
        self.conflicts += 1
        uid = entry.scanned.sop_instance_uid
        here = first_key is not None and _on_one_node(first_key, entry.stored.key)
        lost = here and first_key is not None and not await self._readable(self.store.exists, first_key)
        logs.warning("instance_conflict", uid=uid, first=first_key, second=entry.stored.key, first_lost=lost)
        await self.catalogue.quarantine(entry, key, found, order.address, first_lost=lost)

    async def _readable(self, ask: Callable[..., Awaitable[bool]], *keys: str) -> bool:
        """Of an object that is not there, or that the disk does not give, nothing is true."""
        try:
            return await ask(*keys)
        except ObjectMissing:
            return False
        except OSError as error:
            logs.error("object_unreadable", key=keys[0], why=str(error))
            return False


def _on_one_node(first_key: str, second_key: str) -> bool:
    return node_of(folder(first_key)[0]) == node_of(folder(second_key)[0])
