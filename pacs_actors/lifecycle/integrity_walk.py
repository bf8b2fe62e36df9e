"""Walking through everything that the store and the index have, in one order, a stretch of batch folders at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

import trio
from msgspec import Struct

from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.objects.keys import MAX_BATCH, node_of, parse_key
from pacs_actors.lifecycle.integrity_rows import STRETCH_OBJECTS, IntegrityRows, Row
from pacs_actors.operations import logs
from pacs_actors.threads import NativePool

T = TypeVar("T")

_MOST_FOLDERS: Final = 2048
_FIRST_OBJECTS: Final = (
    STRETCH_OBJECTS // 8
)  # whoever reads them waits for that; all others are listed meanwhile


class Cursor(Struct, frozen=True):
    """Everything up to this key of this slot is done. slot: -1 before anything is; after_key: "" before the slot's first"""

    slot: int = -1
    after_key: str = ""

    @property
    def batch(self) -> int:
        return parse_key(self.after_key).batch if self.after_key else 0


class Stretch(Struct, frozen=True):
    """Batch folders ``first`` to ``last`` of a slot.

    keys:  of the objects that are there, ascending
    rows:  what the index says of that stretch, by key
    """

    slot: int
    first: int
    last: int
    keys: list[str]
    rows: dict[str, Row]


async def stretches(
    store: ObjectStore, pool: NativePool, rows: IntegrityRows | None, begin: Cursor
) -> AsyncGenerator[Stretch, None]:
    """All of the store's node from a cursor on.

    Rows are asked for before the folders are listed: what is stored meanwhile has no row yet.

    rows:    None: there is no index to ask
    raises:  Unavailable; OSError if the folders of a slot cannot be listed
    """
    slots = set(await pool.run(store.slots))
    if rows is not None:
        slots |= {slot for slot in await rows.slots() if node_of(slot) == store.node}
    most = _FIRST_OBJECTS
    for slot in sorted(slot for slot in slots if slot >= begin.slot):
        folders = await pool.run(store.batches, slot)
        after = begin.after_key if slot == begin.slot else ""
        first = begin.batch if after else 0
        while True:
            reach = MAX_BATCH if rows is None else await rows.reach(slot, first, most)
            known = {} if rows is None else await rows.of_stretch(slot, first, reach)
            last, keys = await pool.run(_listed, store, slot, folders, first, reach, most)
            if last < reach:
                known = {key: row for key, row in known.items() if parse_key(key).batch <= last}
            if after:
                keys = [key for key in keys if key > after]
                known = {key: row for key, row in known.items() if key > after}
                after = ""
            yield Stretch(slot, first, last, keys, known)
            most = min(2 * most, STRETCH_OBJECTS)
            if last >= MAX_BATCH:
                break
            first = last + 1


async def in_advance(source: AsyncGenerator[T, None], use: Callable[[T], Awaitable[None]]) -> None:
    """Use what comes from a source, one after the other, while the source is at the next one already.

    raises: what either raises, in no group
    """
    made, coming = trio.open_memory_channel[T](0)
    failures: list[Exception] = []

    async def make() -> None:
        try:
            with made:  # in one step, or whoever waits would cancel a failure that is on its way
                async with aclosing(source):
                    async for one in source:
                        await made.send(one)
        except Exception as failure:
            failures.append(failure)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make)
        try:
            async for one in coming:
                await use(one)
        except Exception as failure:
            failures.append(failure)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


def _listed(
    store: ObjectStore, slot: int, folders: list[int], first: int, reach: int, most: int
) -> tuple[int, list[str]]:
    """(last folder, keys of the objects) of as many folders as have ``most`` objects. For native threads."""
    keys: list[str] = []
    begin = bisect_left(folders, first)
    for folder in folders[begin : begin + _MOST_FOLDERS]:
        if folder > reach:
            return reach, sorted(keys)
        try:
            keys += store.keys(slot, folder)
        except OSError as error:  # whoever looks for what the index has in it will see
            logs.error("folder_unreadable", slot=slot, batch=folder, why=error.strerror or str(error))
        if len(keys) >= most:
            return folder, sorted(keys)
    more = folders[begin + _MOST_FOLDERS : begin + _MOST_FOLDERS + 1]
    last = reach if not more or more[0] > reach else folders[begin + _MOST_FOLDERS - 1]
    return last, sorted(keys)
