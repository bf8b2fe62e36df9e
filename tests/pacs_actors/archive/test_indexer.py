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
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.node_page import NodePage
from protocols.dataset.record import IndexEntry, ScannedInstance, StoredObject
from protocols.errors import OutOfResources
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
        self.quarantined: list[tuple[str, bool]] = []
        self.healed: list[tuple[str, str]] = []
        self.holder = "0/00000000/first.dcm"

    async def index_batch(
        self, entries: Sequence[IndexEntry], mark: tuple[int, int] | None = None
    ) -> list[Outcome]:
        await trio.lowlevel.checkpoint()
        return [Outcome(OutcomeKind.DUPLICATE, first_key="0/00000000/first.dcm")] * len(entries)

    async def quarantine(
        self, entry: IndexEntry, key: str, found: Outcome, address: str = "", *, first_lost: bool = False
    ) -> None:
        self.quarantined.append((key, first_lost))

    async def heal(self, entry: IndexEntry, first_key: str, address: str = "") -> str:
        if self.holder == first_key:
            self.holder = entry.stored.key
            self.healed.append((first_key, self.holder))
        return self.holder


class BadDisk(NotingStore):
    """bad: what becomes of reading an object: False: it is damaged; an error"""

    def __init__(self, **bad: Exception | bool) -> None:
        super().__init__()
        self.bad = bad
        self.removed: list[str] = []

    def _read(self, key: str) -> bool:
        error = self.bad.get(key.rsplit("/", 1)[1].removesuffix(".dcm").replace(".", "_"), True)
        if isinstance(error, Exception):
            raise error
        return error

    async def same(self, first: str, second: str) -> bool:
        try:
            return self._read(first) and self._read(second)
        except ObjectMissing:
            return False

    async def verify(self, key: str) -> bool:
        return self._read(key)

    async def exists(self, key: str) -> bool:
        try:
            self._read(key)
        except ObjectMissing:
            return False
        return True

    async def quarantine(self, key: str, why: str) -> str:
        if isinstance(self.bad.get("first"), ObjectMissing) and "first" in key:
            raise ObjectMissing(key)
        return await super().quarantine(key, why)

    async def remove(self, key: str) -> None:
        self.removed.append(key)


EIO = OSError(5, "Input/output error")
FIRST, FRESH, OTHER = (f"0/00000000/{name}.dcm" for name in ("first", "1.2.3.1", "1.2.3.2"))


async def settle(catalogue: PickyCatalogue, store: BadDisk, *uids: str) -> Indexer:
    """Index these instances, which the catalogue takes for copies."""
    page = NodePage.create(1)
    page.slot = 0
    progress = IndexProgress(page, lambda: 0)
    mailbox: Mailbox[IndexMessage] = Mailbox("index", 100)
    indexer = Indexer(
        IndexSettings(), cast("Catalogue", catalogue), cast("LocalObjectStore", store), progress, mailbox
    )
    for uid in uids:
        progress.stored(f"0/00000000/{uid}.dcm", 1000)
        await mailbox.tell(IndexInstance(entry(uid)))
    mailbox.close()
    await indexer.run()
    assert progress.backlog == 0
    return indexer


@pytest.mark.parametrize("lost", [EIO, False, ObjectMissing(FIRST)], ids=["unreadable", "damaged", "missing"])
async def test_a_first_copy_that_is_lost_gives_its_place_to_the_second(lost: Exception | bool) -> None:
    catalogue, store = DuplicateCatalogue(), BadDisk(first=lost)
    indexer = await settle(catalogue, store, "1.2.3.1")
    assert catalogue.healed == [(FIRST, FRESH)]
    assert store.removed == []
    missing = isinstance(lost, ObjectMissing)
    assert store.set_aside == ([] if missing else [(FIRST, "damaged")]), "what is left of it is kept"
    assert (indexer.healed, indexer.duplicates, indexer.conflicts) == (1, 0, 0)


async def test_a_second_copy_in_the_same_batch_is_a_copy_of_the_one_that_healed() -> None:
    catalogue, store = DuplicateCatalogue(), BadDisk(first=ObjectMissing(FIRST))
    indexer = await settle(catalogue, store, "1.2.3.1", "1.2.3.2")
    assert catalogue.healed == [(FIRST, FRESH)]
    assert store.removed == [OTHER]
    assert (indexer.healed, indexer.duplicates) == (1, 1)


async def test_a_copy_that_is_damaged_itself_heals_nothing() -> None:
    catalogue, store = DuplicateCatalogue(), BadDisk(first=EIO, **{"1_2_3_1": False})
    await settle(catalogue, store, "1.2.3.1")
    assert catalogue.healed == []
    assert store.set_aside == [(FRESH, "conflict")]
    assert catalogue.quarantined == [(FRESH, True)]


class ReadOnlyDisk(BadDisk):
    async def remove(self, key: str) -> None:
        raise OutOfResources("the object store is read-only")


async def test_mark_stays_below_a_recovered_copy_that_cannot_be_removed() -> None:
    """Else no start would ever look at it again."""
    page = NodePage.create(1)
    page.slot = 0
    progress = IndexProgress(page, lambda: 7)
    mailbox: Mailbox[IndexMessage] = Mailbox("index", 100)
    indexer = Indexer(
        IndexSettings(),
        cast("Catalogue", DuplicateCatalogue()),
        cast("LocalObjectStore", ReadOnlyDisk()),
        progress,
        mailbox,
    )
    await mailbox.tell(IndexInstance(entry("1.2.3.1"), recovered=True))
    mailbox.close()
    await indexer.run()
    assert progress.mark() == 0


class CollidingDisk(BadDisk):
    async def same(self, first: str, second: str) -> bool:
        return False


async def test_equal_digests_of_different_bytes_are_a_conflict() -> None:
    catalogue, store = DuplicateCatalogue(), CollidingDisk()
    await settle(catalogue, store, "1.2.3.1")
    assert catalogue.healed == []
    assert catalogue.quarantined == [(FRESH, False)]
