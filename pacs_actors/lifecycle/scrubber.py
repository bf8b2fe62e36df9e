"""Scrubber: reads every object of the archive once a cycle, and has what is not good any more taken out of the way.

Receives nothing; finds what was asked for in the table ``integrity_runs``: one worker of the archive holds the run's lease and is
at it, and whoever comes after a crash goes on where it was. Sends nothing. Reads at the rate of the
settings, on threads of its own, and at a tenth of it while images come.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from config.integrity import IntegritySettings
from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.database import Database
from pacs_actors.lifecycle.integrity_book import IntegrityBook
from pacs_actors.lifecycle.integrity_damage import DamageKeeper, Healer
from pacs_actors.lifecycle.integrity_lease import holding
from pacs_actors.lifecycle.integrity_reading import Pace
from pacs_actors.lifecycle.integrity_rows import IntegrityRows
from pacs_actors.lifecycle.integrity_runs import IntegrityRuns, LeaseLost, Work
from pacs_actors.lifecycle.scrubbing import Portion, scrub
from pacs_actors.mail import Ready
from pacs_actors.node_page import NodePage
from pacs_actors.operations import logs
from pacs_actors.threads import NativePool
from protocols.errors import Unavailable

_LOOK_EVERY_S: Final = 2.0
_WATCH_EVERY_S: Final = 0.5
_DAY_S: Final = 86_400.0
_MB: Final = 1_000_000


class Scrubber:
    """healer: who has other copies; set by whoever has one

    objects, size_bytes, found: what this process has read since its start, and what of it was not good
    """

    healer: Healer | None = None

    def __init__(
        self, settings: IntegritySettings, store: ObjectStore, database: Database, page: NodePage
    ) -> None:
        self.settings, self.store, self.page = settings, store, page
        self.book, self.runs = IntegrityBook(database, store.node), IntegrityRuns(database, store.node)
        self.objects = self.size_bytes = self.found = 0
        self.working = False
        self._pace: Pace | None = None

    def use(self, settings: IntegritySettings) -> None:
        """Those in force have changed."""
        self.settings = settings
        if self._pace is not None:
            self._pace.rate_bytes_s = settings.rate_mb_s * _MB

    def counters(self) -> dict[str, int]:
        """For the status."""
        return {
            "scrub_running": int(self.working),
            "scrub_objects": self.objects,
            "scrub_bytes": self.size_bytes,
            "scrub_found": self.found,
        }

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        lease = secrets.token_hex(8)
        while True:
            try:
                await self.book.settle_what_is_well()
                work = await self.runs.take("scrub", lease, every_s=self.settings.cycle_days * _DAY_S)
                if work is not None:
                    await self._serve(work)
                    continue
            except Unavailable:
                pass  # the lease runs out, and whoever looks next goes on
            except LeaseLost:
                logs.warning("scrub_taken_over")
            await trio.sleep(_LOOK_EVERY_S)

    async def _serve(self, work: Work) -> None:
        """One run, from where it is to its end. raises: Unavailable, LeaseLost"""
        logs.event("scrub_begins" if work.cursor.slot < 0 else "scrub_goes_on", run=work.run)
        pace = self._pace = Pace(self.settings.rate_mb_s * _MB)
        keeper = DamageKeeper(self.store, self.book, self.healer)
        self.working, problem = True, ""

        async def tell(portion: Portion) -> None:
            await self._take_in(work, keeper, portion)

        try:
            await keeper.go_on(await self.book.unmoved())
            async with (
                NativePool(self.settings.threads + 1, "scrub") as pool,
                trio.open_nursery() as watching,
            ):
                watching.start_soon(self._watch, pace)
                rows = IntegrityRows(self.book.database)
                walk = partial(scrub, self.store, rows, pool, pace, work.cursor, tell)
                failure = await _failure(holding, self.runs, work, walk)
                watching.cancel_scope.cancel()
        finally:
            self.working, self._pace = False, None
            pace.stop()
        if isinstance(failure, OSError):
            problem = f"the folders of a slot cannot be listed: {failure.strerror or failure}"
        elif failure is not None:
            raise failure
        while not problem and await self.book.settle_what_is_gone(work.run):
            await self.runs.renew(work)
        await self.runs.finish(work, problem)
        logs.event(
            "scrub_done", run=work.run, objects=work.objects, bytes=work.size_bytes, found=work.found, problem=problem
        )  # fmt: skip

    async def _take_in(self, work: Work, keeper: DamageKeeper, portion: Portion) -> None:
        for damage in portion.damages:
            work.fixed += await keeper.keep(damage, "scrub", quarantine=True)
        found = len(portion.damages)
        self.objects += portion.objects + found
        self.size_bytes += portion.size_bytes
        self.found += found
        work.objects += portion.objects + found
        work.size_bytes += portion.size_bytes
        work.found += found
        work.cursor = portion.cursor  # after all else: what is written says that everything up to it is done

    async def _watch(self, pace: Pace) -> None:
        """Whoever stores images needs the disk more."""
        before = self._answered()
        while True:
            await trio.sleep(_WATCH_EVERY_S)
            now = self._answered()
            pace.gives_way = now != before
            before = now

    def _answered(self) -> int:
        return sum(self.page.answered(slot) for slot in range(self.page.workers))


async def _failure(call: Callable[..., Awaitable[None]], *arguments: object) -> Exception | None:
    """What a call raises, for whoever is in a nursery and wants it without a group."""
    try:
        await call(*arguments)
    except Exception as failure:
        return failure
    return None
