"""Scrubbing: every object is read from its medium and compared with its checksum; what the index knows and the store lacks is
found, too. Says what it finds; what becomes of that is for others (``integrity_damage``).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.lifecycle.integrity_reading import PIECE_BYTES, Condition, Openable, Pace, Reading
from pacs_actors.lifecycle.integrity_rows import IntegrityRows, Row, places
from pacs_actors.lifecycle.integrity_spans import Span, read_some, spans
from pacs_actors.lifecycle.integrity_walk import Cursor, Stretch, in_advance, stretches
from pacs_actors.threads import NativePool

# Between two notes of how far it is:
_PORTION_OBJECTS: Final = 4096
_PORTION_BYTES: Final = 256 * 1024 * 1024


class Damage(Struct, frozen=True):
    """An object that is not what it was.

    condition:         corrupt, lost or unreadable
    sop_instance_uid:  as the index has it; as the object says itself where the index does not know it; "" if neither does
    row:               what the index says of it
    """

    condition: Condition
    key: str
    sop_instance_uid: str
    why: str
    row: Row | None = None

    @property
    def indexed(self) -> bool:
        """Whoever looks for the instance finds it."""
        return self.row is not None and self.row.place == "index"


class Portion(Struct, frozen=True):
    """What was read up to ``cursor``: so many objects are intact, and these are not."""

    cursor: Cursor
    objects: int
    size_bytes: int
    damages: list[Damage]


Tell = Callable[[Portion], Awaitable[None]]


async def scrub(
    store: ObjectStore, rows: IntegrityRows | None, pool: NativePool, pace: Pace, begin: Cursor, tell: Tell
) -> None:
    """Read all objects from a cursor on, and tell of each portion when it is read.

    pool:    all of its threads read but one, which lists what comes next
    rows:    None: there is no index to ask
    pace:    is stopped in the end
    raises:  Unavailable; OSError if the folders of a slot cannot be listed; what ``tell`` raises
    """

    async def read(stretch: Stretch) -> None:
        digests = {key: row.digest for key, row in stretch.rows.items()}
        for portion in await pool.run(_portions, stretch):
            objects, size_bytes, troubles = await _read(store, pool, pace, portion, digests)
            damages = await _damages(rows, troubles) if troubles else []
            await tell(Portion(Cursor(stretch.slot, portion[-1].keys[-1]), objects, size_bytes, damages))
        if rows is not None:
            there = set(stretch.keys)
            lacking = [row for key, row in stretch.rows.items() if key not in there]
            if damages := await lost(store, rows, pool, lacking):
                last = max(there.union(damage.key for damage in damages))
                await tell(Portion(Cursor(stretch.slot, last), 0, 0, damages))

    try:
        await in_advance(stretches(store, pool, rows, begin), read)
    finally:
        pace.stop()  # or the threads of a walk that was cancelled would be waited for


def _portions(stretch: Stretch) -> list[list[Span]]:
    """A stretch in pieces that are told of. What the index does not know the size of counts as what is read of it at once."""
    portions: list[list[Span]] = []
    objects, size_bytes = _PORTION_OBJECTS, 0
    for span in spans(stretch.keys):
        if objects >= _PORTION_OBJECTS or size_bytes >= _PORTION_BYTES:
            portions.append([])
            objects = size_bytes = 0
        portions[-1].append(span)
        objects += len(span.keys)
        row = stretch.rows.get(span.keys[0])
        size_bytes += span.size_bytes or (row.size_bytes if row is not None else PIECE_BYTES)
    return portions


async def _read(
    store: ObjectStore, pool: NativePool, pace: Pace, portion: Sequence[Span], digests: dict[str, bytes]
) -> tuple[int, int, list[Reading]]:
    """As ``read_some``, on many threads."""
    left = deque(portion)
    objects = size_bytes = 0
    troubles: list[Reading] = []

    async def read_on() -> None:
        nonlocal objects, size_bytes
        # Left behind when cancelled: the thread ends by itself once the pace is stopped.
        read = await pool.run(read_some, store, left, digests, pace, abandon=lambda _: None)
        objects, size_bytes = objects + read[0], size_bytes + read[1]
        troubles.extend(read[2])

    async with trio.open_nursery() as nursery:
        for _ in range(max(1, pool.statistics.threads - 1)):  # one lists what comes next
            nursery.start_soon(read_on)
    return objects, size_bytes, troubles


async def _damages(rows: IntegrityRows | None, troubles: Iterable[Reading]) -> list[Damage]:
    """What is wrong of what was not read well: what is gone together with its row was removed since it was listed."""
    found: list[Damage] = []
    troubles = sorted(troubles, key=lambda reading: reading.key)
    now = {} if rows is None else await rows.of_keys(places(reading.key for reading in troubles))
    for reading in troubles:
        row = now.get(reading.key)
        if reading.condition is Condition.LOST and (row is None or row.place != "index" or row.elsewhere):
            continue
        uid = row.sop_instance_uid if row is not None else reading.sop_instance_uid
        found.append(Damage(reading.condition, reading.key, uid, reading.why or "it is not there", row))
    return found


async def lost(
    store: ObjectStore, rows: IntegrityRows, pool: NativePool, lacking: Sequence[Row]
) -> list[Damage]:
    """Of rows whose object was not among those listed: those that are still in the index, with an object that cannot be had."""
    lacking = [row for row in lacking if row.place == "index"]
    if not lacking:
        return []
    absent = await pool.run(absent_of, store, [row.key for row in lacking])
    now = await rows.of_keys(places(absent))
    still = [row for row in now.values() if row.place == "index"]
    copied = await rows.with_copies([row for row in still if row.elsewhere])
    return [
        Damage(
            Condition.UNREADABLE if absent[row.key] else Condition.LOST,
            row.key,
            row.sop_instance_uid,
            absent[row.key] or "it is not there",
            row,
        )
        for row in sorted(still, key=lambda row: row.key)
        if row.key not in copied
    ]


def absent_of(store: Openable, keys: Iterable[str]) -> dict[str, str]:
    """Those that the store does not give, and why: "" if it does not have them. For native threads."""
    found: dict[str, str] = {}
    for key in keys:
        try:
            os.close(store.open(key).fd)
        except ObjectMissing:
            found[key] = ""
        except OSError as error:
            found[key] = error.strerror or str(error)
    return found
