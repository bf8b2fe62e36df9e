"""What a replicator copies, how far behind it says it is, and what a crash, a dead store or a bad object leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.lifecycle import replicator
from pacs_actors.lifecycle.replicator import Replicator
from pacs_actors.lifecycle.replicator_book import Lag, ReplicatorBook
from tests.pacs_actors.lifecycle.moving import NEAR, Archive, damage, open_archive

UIDS = tuple(f"1.2.3.{n}" for n in range(1, 8))


@pytest.fixture
async def archive(tmp_path: Path, dsn: str) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path, dsn) as archive:
        yield archive


async def indexed(archive: Archive, *uids: str) -> None:
    """Stored, and the mark is where an indexer would have put it."""
    await archive.store(*uids)
    await Catalogue(archive.database).set_mark(archive.online.slot, archive.online.current_batch())


@asynccontextmanager
async def replicating(archive: Archive) -> AsyncIterator[Replicator]:
    one = Replicator(
        archive.carrier, archive.copies, ReplicatorBook(archive.database), archive.carrier.progress,
        [archive.online.slot], [NEAR], at_once=2,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        yield one
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.01)


async def lag(archive: Archive) -> Lag:
    [found] = await ReplicatorBook(archive.database).lags()
    return found


async def until_lag(archive: Archive, is_right: Callable[[Lag], object]) -> None:
    with trio.fail_after(20):
        while not (found := await ReplicatorBook(archive.database).lags()) or not is_right(found[0]):
            await trio.sleep(0.02)


async def test_everything_gets_a_copy_once_however_often_it_is_begun(archive: Archive) -> None:
    await indexed(archive, *UIDS)
    async with replicating(archive) as first:
        await until(lambda: first.copied == len(UIDS))
        await until_lag(archive, lambda one: (one.waiting, one.oldest, one.problem) == (0, None, ""))
        assert len(archive.copies_in(NEAR)) == len(UIDS)
    async with replicating(archive) as second:
        await indexed(archive, "1.2.3.9")
        archive.carrier.progress.page.count_indexed(1)
        await until(lambda: second.copied == 1)
    assert (first.copied, first.failed, second.failed) == (len(UIDS), 0, 0)


async def test_a_store_that_is_away_is_told_with_the_lag_and_gets_its_copies_when_it_is_back(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator, "_COUNT_EVERY_S", 0.0)
    near, gone = archive.root / NEAR, archive.root / "gone"
    near.rename(gone)
    await indexed(archive, *UIDS)
    async with replicating(archive) as one:
        await until_lag(archive, lambda found: found.waiting == len(UIDS) and bool(found.problem))
        assert (await lag(archive)).oldest is not None
        assert one.counters()["replication_waiting"] == len(UIDS)
        gone.rename(near)
        await until_lag(archive, lambda found: (found.waiting, found.problem) == (0, ""))
    assert len(archive.copies_in(NEAR)) == len(UIDS)


async def test_an_object_that_is_damaged_holds_up_none_of_the_others_and_is_not_forgotten(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator, "_MOST", 2)
    monkeypatch.setattr(replicator, "_COUNT_EVERY_S", 0.0)
    await indexed(archive, *UIDS)
    path = archive.root / "data" / "objects"
    held = await archive.held(UIDS[0])
    [victim] = [one for one in path.rglob("*.dcm") if one.name == held.key.rpartition("/")[2]]
    whole = victim.read_bytes()
    damage(victim)
    async with replicating(archive) as one:
        await until(lambda: one.copied == len(UIDS) - 1)
        await until_lag(archive, lambda found: found.waiting == 1 and found.problem)
        assert one.failed == 1, "not again at once"
    victim.write_bytes(whole)
    async with replicating(archive) as again:
        await until(lambda: again.copied == 1)


async def test_a_copy_that_is_lost_is_made_again(archive: Archive) -> None:
    await indexed(archive, *UIDS)
    async with replicating(archive) as first:
        await until(lambda: first.copied == len(UIDS))
    archive.copies_in(NEAR)[0].unlink()
    for uid in UIDS:
        held = await archive.held(uid)
        await archive.carrier.is_good(held, NEAR)  # as a read or a scrub of the store would find out
    assert len(archive.copies_in(NEAR)) == len(UIDS) - 1
    async with replicating(archive) as again:
        await until(lambda: len(archive.copies_in(NEAR)) == len(UIDS))
        assert again.failed == 0


async def test_the_cursor_stays_below_what_is_not_indexed_yet(archive: Archive) -> None:
    await indexed(archive, *UIDS[:3])
    batch = archive.online.current_batch()
    async with replicating(archive) as one:
        await until(lambda: one.copied == 3)
        await archive.store(*UIDS[3:])  # into the folder of the mark
        archive.carrier.progress.page.count_indexed(4)
        await until(lambda: one.copied == len(UIDS))
    assert await archive.sql("SELECT batch FROM replication WHERE NOT patrol") == [(batch,)]
