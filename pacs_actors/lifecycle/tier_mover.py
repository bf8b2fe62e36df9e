"""Tier mover: does the work of ``tier_moves``, a study at a time: copies, proves, switches, removes.

Receives a wake-up when something was ordered; finds the rest in the table. The movers of all workers and nodes share the rows by
leases. Every step may be done twice, and a crash between two of them leaves each object where the index says it is, or there
and somewhere else too:

    copy     put into the store, compared with what the store has, noted in ``object_copies``
    switch   in one transaction: only what has a noted copy elsewhere is let go
    remove   what was let go; left over by a crash, it is removed when the move is tried again
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Literal

import trio

from pacs_actors.archive.objects.keys import node_of_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.lifecycle import node_forgetting
from pacs_actors.lifecycle.carrier import Carrier, NoGoodCopy, OnAnotherNode
from pacs_actors.lifecycle.copies import Availability, Copies, Copy, Held
from pacs_actors.lifecycle.copy_removals import CLAIMED_S
from pacs_actors.lifecycle.moves import ONLINE, REHOMING, Move, Moves
from pacs_actors.lifecycle.stores.errors import StoreError
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import PacsError, Unavailable

_LOOK_EVERY_S: Final = 2.0
_LEASE_S: Final = 60.0
_RENEW_S: Final = 15.0
_ATTEMPTS: Final = 10
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 3600.0
_PAGE: Final = 64
_SWEEP_AT_ONCE: Final = 200
_SWEEP_S: Final = CLAIMED_S / 2
_REST_S: Final = 60.0

Tier = Literal["nearline", "archive"]
AVAILABILITY: Final[Mapping[Tier, Availability]] = {"nearline": "NEARLINE", "archive": "OFFLINE"}


class LastCopy(PacsError):
    """What was to be removed is nowhere else."""

    def __init__(self, sop_instance_uid: str) -> None:
        super().__init__(sop_instance_uid)
        self.sop_instance_uid = sop_instance_uid

    def __str__(self) -> str:
        return f"{self.sop_instance_uid} has no other verified copy"


class Changed(Unavailable):
    """A study is not what it was when its move began: the move is to be tried again."""

    def __init__(self, study_instance_uid: str) -> None:
        super().__init__(f"{study_instance_uid} has changed meanwhile")


class _Cancelled(Exception):
    """Somebody has called the move off."""


class TierMover:
    """tiers: of each store, by name; at_once: objects on their way at a time"""

    def __init__(
        self,
        store: LocalObjectStore,
        carrier: Carrier,
        copies: Copies,
        moves: Moves,
        tiers: Mapping[str, Tier],
        *,
        at_once: int,
    ) -> None:
        self.store, self.carrier, self.copies, self.moves = store, carrier, copies, moves
        self.tiers, self.at_once = tiers, at_once
        self._news = trio.Event()
        self._resting: dict[str, float] = {}  # stores that do not remove now
        self.moved_objects = self.moved_bytes = self.failures = 0

    def look(self) -> None:
        """Something was ordered just now."""
        self._news.set()

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            self._news = trio.Event()
            try:
                removed = await self.remove_forgotten()  # each time: there may always be another move
                move = await self.moves.take(list(self.tiers), _LEASE_S, self.store.node)
                if move is not None:
                    await self.serve(move)
                if move is not None or removed:
                    continue
            except Unavailable as away:
                logs.debug("tier_mover_waits", why=str(away))
            with trio.move_on_after(_LOOK_EVERY_S):
                await self._news.wait()

    async def serve(self, move: Move) -> None:
        """Do it, as far as it can be done now. raises: Unavailable if the database is away; then the lease runs out"""
        moving = _Moving(self, move)
        try:
            await moving.run()
            await moving.tell()
        except _Cancelled:
            logs.event("tier_move_cancelled", move=move.id)
        except OnAnotherNode as elsewhere:
            logs.event("tier_move_handed_over", move=move.id, node=elsewhere.node)
            await self.moves.hand_over(move, elsewhere.node, f"goes on on node {elsewhere.node}")
        except (PacsError, OSError) as failure:
            if isinstance(failure, NoGoodCopy | LastCopy) and not await self.copies.of_instances(
                [failure.sop_instance_uid]
            ):
                failure = Changed(move.study_instance_uid)  # it was deleted meanwhile
            self.failures += 1
            why = str(failure)
            if isinstance(failure, NoGoodCopy | LastCopy) or move.attempts >= _ATTEMPTS:
                logs.error("tier_move_failed", move=move.id, why=why)
                await self.moves.end(move, "failed", why)
            else:
                wait_s = min(_FIRST_WAIT_S * 2 ** (move.attempts - 1), _LONGEST_WAIT_S)
                logs.warning("tier_move_put_off", move=move.id, wait_s=wait_s, why=why)
                await self.moves.put_off(move, wait_s, why)
        else:
            await self.moves.end(move, "done")

    async def remove_forgotten(self) -> int:
        """Remove some of the copies that nothing refers to any more; how many."""
        done = 0
        for name in self.tiers:
            if self._resting.get(name, 0.0) > trio.current_time():
                continue
            keys = await self.copies.removals.claim(name, _SWEEP_AT_ONCE)
            if not keys:
                continue
            with trio.move_on_after(_SWEEP_S) as waited:
                try:
                    await self.carrier.stores[name].remove(*keys)
                    await self.copies.removals.removed(name, keys)
                    done += len(keys)
                    continue
                except StoreError as failure:
                    logs.warning("copies_not_removed", store=name, why=str(failure))
            if waited.cancelled_caught:
                logs.warning("copies_not_removed", store=name, why="it takes too long")
            self._resting[name] = trio.current_time() + _REST_S
        return done


class _Moving:
    """One move on its way."""

    def __init__(self, mover: TierMover, move: Move) -> None:
        self.mover, self.move = mover, move
        self.store, self.carrier, self.copies = mover.store, mover.carrier, mover.copies
        self._left: OnAnotherNode | None = None
        self._fresh: set[str] = set()  # SOP Instance UIDs of copies that we have just made, and proven
        self.done = self.done_bytes = 0
        self.of = (move.instances, move.size_bytes)

    async def run(self) -> None:
        """raises: _Cancelled; PacsError, OSError if it cannot be done now"""
        self.of = await self.copies.sizes(self.move.study_instance_uid)
        await self.tell()
        failures: list[Exception] = []  # raised outside: a nursery would wrap them in a group
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep, nursery.cancel_scope, failures)
            try:
                await self._work()
            except Exception as failure:
                failures.append(failure)
            nursery.cancel_scope.cancel()
        if failures:
            raise failures[0]

    async def _keep(self, work: trio.CancelScope, failures: list[Exception]) -> None:
        """The lease, however long one object takes."""
        try:
            while True:
                await trio.sleep(_RENEW_S)
                await self.tell()
        except (PacsError, _Cancelled) as lost:
            failures.append(lost)
            work.cancel()

    async def _work(self) -> None:
        to, source = self.move.to_store, self.move.from_store
        if to == ONLINE:
            await self._each(self._bring_in)
            if self.move.why == REHOMING:
                rehomed = partial(node_forgetting.rehomed, study_instance_uid=self.move.study_instance_uid)
                await self.copies.database.run(rehomed)
        elif to:
            async for page in self._pages():
                await self._copy_out(page, to)
            if self._left is not None:  # all that could be done here is done
                raise self._left
            await self.copies.complete(self.move.study_instance_uid, to)
            await self._settle()
        if source:  # the second half counts anew
            self.done = self.done_bytes = 0
        if source == ONLINE:
            async for page in self._pages():
                await self._release(page)
            await self.copies.released(self.move.study_instance_uid)
        elif source:
            await self.copies.incomplete(self.move.study_instance_uid, source)
            async for page in self._pages():
                await self._drop(page, source)
            await self._settle()

    async def _settle(self) -> None:
        quick = [name for name, tier in self.mover.tiers.items() if tier == "nearline"]
        await self.copies.settle_study(self.move.study_instance_uid, quick)

    async def _bring_in(self, held: Held) -> None:
        if not held.online or not (self.carrier.is_foreign(held.key) or await self.store.exists(held.key)):
            await self.carrier.bring_in(held)
            self.mover.moved_objects += 1
            self.mover.moved_bytes += held.size_bytes

    async def _copy_out(self, page: Sequence[Held], to: str) -> None:
        made: list[tuple[Held, Copy]] = []

        async def copy(held: Held) -> None:
            if to not in held.copies:
                try:
                    copied = await self.carrier.copy_out(
                        self.move.study_instance_uid, held, to, self.move.form
                    )
                except OnAnotherNode as elsewhere:
                    self._left = elsewhere
                    return
                made.append((held, copied))
                self._fresh.add(held.sop_instance_uid)
            self._count(held)

        try:
            await self._at_once(page, copy)
        finally:
            if made:  # what has arrived need not be carried again
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _RENEW_S):
                    await self.copies.add(to, made)
        self.mover.moved_objects += len(made)
        self.mover.moved_bytes += sum(held.size_bytes for held, _ in made)

    async def _release(self, page: Sequence[Held]) -> None:
        """Let objects go from the online store where a copy is proven to be good now; those that a crash left behind, too."""
        leaving: dict[Availability, list[Held]] = {}

        async def prove(held: Held) -> None:
            if held.online:
                leaving.setdefault(await self._proven(held), []).append(held)
            self._count(held)

        await self._at_once(page, prove)
        stores, released = list(self.carrier.stores), list[str]()
        for availability, some in leaving.items():
            released += await self.copies.take_offline(some, availability, stores, self.store.node)
        left = (held.key for held in page if not held.online and not self.carrier.is_foreign(held.key))
        await self.store.remove(*released, *left)

    async def _proven(self, held: Held) -> Availability:
        """What an instance is once only its quickest good copy is left. raises: LastCopy; Changed"""
        for name in self._elsewhere(held, ONLINE):
            if (
                name == self.move.to_store and held.sop_instance_uid in self._fresh
            ) or await self.carrier.is_good(held, name):
                return AVAILABILITY[self.mover.tiers[name]]
        if self.move.to_store:  # it came, or its copy was lost, since the others were copied
            raise Changed(self.move.study_instance_uid)
        raise LastCopy(held.sop_instance_uid)

    async def _drop(self, page: Sequence[Held], store: str) -> None:
        """Let copies go from a store, where another is proven to be good now."""
        leaving: list[Held] = []

        async def prove(held: Held) -> None:
            if store in held.copies:
                if not await self._is_good_elsewhere(held, store):
                    raise LastCopy(held.sop_instance_uid)
                leaving.append(held)
            self._count(held)

        await self._at_once(page, prove)
        if await self.copies.forget(store, leaving) < len(leaving):
            raise Changed(self.move.study_instance_uid)

    async def _is_good_elsewhere(self, held: Held, store: str) -> bool:
        foreign = self.carrier.is_foreign(held.key)
        if held.online and not foreign:
            try:
                if await self.store.verify(held.key):
                    return True
            except (PacsError, OSError) as why:
                logs.error("object_unreadable", key=held.key, why=str(why))
        for other in self._elsewhere(held, store):
            if await self.carrier.is_good(held, other):
                return True
        if held.online and foreign:  # its node can tell
            raise OnAnotherNode(held.sop_instance_uid, node_of_key(held.key))
        return False

    def _elsewhere(self, held: Held, store: str) -> list[str]:
        return [name for name in self.carrier.stores if name in held.copies and name != store]

    # -- pieces of it -----------------------------------------------------------------------------------------------------------
    async def _each(self, work: Callable[[Held], Awaitable[None]]) -> None:
        async def one(held: Held) -> None:
            await work(held)
            self._count(held)

        async for page in self._pages():
            await self._at_once(page, one)

    async def _pages(self) -> AsyncIterator[list[Held]]:
        after = ""
        while page := await self.copies.of_study(self.move.study_instance_uid, after, _PAGE):
            yield page
            after = page[-1].sop_instance_uid

    async def _at_once(self, page: Sequence[Held], work: Callable[[Held], Awaitable[None]]) -> None:
        """The first failure stops the rest, and is what is raised; others like it are in the log."""
        left = deque(page)
        failures: list[Exception] = []

        async def take() -> None:
            while left and not failures:
                try:
                    await work(left.popleft())
                except (PacsError, OSError, _Cancelled) as failure:
                    failures.append(failure)

        async with trio.open_nursery() as nursery:
            for _ in range(min(self.mover.at_once, len(page))):
                nursery.start_soon(take)
        if failures:
            raise failures[0]

    def _count(self, held: Held) -> None:
        self.done += 1
        self.done_bytes += held.size_bytes

    async def tell(self) -> None:
        done = (self.done, self.done_bytes)
        if not await self.mover.moves.progress(self.move, _LEASE_S, of=self.of, done=done):
            raise _Cancelled
