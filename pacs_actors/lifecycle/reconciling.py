"""Reconciling the objects and the index, both ways: what is there without a row, what has a row and is not there, what the two say
differently, and counts. Fixes what is safe if it is asked to; the rest is told. ``integrity_fixing`` does the fixing.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.archive.objects.keys import quarantine_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.lifecycle import integrity_files as files
from pacs_actors.lifecycle.integrity_compare import Compared, compare_some
from pacs_actors.lifecycle.integrity_counts import IntegrityCounts
from pacs_actors.lifecycle.integrity_fixing import Fixer
from pacs_actors.lifecycle.integrity_reading import Head
from pacs_actors.lifecycle.integrity_rows import IntegrityRows, Row, places
from pacs_actors.lifecycle.integrity_walk import Cursor, Stretch, stretches
from pacs_actors.lifecycle.scrubbing import absent_of, lost
from pacs_actors.threads import NativePool

_PORTION: Final = 1000
_REMEMBERED: Final = 10_000  # lost instances that are looked at again in the end
_COMING_S: Final = 10.0  # what was stored a moment ago is indexed by then
_MOVING_S: Final = 0.5  # and what is being brought back
_LOOK_AGAIN_S: Final = 0.1


class Kind(Enum):
    """What may be wrong. The text is what reports and the API name it by."""

    UNINDEXED = "unindexed"  # an object that no row knows; fixed: indexed, or settled as a copy or a conflict
    LOST = "lost"  # a row whose object is nowhere; fixed: found elsewhere, whole
    DISAGREES = (
        "disagrees"  # row and object say different things; fixed: the row, if they mean the same bytes
    )
    UNREADABLE = "unreadable"  # an object that the disk does not give
    NOT_ASIDE = "not_aside"  # of a deletion, still among the others; fixed: moved
    DELETED_LOST = "deleted_lost"  # of a deletion, and nowhere: it cannot be brought back
    QUARANTINE_LOST = "quarantine_lost"  # listed in quarantine, and not there
    QUARANTINE_UNKNOWN = "quarantine_unknown"  # in quarantine, and not listed; fixed: listed
    COUNTS = "counts"  # of a study, or of the archive; fixed: counted anew
    COPY_UNKNOWN = (
        "copy_unknown"  # in a store, and no row knows it; fixed: its instance is known, and the copy noted
    )
    COPY_LOST = "copy_lost"  # noted, and not in its store; fixed: noted no more, where the instance has another that is good
    STRAY = "stray"  # a file that is no object of ours
    LEFTOVER = (
        "leftover"  # of a process that died while receiving; fixed: removed. Only told while no server runs
    )


class Trouble(Struct, frozen=True):
    """subject: an object's key, a study's UID, a file's path; of a copy the name of its store, a space, and its key there"""

    kind: Kind
    subject: str
    detail: str
    sop_instance_uid: str = ""
    fixed: bool = False


class Reconciliation:
    """One walk.

    fixer:   None: nothing is changed
    alone:   no server runs: nothing is on its way
    tell:    called with everything that is found, as soon as it is
    objects: that were looked at so far; found, fixed: by kind
    """

    def __init__(
        self,
        store: LocalObjectStore,
        rows: IntegrityRows,
        pool: NativePool,
        fixer: Fixer | None,
        tell: Callable[[Trouble], Awaitable[None]],
        *,
        alone: bool,
    ) -> None:
        self.store, self.rows, self.pool, self.fixer, self.alone = store, rows, pool, fixer, alone
        self.objects = 0
        self.found: Counter[Kind] = Counter()
        self.fixed: Counter[Kind] = Counter()
        self._tell = tell
        self._lost: dict[str, Row] = {}

    @property
    def left(self) -> int:
        return self.found.total() - self.fixed.total()

    async def run(self) -> None:
        """raises: Unavailable; OSError if a folder cannot be listed"""
        async for stretch in stretches(self.store, self.pool, self.rows, Cursor()):
            await self._stretch(stretch)
            self.objects += len(stretch.keys)
        await self._quarantine_rows()
        await self._quarantine_files()
        await self._lost_again()
        await self._counts()
        await self._files(Kind.STRAY, files.strays)
        if self.alone:
            await self._files(Kind.LEFTOVER, files.leftovers)

    # -- objects and rows -------------------------------------------------------------------------------------------------------
    async def _stretch(self, stretch: Stretch) -> None:
        compared = await self._compare(stretch)
        for key, why in sorted(compared.unreadable.items()):
            row = stretch.rows.get(key)
            await self.say(
                Trouble(Kind.UNREADABLE, key, why, row.sop_instance_uid if row is not None else "")
            )
        await self._unknown(stretch.slot, compared.unknown)
        await self._disagreeing([stretch.rows[key] for key in sorted(compared.disagrees)], compared)
        there = set(stretch.keys)
        lacking = [row for key, row in stretch.rows.items() if key not in there]
        for damage in await lost(self.store, self.rows, self.pool, lacking):
            assert damage.row is not None, "what has no row cannot be lost"
            await self._lose(damage.row, damage.why)
        await self._deleted([row for row in lacking if row.place != "index"])
        await self._left_behind(
            [row for row in stretch.rows.values() if row.place == "aside" and row.key in there]
        )

    async def _compare(self, stretch: Stretch) -> Compared:
        left = deque(stretch.keys)
        merged = Compared([], {}, {})

        async def read_on() -> None:
            found = await self.pool.run(compare_some, self.store, left, stretch.rows)
            merged.unknown.extend(found.unknown)
            merged.disagrees.update(found.disagrees)
            merged.unreadable.update(found.unreadable)

        async with trio.open_nursery() as nursery:
            for _ in range(self.pool.statistics.threads):
                nursery.start_soon(read_on)
        return merged

    async def _unknown(self, slot: int, heads: list[Head]) -> None:
        """Objects without a row, once they have had the time to get one."""
        unknown = {head.key: head for head in heads}
        wait_s = 0.0 if self.alone else _COMING_S if any(map(_is_fresh, heads)) else _MOVING_S
        give_up = trio.current_time() + wait_s
        while unknown:
            known = await self.rows.of_keys(places(unknown))
            gone = await self.pool.run(absent_of, self.store, [key for key in unknown if key not in known])
            unknown = {key: head for key, head in unknown.items() if key not in known and key not in gone}
            if trio.current_time() >= give_up:
                break
            await trio.sleep(_LOOK_AGAIN_S)
        if not unknown:
            return
        settled = await self.fixer.index(slot, sorted(unknown)) if self.fixer is not None else {}
        for key, head in sorted(unknown.items()):
            why, fixed = settled.get(key, ("the index does not know it", False))
            await self.say(Trouble(Kind.UNINDEXED, key, why, head.sop_instance_uid, fixed))

    async def _disagreeing(self, rows: Sequence[Row], compared: Compared) -> None:
        now = await self.rows.of_keys(places([row.key for row in rows]))
        for row in rows:
            if now.get(row.key) != row or row.place != "index":
                continue  # changed since, or nobody looks for it any more
            fixed = self.fixer is not None and await self.fixer.correct(row)
            await self.say(
                Trouble(Kind.DISAGREES, row.key, compared.disagrees[row.key], row.sop_instance_uid, fixed)
            )

    async def _lose(self, row: Row, why: str) -> None:
        fixed = self.fixer is not None and await self.fixer.relink(row)
        if not fixed and self.fixer is not None and len(self._lost) < _REMEMBERED:
            self._lost[row.key] = row
            return  # it may be found among what comes later
        await self.say(Trouble(Kind.LOST, row.key, why, row.sop_instance_uid, fixed))

    async def _lost_again(self) -> None:
        """What was without a row took the place of what was lost, if it has the same bytes."""
        keys = iter(sorted(self._lost))
        while some := list(islice(keys, _PORTION)):
            now = await self.rows.of_keys(places(some))
            for key in some:
                fixed = key not in now
                why = "found elsewhere" if fixed else "it is not there, and nowhere else"
                await self.say(Trouble(Kind.LOST, key, why, self._lost[key].sop_instance_uid, fixed))

    async def _deleted(self, rows: Sequence[Row]) -> None:
        """Of deletions that may be undone: their objects are where they were, or aside."""
        rows = [row for row in rows if not row.elsewhere]
        gone = await self.pool.run(
            absent_of, self.store, [quarantine_key(row.key, "deleted") for row in rows]
        )
        lost_ones = [row for row in rows if quarantine_key(row.key, "deleted") in gone]
        back = list(await self.pool.run(absent_of, self.store, [row.key for row in lost_ones]))
        # Once more: between the first look and the second it may have been moved.
        still = await self.pool.run(absent_of, self.store, [quarantine_key(key, "deleted") for key in back])
        back = [key for key in back if quarantine_key(key, "deleted") in still]
        now = await self.rows.of_keys(places(back))
        copied = await self.rows.with_copies(list(now.values()))
        for key, row in sorted(now.items()):
            if row.place != "index" and not row.elsewhere and key not in copied:
                why = "deleted, and not to be brought back"
                await self.say(Trouble(Kind.DELETED_LOST, key, why, row.sop_instance_uid))

    async def _left_behind(self, rows: Sequence[Row]) -> None:
        now = await self.rows.of_keys(places([row.key for row in rows if not row.elsewhere]))
        for key, row in sorted(now.items()):
            if row.place == "aside" and not row.elsewhere:
                fixed = self.fixer is not None and await self.fixer.set_aside(key)
                await self.say(
                    Trouble(Kind.NOT_ASIDE, key, "deleted, and not moved aside", row.sop_instance_uid, fixed)
                )

    # -- quarantine, counts, files ----------------------------------------------------------------------------------------------
    async def _quarantine_rows(self) -> None:
        after = ""
        while rows := await self.rows.quarantined(after, _PORTION):
            after = rows[-1].key
            rows = [row for row in rows if files.node_of_quarantined(row.key) in (None, self.store.node)]
            gone = await self.pool.run(absent_of, self.store, [row.key for row in rows])
            for row in rows:
                if row.key in gone:
                    why = gone[row.key] or "listed in quarantine, and not there"
                    await self.say(Trouble(Kind.QUARANTINE_LOST, row.key, why, row.sop_instance_uid))

    async def _quarantine_files(self) -> None:
        portions = files.quarantined(self.store.root)
        while (portion := await self.pool.run(partial(next, portions, None))) is not None:
            keys, strange = portion
            for path in strange:
                await self.say(Trouble(Kind.STRAY, path, "no object of ours"))
            for key in sorted(set(keys) - await self._accounted_for(keys)):
                fixed = self.fixer is not None and await self.fixer.list_quarantined(key)
                await self.say(
                    Trouble(Kind.QUARANTINE_UNKNOWN, key, "in quarantine, and not listed", "", fixed)
                )

    async def _accounted_for(self, keys: Sequence[str]) -> set[str]:
        """Those that the quarantine lists, or a deletion has."""
        known = await self.rows.listed_in_quarantine(keys)
        before = {key: str(one) for key in keys if (one := files.before_quarantine(key)) is not None}
        rows = await self.rows.of_keys(places(before.values()))
        return known | {key for key, was in before.items() if was in rows and rows[was].place != "index"}

    async def _counts(self) -> None:
        counts, after = IntegrityCounts(self.rows.database), 0
        while True:
            found = await counts.studies(after)
            for number, uid in found.wrong:
                if self.fixer is not None:
                    await counts.recount(number)
                await self.say(Trouble(Kind.COUNTS, uid, "miscounted", "", self.fixer is not None))
            if found.last is None:
                break
            after = found.last
        if empty := await counts.empty_patients(remove=self.fixer is not None):
            await self.say(Trouble(Kind.COUNTS, "patients", f"{empty} without a study", "", self.fixer is not None))  # fmt: skip
        off = await counts.totals_off_by(fix=self.fixer is not None)
        if any(off):
            names = ("patients", "studies", "series", "instances", "bytes")
            why = ", ".join(f"{number:+} {name}" for number, name in zip(off, names, strict=True) if number)
            await self.say(Trouble(Kind.COUNTS, "archive", f"really {why}", "", self.fixer is not None))

    async def _files(self, kind: Kind, walk: Callable[[Path], Iterator[str]]) -> None:
        paths = walk(self.store.root)
        while some := await self.pool.run(_some, paths):
            for path in some:
                fixed = kind is Kind.LEFTOVER and self.fixer is not None and await self.fixer.unlink(path)
                why = "no object of ours" if kind is Kind.STRAY else "was never answered"
                await self.say(Trouble(kind, path, why, "", fixed))

    async def say(self, trouble: Trouble) -> None:
        self.found[trouble.kind] += 1
        self.fixed[trouble.kind] += trouble.fixed
        await self._tell(trouble)


def _is_fresh(head: Head) -> bool:
    """It may still be on its way to the index."""
    received_ns = head.record.received_ns if head.record is not None else 0
    return 0 <= time.time_ns() - received_ns < _COMING_S * 1e9


def _some(paths: Iterator[str]) -> list[str]:
    return list(islice(paths, _PORTION))
