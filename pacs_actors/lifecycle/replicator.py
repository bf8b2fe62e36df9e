"""Replicator: gives every instance a copy in the stores that get them all, as soon as it is indexed.

Receives nothing; finds what lacks a copy in the index, behind a cursor for each slot and store that survives a crash. Every copy
may be made twice. Each worker sees to its own slot, where the objects are. A patrol walks through everything now and then, for
copies that were lost since.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import trio

from pacs_actors.archive.progress import IndexProgress
from pacs_actors.lifecycle.carrier import Carrier
from pacs_actors.lifecycle.copies import Copies, Copy, Held
from pacs_actors.lifecycle.replicator_book import Lacking, Lag, ReplicatorBook
from pacs_actors.lifecycle.stores.errors import StoreDenied, StoreFull
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import PacsError, Unavailable

_MOST: Final = 64
_LOOK_EVERY_S: Final = 0.2
_LOOK_UNASKED_S: Final = 10.0
_COUNT_EVERY_S: Final = 2.0
_PATROL_EVERY_S: Final = 86_400.0
_PATROL_PAUSE_S: Final = 0.5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_FAILING_AGAIN_S: Final = 300.0
_MOST_FAILING: Final = 256
_MOST_STUDIES: Final = 1000
_NOTE_WITHIN_S: Final = 10.0


class Replicator:
    """slots: whose instances it sees to; stores: by name; at_once: copies at a time, to each store"""

    def __init__(
        self,
        carrier: Carrier,
        copies: Copies,
        book: ReplicatorBook,
        progress: IndexProgress,
        slots: Sequence[int],
        stores: Sequence[str],
        *,
        at_once: int,
    ) -> None:
        self.carrier, self.copies, self.book, self.progress = carrier, copies, book, progress
        self._targets = [_Target(self, name, tuple(slots), at_once) for name in stores]
        self.copied = self.failed = 0

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as nursery:
            for target in self._targets:
                nursery.start_soon(target.run)

    def indexed(self) -> int:
        """Changes whenever this worker has indexed something."""
        page = self.progress.page
        return page.indexed(page.slot or 0)

    def counters(self) -> dict[str, int]:
        """For the status: of the store that is behind most."""
        lags = [lag for target in self._targets for lag in target.lags.values()]
        now = datetime.now(UTC)
        ages = [(now - lag.oldest).total_seconds() for lag in lags if lag.oldest is not None]
        return {
            "replicated": self.copied,
            "replicas_failed": self.failed,
            "replication_waiting": max((sum(target.waiting.values()) for target in self._targets), default=0),
            "replication_oldest_s": max(0, int(max(ages, default=0.0))),
        }


class _Target:
    """One store. lags: by slot, as last counted"""

    def __init__(self, owner: Replicator, store: str, slots: tuple[int, ...], at_once: int) -> None:
        self._owner, self.store, self._slots, self._at_once = owner, store, slots, at_once
        self.lags: dict[int, Lag] = {}
        self._failing: dict[str, float] = {}  # SOP Instance UID -> when it is tried again
        self._studies: set[str] = set()
        self._counted_at = 0.0
        self._problem = ""

    @property
    def waiting(self) -> dict[int, int]:
        return {slot: lag.waiting for slot, lag in self.lags.items()}

    async def run(self) -> None:
        wait_s, pause_s = _FIRST_WAIT_S, 0.0
        while True:
            seen = self._owner.indexed()
            try:
                busy = [await self._round(slot) for slot in self._slots]
                await self._count(idle=not any(busy))
                pause_s = 0.0 if any(busy) else await self._patrol()
                wait_s, self._problem = _FIRST_WAIT_S, self._problem if self._failing else ""
            except (PacsError, OSError) as why:
                self._tell(str(why))
                with suppress(PacsError):
                    await self._count(idle=False)
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                continue
            if pause_s:
                await self._rest(seen, pause_s)

    async def _rest(self, seen: int, pause_s: float) -> None:
        """Until something was indexed, or for so long."""
        with trio.move_on_after(pause_s):
            while self._owner.indexed() == seen:
                await trio.sleep(_LOOK_EVERY_S)

    async def _round(self, slot: int, *, patrol: bool = False) -> bool:
        """Copy some of what lacks a copy; whether there may be more. raises: Unavailable; why the store takes none"""
        book = self._owner.book
        stretch = await book.stretch(slot, self.store, _MOST, self._passed_over(), patrol=patrol)
        if not await self._copy(stretch.lacking):
            return True  # what failed is passed over from now on
        await book.advance(slot, self.store, stretch, patrol=patrol)
        return bool(stretch.lacking) or not stretch.last

    async def _patrol(self) -> float:
        """A step of the walk through everything; how long to rest now."""
        busy = [await self._round(slot, patrol=True) for slot in self._slots]
        if any(busy):
            return _PATROL_PAUSE_S
        begun = [
            await self._owner.book.begin_patrol(slot, self.store, _PATROL_EVERY_S) for slot in self._slots
        ]
        return _PATROL_PAUSE_S if any(begun) else _LOOK_UNASKED_S

    async def _copy(self, lacking: Sequence[Lacking]) -> bool:
        """False: some could not be copied, for a reason of their own."""
        if not lacking:
            return True
        studies = {one.sop_instance_uid: one.study_instance_uid for one in lacking}
        left = deque(await self._owner.copies.of_instances(list(studies)))
        made: list[tuple[Held, Copy]] = []
        away: list[Exception] = []
        failed = self._owner.failed

        async def take() -> None:
            while left and not away:
                held = left.popleft()
                if self.store in held.copies:
                    continue
                try:
                    study = studies[held.sop_instance_uid]
                    made.append((held, await self._owner.carrier.copy_out(study, held, self.store, "plain")))
                except (Unavailable, StoreDenied, StoreFull) as why:
                    away.append(why)
                except (PacsError, OSError) as why:
                    self._fail(held, str(why))

        try:
            async with trio.open_nursery() as nursery:
                for _ in range(min(self._at_once, len(left))):
                    nursery.start_soon(take)
        finally:
            if made:  # what has arrived need not be carried again
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _NOTE_WITHIN_S):
                    await self._owner.copies.add(self.store, made)
                self._owner.copied += len(made)
                if len(self._studies) < _MOST_STUDIES:
                    self._studies |= {studies[held.sop_instance_uid] for held, _ in made}
        if away:
            raise away[0]
        return self._owner.failed == failed

    async def _count(self, *, idle: bool) -> None:
        """Write down how far behind we are; once we are not, which studies are complete there."""
        now = trio.current_time()
        if now - self._counted_at < _COUNT_EVERY_S and not (idle and any(self.waiting.values())):
            return
        self._counted_at = now
        for slot in self._slots:
            self.lags[slot] = await self._owner.book.note_lag(slot, self.store, self._problem)
        while idle and self._studies:
            study = next(iter(self._studies))
            await self._owner.copies.complete(study, self.store)
            self._studies.discard(study)

    def _passed_over(self) -> list[str]:
        now = time.monotonic()
        for uid in [uid for uid, again in self._failing.items() if again <= now]:
            del self._failing[uid]
        return list(self._failing)

    def _fail(self, held: Held, why: str) -> None:
        self._owner.failed += 1
        self._problem = why
        logs.error("replica_not_made", store=self.store, uid=held.sop_instance_uid, why=why)
        while len(self._failing) >= _MOST_FAILING:
            del self._failing[next(iter(self._failing))]
        self._failing[held.sop_instance_uid] = time.monotonic() + _FAILING_AGAIN_S

    def _tell(self, why: str) -> None:
        if why != self._problem:
            logs.warning("replication_waits", store=self.store, why=why)
        self._problem = why
