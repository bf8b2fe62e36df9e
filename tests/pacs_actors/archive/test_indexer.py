"""The indexer: what it does with an instance that crashes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import trio
import trio.testing

from config.settings import IndexSettings
from pacs_actors.archive.catalogue import Catalogue, Outcome, OutcomeKind
from pacs_actors.archive.indexer import Indexer
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.node_page import NodePage
from protocols.dataset.record import IndexEntry, ScannedInstance, StoredObject
from protocols.messages.archive import FlushIndex, IndexInstance, IndexMessage
from supervisors.supervisor import Child, RestartLimit, keep_alive

POISON = "1.2.3.666"


class PickyCatalogue:
    """Indexes everything but one instance, on which it fails as a bug of ours would."""

    def __init__(self) -> None:
        self.indexed: list[str] = []

    async def index_batch(
        self, entries: Sequence[IndexEntry], mark: tuple[int, int] | None = None
    ) -> list[Outcome]:
        await trio.lowlevel.checkpoint()
        uids = [entry.scanned.sop_instance_uid for entry in entries]
        if POISON in uids:
            raise ValueError("a bug")
        self.indexed += uids
        return [Outcome(OutcomeKind.INDEXED)] * len(entries)


class NotingStore:
    slot = 0

    def __init__(self) -> None:
        self.set_aside: list[tuple[str, str]] = []

    async def quarantine(self, key: str, why: str) -> str:
        self.set_aside.append((key, why))
        return key


def entry(uid: str) -> IndexEntry:
    scanned = ScannedInstance("1.2", uid, "1.2.3", "1.2.3.1", "1.2.840.10008.1.2.1", "", {})
    return IndexEntry(scanned, StoredObject(f"0/00000000/{uid}.dcm", 1000, 400, bytes(16), 0, "CT1"))


async def test_one_instance_that_crashes_it_is_set_aside_and_the_others_are_indexed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    page = NodePage.create(1)
    page.slot = 0
    page.set_recovered()
    catalogue, store = PickyCatalogue(), NotingStore()
    progress = IndexProgress(page, lambda: 0)
    mailbox: Mailbox[IndexMessage] = Mailbox("index", 100)
    indexer = Indexer(
        IndexSettings(), cast("Catalogue", catalogue), cast("LocalObjectStore", store), progress, mailbox
    )
    child = Child("indexer", indexer.run)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive, child, RestartLimit())
        for uid in ("1.2.3.1", POISON, "1.2.3.2"):
            progress.stored(f"0/00000000/{uid}.dcm", 1000)
            page.count_answered()
            await mailbox.tell(IndexInstance(entry(uid)))
        mark = page.watermark()
        await mailbox.ask(FlushIndex(), within_s=30)
        await mailbox.tell(IndexInstance(entry("1.2.3.3"), recovered=True))
        await mailbox.ask(FlushIndex(), within_s=30)
        mailbox.close()
    assert sorted(catalogue.indexed) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert store.set_aside == [(f"0/00000000/{POISON}.dcm", "unindexable")]
    assert child.vitals.crashes == 2
    assert not page.behind(mark)
    assert progress.backlog == 0
    assert indexer.conflicts == 1


async def test_a_batch_that_crashed_it_by_chance_is_indexed_the_next_time() -> None:
    page = NodePage.create(1)
    page.slot = 0
    catalogue, store = PickyCatalogue(), NotingStore()
    progress = IndexProgress(page, lambda: 0)
    mailbox: Mailbox[IndexMessage] = Mailbox("index", 100)
    indexer = Indexer(
        IndexSettings(), cast("Catalogue", catalogue), cast("LocalObjectStore", store), progress, mailbox
    )
    for uid in ("1.2.3.1", "1.2.3.2"):
        progress.stored(f"0/00000000/{uid}.dcm", 1000)
        await mailbox.tell(IndexInstance(entry(uid)))
    mailbox.close()
    honest, catalogue.index_batch = catalogue.index_batch, _bug  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="passing"):
        await indexer.run()
    catalogue.index_batch = honest  # type: ignore[method-assign]
    await indexer.run()
    assert sorted(catalogue.indexed) == ["1.2.3.1", "1.2.3.2"]
    assert store.set_aside == []


async def _bug(entries: Sequence[IndexEntry], mark: tuple[int, int] | None = None) -> list[Outcome]:
    await trio.lowlevel.checkpoint()
    raise ValueError("a passing bug")


class DuplicateCatalogue(PickyCatalogue):
    """Knows every instance already, with equal bytes, under another key."""

    def __init__(self) -> None:
        super().__init__()
        self.quarantined: list[str] = []

    async def index_batch(
        self, entries: Sequence[IndexEntry], mark: tuple[int, int] | None = None
    ) -> list[Outcome]:
        await trio.lowlevel.checkpoint()
        return [Outcome(OutcomeKind.DUPLICATE, first_key="0/00000000/first.dcm")] * len(entries)

    async def quarantine(self, entry: IndexEntry, key: str, found: Outcome, address: str = "") -> None:
        self.quarantined.append(key)


class UnreadableStore(NotingStore):
    async def same(self, first: str, second: str) -> bool:
        raise OSError(5, "Input/output error")

    async def remove(self, key: str) -> None:
        raise AssertionError("the only readable copy")


async def test_a_first_copy_that_cannot_be_read_costs_neither_the_second_nor_the_indexer() -> None:
    page = NodePage.create(1)
    page.slot = 0
    catalogue, store = DuplicateCatalogue(), UnreadableStore()
    progress = IndexProgress(page, lambda: 0)
    mailbox: Mailbox[IndexMessage] = Mailbox("index", 100)
    indexer = Indexer(
        IndexSettings(), cast("Catalogue", catalogue), cast("LocalObjectStore", store), progress, mailbox
    )
    progress.stored("0/00000000/1.2.3.1.dcm", 1000)
    await mailbox.tell(IndexInstance(entry("1.2.3.1")))
    mailbox.close()
    await indexer.run()
    assert store.set_aside == [("0/00000000/1.2.3.1.dcm", "conflict")]
    assert catalogue.quarantined == ["0/00000000/1.2.3.1.dcm"]
    assert progress.backlog == 0
