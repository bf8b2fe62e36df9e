"""Copy scrubber: reads every copy in the tier stores once a cycle, and has what is not good any more replaced.

Receives nothing; takes its turn at a store in the database, so that one worker of the archive reads it. Sends nothing. Reads one
copy after the other, at the rate of the settings.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from config.integrity import IntegritySettings
from pacs_actors.lifecycle.carrier import Carrier
from pacs_actors.lifecycle.copies import Copies
from pacs_actors.lifecycle.copy_checks import FOUND_BY, LEASE_S, CopyChecks, Due
from pacs_actors.lifecycle.integrity_book import IntegrityBook
from pacs_actors.lifecycle.integrity_reading import Condition
from pacs_actors.lifecycle.stores.errors import CopyMissing, StoreError, StoreUnavailable
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import PacsError, Unavailable

_AT_ONCE: Final = 32  # between two notes of how far it is
_LOOK_EVERY_S: Final = 30.0
_DAY_S: Final = 86_400.0
_MB: Final = 1_000_000
CORRUPT: Final = "its checksum is another one"
LOST: Final = "it is not there"
UNREADABLE: Final = "its store does not give it"
_CONDITIONS: Final = {CORRUPT: Condition.CORRUPT, LOST: Condition.LOST, UNREADABLE: Condition.UNREADABLE}


async def what_is_wrong(store: TierStore, due: Due) -> str:
    """CORRUPT, LOST or UNREADABLE, or nothing: it is what was put there.

    raises: StoreUnavailable if nothing can be known now, as the store is away; StoreDenied
    """
    # What a second look finds whole is whole: a network damages bytes, too.
    return await _look(store, due) and await _look(store, due)


async def _look(store: TierStore, due: Due) -> str:
    try:
        try:
            return "" if await store.verify(due.stored) else CORRUPT
        except StoreUnavailable:
            await store.size(due.stored.key)
            return UNREADABLE  # the store is there: it is this one that a disk does not give
    except CopyMissing:
        return LOST


def condition_of(wrong: str) -> str:
    """As the conditions of objects."""
    return _CONDITIONS[wrong].value


class CopyScrubber:
    """looked_at, found: copies that this process has read since its start, and those of them that were not good"""

    def __init__(
        self,
        settings: IntegritySettings,
        carrier: Carrier,
        copies: Copies,
        checks: CopyChecks,
        book: IntegrityBook,
    ) -> None:
        self.settings = settings
        self._carrier, self._copies, self._checks, self._book = carrier, copies, checks, book
        self._lease = secrets.token_hex(8)
        self.looked_at = self.found = 0

    def use(self, settings: IntegritySettings) -> None:
        """Those in force have changed."""
        self.settings = settings

    def counters(self) -> dict[str, int]:
        """For the status."""
        return {"copies_scrubbed": self.looked_at, "copies_found_damaged": self.found}

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            busy = False
            for name in self._carrier.stores:
                try:
                    busy = await self.round(name) or busy
                except (Unavailable, StoreError) as away:
                    logs.warning("copy_scrub_waits", store=name, why=str(away))
            if not busy:
                await trio.sleep(_LOOK_EVERY_S)

    async def round(self, name: str) -> bool:
        """Some copies of one store; False: there is nothing to do there now, or another worker does it.

        raises: Unavailable, StoreDenied: what was read is noted all the same
        """
        days = self.settings.copies_cycle_days
        if not days or not await self._checks.take(name, self._lease):
            return False
        due = await self._checks.due(name, days * _DAY_S, _AT_ONCE)
        well: list[Due] = []
        not_well: list[Due] = []
        failure: PacsError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_turn, name, nursery.cancel_scope)
                try:
                    await self._read(name, due, well, not_well)
                except (Unavailable, StoreError) as why:
                    failure = why
                nursery.cancel_scope.cancel()
        finally:
            self.looked_at += len(well) + len(not_well)
            with trio.CancelScope(shield=True), trio.move_on_after(10):
                await self._checks.checked(name, well=well, not_well=not_well)
        if failure is not None:
            raise failure
        await self._checks.settle()
        return len(due) == _AT_ONCE

    async def _keep_turn(self, name: str, reading: trio.CancelScope) -> None:
        """Large copies take longer than a lease. What another worker has taken over meanwhile is not read twice."""
        while True:
            await trio.sleep(LEASE_S / 3)
            with suppress(Unavailable):
                if not await self._checks.take(name, self._lease):
                    reading.cancel()

    async def _read(self, name: str, due: Sequence[Due], well: list[Due], not_well: list[Due]) -> None:
        """At the rate of the settings. raises: Unavailable, StoreDenied"""
        for one in due:
            began = trio.current_time()
            wrong = await what_is_wrong(self._carrier.stores[name], one)
            (not_well if wrong else well).append(one)
            if wrong:
                await self._take_care(name, one, wrong)
            rate = self.settings.copies_rate_mb_s * _MB
            await trio.sleep_until(began + one.stored.size_bytes / rate)

    async def _take_care(self, name: str, due: Due, wrong: str) -> None:
        """Of a copy that is not good: it is told, and another takes its place if the instance has one that is."""
        self.found += 1
        [*found] = [
            one
            for one in await self._copies.of_instances([due.sop_instance_uid])
            if name in one.copies and one.copies[name].stored == due.stored
        ]
        if not found:
            return  # removed, or replaced, since it was listed
        subject = f"{name} {due.stored.key}"
        await self._book.found(condition_of(wrong), subject, wrong, FOUND_BY, due.sop_instance_uid)
        if wrong == UNREADABLE:
            return  # what can be saved of it stays
        form = found[0].copies[name].form
        try:
            if await self._carrier.is_good(found[0], name):
                return
        except OSError as why:  # whether the object here is good is not known now: the copy stays
            logs.warning("copy_not_replaced", store=name, uid=due.sop_instance_uid, why=str(why))
            return
        left = await self._copies.of_instances([due.sop_instance_uid])
        if not left or name in left[0].copies:
            return  # deleted; or it was the last one, and stays as it is
        try:
            made = await self._carrier.copy_out(due.study_instance_uid, left[0], name, form)
            await self._copies.add(name, [(left[0], made)])
            await self._copies.complete(due.study_instance_uid, name)
        except (PacsError, OSError) as why:  # a replicator or a policy makes another, some time
            logs.warning("copy_not_replaced", store=name, uid=due.sop_instance_uid, why=str(why))
            return
        logs.event("copy_healed", store=name, uid=due.sop_instance_uid)
