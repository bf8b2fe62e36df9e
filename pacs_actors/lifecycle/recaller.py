"""Recaller: brings objects back that are elsewhere, or lost here, for whoever is about to serve them.

Its callers wait where they are. One object is brought by one task at a time, however many want it;
a whole study follows as work for the tier movers as soon as one of its instances was asked for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import trio
from msgspec import structs

from pacs_actors.archive.locating import LocatedInstance
from pacs_actors.archive.objects.keys import ObjectMissing, node_of_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.lifecycle.carrier import Carrier, NoGoodCopy, OnAnotherNode
from pacs_actors.lifecycle.copies import Copies, Held
from pacs_actors.lifecycle.moves import ONLINE, RECALL_PRIORITY, Moves, Order
from pacs_actors.mail import Ready
from pacs_actors.nodes import Nodes
from pacs_actors.operations import logs
from pacs_actors.operations.step_times import StepTimes
from protocols.errors import OutOfResources, PacsError, Unavailable

_MOST_ORDERED: Final = 4096
_MOST_NOTED: Final = 10_000
_NOTED_EVERY_S: Final = 20.0
_LOOK_AGAIN_S: Final = 0.25
_COMPARED_WITHIN_S: Final = 10.0


class BeingRecalled(Unavailable):
    """What was asked for is on its way back from a slow store."""

    def __init__(self, study_instance_uid: str) -> None:
        super().__init__("The study is being recalled from the archive; ask again in a while.")
        self.study_instance_uid = study_instance_uid
        self.retry_after_s = 30


S = TypeVar("S", bound=LocatedInstance)


class Recaller:
    """nodes:       tells whether the node that has an object may still hand a copy on
    replicates:  every object gets a copy in a store soon
    slow_stores: those that nobody waits for, such as tape: from them a study is ordered, and comes when it comes
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
        nodes: Nodes | None = None,
        replicates: bool = False,
    ) -> None:
        self.store, self.carrier, self.copies, self.moves = store, carrier, copies, moves
        self._slow, self._wait_s = frozenset(slow_stores), wait_s
        self._nodes, self._replicates = nodes, replicates
        self._turns = trio.CapacityLimiter(at_once)
        self._under_way: dict[str, trio.Event] = {}
        self._ordered: dict[str, float] = {}
        self._used: set[str] = set()
        self._behind: dict[int, float] = {}  # node -> until when nobody waits for its copies
        self.brought = self.fetched = self.failed = 0
        self.took = StepTimes()

    def used(self, study_instance_uid: str) -> None:
        """Somebody retrieves or views it: policies ask when that was. Never blocks."""
        if len(self._used) < _MOST_NOTED:
            self._used.add(study_instance_uid)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Write down now and then what was used."""
        task_status.started()
        while True:
            await trio.sleep(_NOTED_EVERY_S)
            used, self._used = self._used, set()
            if used:
                try:
                    await self.copies.accessed(sorted(used))
                except Unavailable:
                    self._used |= used

    async def recalled(self, instance: S) -> S:
        """An instance whose object is not where its key says, with the key of the object once it is back, or of a copy of it here.

        raises: ObjectMissing if there is none anywhere; BeingRecalled; OnAnotherNode; Unavailable; OutOfResources; OSError
        """
        foreign = self.carrier.is_foreign(instance.key)
        kept = await self.carrier.kept(instance.key) if foreign else None
        if kept is not None:
            return structs.replace(instance, key=kept)
        if not self.carrier.stores:
            if foreign:
                raise OnAnotherNode(instance.sop_instance_uid, node_of_key(instance.key))
            raise ObjectMissing(instance.key)
        began = time.monotonic()
        key = await self._bring(instance)
        self.took.note(began, time.monotonic())
        return structs.replace(instance, key=key)

    async def online(self, instances: Sequence[S]) -> list[S]:
        """Instances with their keys, after those that are elsewhere were brought back. raises: as ``recalled``

        What is nowhere keeps its key: who opens it is told.
        """
        found = list(instances)
        if not self.carrier.stores and not any(self.carrier.is_foreign(one.key) for one in found):
            return found
        left = deque[int]()
        for place, one in enumerate(found):
            if not await self.store.exists(one.key):
                left.append(place)
        failures: list[Exception] = []

        async def bring() -> None:
            while left and not failures:
                place = left.popleft()
                try:
                    found[place] = await self.recalled(found[place])
                except ObjectMissing as missing:
                    logs.error("object_missing", key=missing.key, uid=found[place].sop_instance_uid)
                except (PacsError, OSError) as failure:
                    failures.append(failure)

        async with trio.open_nursery() as nursery:
            for _ in range(min(len(left), int(self._turns.total_tokens))):
                nursery.start_soon(bring)
        if failures:
            raise failures[0]
        return found

    async def slow(self, instances: Sequence[LocatedInstance]) -> list[str]:
        """Studies of theirs that are in slow stores only; their recall is ordered. raises: Unavailable"""
        if not self._slow or not instances:
            return []
        studies = await self.copies.offline_studies([one.sop_instance_uid for one in instances])
        for study in studies:
            await self._order(study)
        return studies

    async def heal(self, sop_instance_uid: str) -> bool:
        """Give an instance whose object is lost or damaged a new one from a copy. False: there is no good one.

        raises: Unavailable
        """
        found = await self.copies.of_instances([sop_instance_uid])
        if not found or not found[0].copies or (found[0].online and self.carrier.is_foreign(found[0].key)):
            return False
        try:
            await self.carrier.bring_in(found[0])
        except (NoGoodCopy, ObjectMissing):
            return False
        return True

    async def _bring(self, instance: LocatedInstance) -> str:
        uid = instance.sop_instance_uid
        waited_for: int | None = None
        with trio.move_on_after(self._wait_s):
            while (under_way := self._under_way.get(uid)) is not None:
                await under_way.wait()
            self._under_way[uid] = done = trio.Event()
            try:
                while True:
                    try:
                        async with self._turns:
                            return await self._bring_alone(instance)
                    except OnAnotherNode as away:
                        if not await self._may_come(away.node):
                            raise
                        waited_for = away.node
                    await trio.sleep(_LOOK_AGAIN_S)
            finally:
                del self._under_way[uid]
                done.set()
        if waited_for is not None:  # nor for each of the other thousand images
            self._behind[waited_for] = time.monotonic() + self._wait_s
        raise Unavailable("the object could not be brought back in time")

    async def _may_come(self, node: int) -> bool:
        """Whether a node is about to put copies of its objects where we can have them. raises: Unavailable"""
        if self._behind.get(node, 0.0) > time.monotonic():
            return False
        return self._replicates and self._nodes is not None and await self._nodes.is_alive(node)

    async def is_safe(self, sop_instance_uid: str) -> bool:
        """Whether a store has a copy of an instance whose object is not here. raises: OnAnotherNode; Unavailable"""
        found = await self.copies.of_instances([sop_instance_uid])
        if not found or found[0].copies:
            return bool(found)
        if found[0].online and self.carrier.is_foreign(found[0].key):
            raise OnAnotherNode(sop_instance_uid, node_of_key(found[0].key))
        return False

    async def compared(self, sop_instance_uid: str) -> str | None:
        """The key of a copy here of an instance's object on another node, to compare with it; None: there is none to be had now."""
        with trio.move_on_after(_COMPARED_WITHIN_S):
            try:
                found = await self.copies.of_instances([sop_instance_uid])
                if found and found[0].online and self.carrier.is_foreign(found[0].key):
                    return await self.carrier.fetch(found[0])
            except (PacsError, OSError) as why:
                logs.debug("nothing_to_compare_with", uid=sop_instance_uid, why=str(why))
        return None

    async def _bring_alone(self, instance: LocatedInstance) -> str:
        found = await self.copies.of_instances([instance.sop_instance_uid])
        if not found:
            raise ObjectMissing(instance.key)
        held = found[0]
        if held.online and held.key != instance.key and await self.store.exists(held.key):
            return held.key
        if held.online and self.carrier.is_foreign(held.key):
            return await self._fetch(held)
        if held.copies and not (held.copies.keys() - self._slow):
            await self._order(instance.study_instance_uid)
            raise BeingRecalled(instance.study_instance_uid)
        try:
            key = await self.carrier.bring_in(held)
        except NoGoodCopy as why:
            self.failed += 1
            logs.error("object_lost", uid=held.sop_instance_uid, key=held.key, why=why.why)
            raise ObjectMissing(held.key) from None
        except OutOfResources:
            self.failed += 1
            raise
        self.brought += 1
        if held.online:
            logs.warning("object_healed", uid=held.sop_instance_uid, lost=held.key, by=key)
        else:
            await self._order_rest(held, instance.study_instance_uid)
        return key

    async def _fetch(self, held: Held) -> str:
        try:
            key = await self.carrier.fetch(held)
        except NoGoodCopy as why:
            logs.warning("copy_not_to_be_had", uid=held.sop_instance_uid, why=why.why)
            raise OnAnotherNode(held.sop_instance_uid, node_of_key(held.key)) from None
        self.fetched += 1
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
