"""Recaller: opens objects for whoever serves them, and brings those back that are elsewhere, or lost here.

Not an actor with a mailbox: its callers wait where they are. One object is brought by one task at a time, however many want it;
a whole study follows as work for the tier movers as soon as one of its instances was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import trio

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.lifecycle.carrier import Carrier, NoGoodCopy
from pacs_actors.lifecycle.copies import Copies, Held
from pacs_actors.lifecycle.moves import ONLINE, RECALL_PRIORITY, Moves, Order
from pacs_actors.operations import logs
from protocols.errors import OutOfResources, Refusal, Unavailable

_MOST_ORDERED: Final = 4096


class BeingRecalled(Refusal):
    """What was asked for is on its way back from a slow store. DIMSE: A702H, unable to perform sub-operations."""

    def __init__(self, study_instance_uid: str, retry_after_s: int) -> None:
        super().__init__(
            "The study is being recalled from the archive; ask again in a while.",
            dimse_status=0xA702,
            http_status=503,
        )
        self.study_instance_uid, self.retry_after_s = study_instance_uid, retry_after_s


class Stored(Protocol):
    """An instance as it was located."""

    @property
    def sop_instance_uid(self) -> str: ...

    @property
    def study_instance_uid(self) -> str: ...

    @property
    def key(self) -> str: ...


class Recaller:
    """slow_stores: those that nobody waits for, such as tape: from them a study is ordered, and comes when it comes
    wait_s:      longest wait for one object
    """

    def __init__(
        self,
        store: LocalObjectStore,
        carrier: Carrier,
        copies: Copies,
        moves: Moves,
        *,
        slow_stores: Iterable[str],
        wait_s: float,
        at_once: int,
    ) -> None:
        self.store, self.carrier, self.copies, self.moves = store, carrier, copies, moves
        self._slow, self._wait_s = frozenset(slow_stores), wait_s
        self._turns = trio.CapacityLimiter(at_once)
        self._under_way: dict[str, trio.Event] = {}
        self._ordered: dict[str, float] = {}
        self.recalled = self.failed = 0

    async def open(self, instance: Stored) -> ObjectFile:
        """The object of an instance, wherever it is; the caller closes it.

        raises: ObjectMissing if there is none anywhere; BeingRecalled; Unavailable; OutOfResources; OSError
        """
        try:
            return self.store.open(instance.key)
        except ObjectMissing:
            if not self.carrier.stores:
                raise
        return self.store.open(await self._bring(instance))

    async def bring(self, instances: Sequence[Stored]) -> dict[str, str]:
        """Have them all online: SOP Instance UID -> key of those whose key is another one now. raises: as ``open``

        What cannot be had is left out, so that the others can be served.
        """
        if not self.carrier.stores:
            return {}
        elsewhere = [one for one in instances if not await self.store.exists(one.key)]
        brought: dict[str, str] = {}

        async def each() -> None:
            while elsewhere:
                one = elsewhere.pop()
                try:
                    brought[one.sop_instance_uid] = await self._bring(one)
                except (ObjectMissing, OSError) as missing:
                    logs.error("object_missing", key=one.key, uid=one.sop_instance_uid, why=str(missing))

        async with trio.open_nursery(strict_exception_groups=False) as nursery:
            for _ in range(min(len(elsewhere), int(self._turns.total_tokens))):
                nursery.start_soon(each)
        return brought

    async def _bring(self, instance: Stored) -> str:
        uid = instance.sop_instance_uid
        with trio.move_on_after(self._wait_s):
            while (under_way := self._under_way.get(uid)) is not None:
                await under_way.wait()
            self._under_way[uid] = done = trio.Event()
            try:
                async with self._turns:
                    return await self._bring_alone(instance)
            finally:
                del self._under_way[uid]
                done.set()
        raise Unavailable("the object could not be brought back in time")

    async def _bring_alone(self, instance: Stored) -> str:
        found = await self.copies.of_instances([instance.sop_instance_uid])
        if not found:
            raise ObjectMissing(instance.key)
        held = found[0]
        if held.online and held.key != instance.key and await self.store.exists(held.key):
            return held.key
        if held.copies and not (held.copies.keys() - self._slow):
            await self._order(instance.study_instance_uid)
            raise BeingRecalled(instance.study_instance_uid, int(self._wait_s))
        try:
            key = await self.carrier.bring_in(held)
        except NoGoodCopy as why:
            self.failed += 1
            logs.error("object_lost", uid=held.sop_instance_uid, key=held.key, why=why.why)
            raise ObjectMissing(held.key) from None
        except OutOfResources:
            self.failed += 1
            raise
        self.recalled += 1
        if held.online:
            logs.warning("object_healed", uid=held.sop_instance_uid, lost=held.key, by=key)
        else:
            await self._order_rest(held, instance.study_instance_uid)
        return key

    async def _order_rest(self, held: Held, study_instance_uid: str) -> None:
        """Whoever looks at one image of a study looks at the next. Not again for each of them."""
        now = time.monotonic()
        if self._ordered.get(study_instance_uid, -self._wait_s) > now - self._wait_s:
            return
        while len(self._ordered) >= _MOST_ORDERED:
            del self._ordered[next(iter(self._ordered))]
        self._ordered[study_instance_uid] = now
        try:
            await self._order(study_instance_uid)
        except Unavailable as away:
            logs.warning("recall_not_ordered", uid=held.sop_instance_uid, why=str(away))

    async def _order(self, study_instance_uid: str) -> None:
        order = Order(study_instance_uid, "", ONLINE, "retrieval", priority=RECALL_PRIORITY)
        await self.moves.order([order])
