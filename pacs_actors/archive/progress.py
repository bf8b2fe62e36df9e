"""How far a worker's index is behind its objects: the backlog, and the mark that a restart begins from.

Objects lie in batch folders that are numbered upwards. The mark is a batch number: everything in folders below it is indexed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import trio

from pacs_actors.node_page import NodePage


def batch_of(key: str) -> int:
    """The batch folder of an object key ``slot/batch/hash.dcm``."""
    return int(key.split("/", 2)[1], 16)


A = TypeVar("A")


class Others(Protocol[A]):
    """The other nodes. others: those that are alive"""

    others: set[int]

    def ask(self) -> A | None:
        """Ask what they have answered by now; None: there is nobody to wait for."""

    async def answered(self, asked: A) -> None:
        """Wait until they have indexed that, or until that takes too long."""


class IndexProgress:
    """Shared by a worker's ingest writers and its indexer; lives as long as the worker.

    current_batch:     tells the folder that new objects go to
    unrecovered_from:  the lowest folder of which recovery has not indexed everything; None: there is none
    unrecovered:       objects that recovery could not read so far, in all slots that it reads
    others:            the other nodes of the archive; None: there is one
    """

    def __init__(self, page: NodePage, current_batch: Callable[[], int]) -> None:
        self.page, self.current_batch = page, current_batch
        self.hurry = trio.Event()
        self._writing: Counter[int] = Counter()
        self._waiting: Counter[int] = Counter()
        self.others: Others[Any] | None = None
        self.unrecovered_from: int | None = None
        self.unrecovered = 0
        self._unsettled_from: int | None = None
        self.stored_instances = self.stored_bytes = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around making one object durable and handing it to the indexer: the mark stays below its folder."""
        floor = self.begin_writing()
        try:
            yield
        finally:
            self.end_writing(floor)

    def begin_writing(self) -> int:
        """As ``writing``, for those who do not wait in between; what it gives is ``end_writing``'s."""
        floor = self.current_batch()
        self._writing[floor] += 1
        return floor

    def end_writing(self, floor: int) -> None:
        self._writing[floor] -= 1
        if not self._writing[floor]:
            del self._writing[floor]

    def stored(self, key: str, size_bytes: int) -> None:
        self._waiting[batch_of(key)] += 1
        self.stored_instances += 1
        self.stored_bytes += size_bytes

    def indexed(self, key: str) -> None:
        batch = batch_of(key)
        self._waiting[batch] -= 1
        if not self._waiting[batch]:
            del self._waiting[batch]

    def stay_below(self, batch: int) -> None:
        """Something recovered in this folder could not be settled: the next start has to look at it again."""
        self._unsettled_from = batch if self._unsettled_from is None else min(self._unsettled_from, batch)

    @property
    def backlog(self) -> int:
        """Instances stored or being stored that the index does not show yet."""
        return self._waiting.total() + self._writing.total()

    def mark(self) -> int:
        """Everything in folders below this number is indexed."""
        floors = [self.current_batch(), *self._writing, *self._waiting]
        for floor in (self.unrecovered_from, self._unsettled_from):
            if floor is not None:
                floors.append(floor)
        return min(floors)

    @property
    def may_be_behind(self) -> bool:
        """Whether something may have been answered somewhere that is not indexed yet."""
        others = self.others is not None and bool(self.others.others)
        return others or self.page.behind(self.page.watermark())

    def hasten(self) -> None:
        """A query waits: do not linger over the present batch."""
        self.hurry.set()


async def wait_until_indexed(progress: IndexProgress, *, within_s: float) -> bool:
    """Wait until all that had been answered by now is indexed: by any worker of this node, and by other nodes that are alive.

    returns: False if this node takes too long; one that does not answer is waited for once, and not for long
    """
    others = progress.others
    asked = others.ask() if others is not None else None
    indexed = await wait_until_indexed_here(progress, within_s=within_s)
    if others is not None and asked is not None:
        await others.answered(asked)
    return indexed


async def wait_until_indexed_here(progress: IndexProgress, *, within_s: float) -> bool:
    """Wait until all that any worker of this node had answered by now is indexed; False if that takes too long."""
    page = progress.page
    mark = page.watermark()
    if not page.behind(mark):
        return True
    progress.hasten()
    pause_s = 0.001
    with trio.move_on_after(within_s):
        while page.behind(mark):
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.01)
        return True
    return False
