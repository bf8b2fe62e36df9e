"""Copies in tier stores are read once a cycle; one that is not good is told, and replaced where another is good."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import trio

from config.integrity import IntegritySettings
from pacs_actors.lifecycle.copy_checks import CopyChecks
from pacs_actors.lifecycle.copy_scrubber import CopyScrubber
from pacs_actors.lifecycle.integrity_book import IntegrityBook
from pacs_actors.lifecycle.stores.errors import StoreUnavailable
from pacs_actors.lifecycle.stores.interface import StoredCopy
from tests.pacs_actors.lifecycle.moving import FAR, NEAR, Archive, damage, open_archive

UIDS = ("1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3")
QUICK = IntegritySettings(copies_cycle_days=30, copies_rate_mb_s=1000)


@pytest.fixture
async def archive(tmp_path: Path, dsn: str) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path, dsn) as archive:
        await archive.store(*UIDS)
        yield archive


def scrubber(archive: Archive, settings: IntegritySettings = QUICK) -> CopyScrubber:
    database = archive.database
    return CopyScrubber(
        settings, archive.carrier, archive.copies, CopyChecks(database), IntegrityBook(database)
    )


async def are_due(archive: Archive, age: timedelta = timedelta(days=31)) -> None:
    await archive.sql("UPDATE object_copies SET checked_at = now() - $1::interval", age)


async def findings(archive: Archive) -> list[tuple[str, str, str, str]]:
    rows = await archive.sql(
        "SELECT kind, split_part(subject, ' ', 1), sop_instance_uid, settled FROM integrity_findings ORDER BY id"
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def test_what_is_due_is_read_once_a_cycle(archive: Archive) -> None:
    await archive.moved("", NEAR)
    one = scrubber(archive)
    assert not await one.round(NEAR) and one.looked_at == 0
    await are_due(archive)
    await one.round(NEAR)
    assert (one.looked_at, one.found) == (3, 0)
    await one.round(NEAR)
    assert one.looked_at == 3
    assert await findings(archive) == []


async def test_without_a_cycle_nothing_is_read(archive: Archive) -> None:
    await archive.moved("", NEAR)
    await are_due(archive)
    one = scrubber(archive, IntegritySettings(copies_cycle_days=0))
    assert not await one.round(NEAR) and one.looked_at == 0


@pytest.mark.parametrize("where", [0, 200, -1], ids=["preamble", "header", "pixels"])
async def test_a_flipped_byte_is_found_and_the_copy_made_again_from_the_object(
    archive: Archive, where: int
) -> None:
    await archive.moved("", NEAR)
    copy = archive.copies_in(NEAR)[0]
    was = bytearray(copy.read_bytes())
    spoilt = bytearray(was)
    spoilt[where] ^= 1
    copy.write_bytes(spoilt)
    await are_due(archive)
    one = scrubber(archive)
    await one.round(NEAR)
    assert one.found == 1
    assert [(kind, store, settled) for kind, store, _, settled in await findings(archive)] == [
        ("corrupt", NEAR, "healed")
    ]
    assert copy.read_bytes() == was
    rows = await archive.sql("SELECT instances FROM study_copies WHERE store = $1", NEAR)
    assert rows == [(3,)]
    await archive.mover.remove_forgotten()
    assert copy.read_bytes() == was, "the copy that took its place is not removed with it"


async def test_a_copy_of_what_is_not_online_is_healed_from_another_store(archive: Archive) -> None:
    await archive.moved("", FAR)
    await archive.moved("online", NEAR)
    archive.copies_in(FAR)[0].unlink()
    await are_due(archive)
    one = scrubber(archive)
    await one.round(FAR)
    assert one.found == 1
    assert [found[0::3] for found in await findings(archive)] == [("lost", "healed")]
    assert len(archive.copies_in(FAR)) == 3


async def test_the_last_copy_stays_as_it_is_and_the_finding_until_it_is_good(archive: Archive) -> None:
    await archive.moved("online", NEAR)
    copy = archive.copies_in(NEAR)[0]
    was = copy.read_bytes()
    damage(copy)
    spoilt = copy.read_bytes()
    await are_due(archive)
    one = scrubber(archive)
    await one.round(NEAR)
    [(kind, _, uid, settled)] = await findings(archive)
    assert (kind, settled) == ("corrupt", "")
    assert copy.read_bytes() == spoilt and NEAR in (await archive.held(uid)).copies
    assert await IntegrityBook(archive.database).unmoved() == [], "nothing of it is in the online store"
    await are_due(archive)
    await one.round(NEAR)
    assert len(await findings(archive)) == 1
    copy.write_bytes(was)
    await are_due(archive)
    await one.round(NEAR)
    assert [found[3] for found in await findings(archive)] == ["healed"]


async def test_a_damaged_copy_keeps_no_other_from_its_turn(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs_actors.lifecycle.copy_scrubber._AT_ONCE", 1)
    await archive.moved("online", NEAR)
    for copy in archive.copies_in(NEAR)[:2]:
        damage(copy)
    await are_due(archive)
    one = scrubber(archive)
    for _ in range(3):
        assert await one.round(NEAR)
    assert (one.looked_at, one.found) == (3, 2)


async def test_a_copy_that_its_disk_does_not_give_is_told_and_keeps_no_other_from_its_turn(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.moved("", NEAR)
    bad = archive.copies_in(NEAR)[0]
    store = archive.stores[NEAR]
    verify = store.verify

    async def verified(copy: StoredCopy) -> bool:
        if copy.key.endswith(bad.name):
            raise StoreUnavailable(NEAR, "Input/output error")
        return bool(await verify(copy))

    monkeypatch.setattr(store, "verify", verified)
    await are_due(archive)
    one = scrubber(archive)
    await one.round(NEAR)
    assert (one.looked_at, one.found) == (3, 1)
    assert [found[0::3] for found in await findings(archive)] == [("unreadable", "")]
    assert bad.exists()
    assert await archive.sql("SELECT count(*) FROM object_copies") == [(3,)]
    monkeypatch.undo()
    await are_due(archive)
    await one.round(NEAR)
    assert [found[0::3] for found in await findings(archive)] == [("unreadable", "healed")]


async def test_a_copy_stays_while_nobody_can_tell_whether_the_object_is_good(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.moved("", NEAR)
    damage(archive.copies_in(NEAR)[0])

    async def verified(_: str) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(archive.online, "verify", verified)
    await are_due(archive)
    one = scrubber(archive)
    await one.round(NEAR)
    assert (one.looked_at, one.found) == (3, 1)
    assert [found[0::3] for found in await findings(archive)] == [("corrupt", "")]
    assert len(archive.copies_in(NEAR)) == 3


async def test_its_turn_lasts_as_long_as_it_reads(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs_actors.lifecycle.copy_scrubber.LEASE_S", 0.3)
    monkeypatch.setattr("pacs_actors.lifecycle.copy_scrubber.trio.sleep_until", wait_for_ever)
    await archive.moved("", NEAR)
    await are_due(archive)
    one = scrubber(archive)
    until = "SELECT leased_until FROM copy_checks"
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.round, NEAR)
            while not (first := await archive.sql(until)):
                await trio.sleep(0.01)
            while await archive.sql(until) == first:
                await trio.sleep(0.01)
            await archive.sql(
                "UPDATE copy_checks SET lease = 'another', leased_until = now() + interval '400 s'"
            )
            # The round ends by itself: another worker has its turn.
    assert one.looked_at == 1


async def wait_for_ever(_: float) -> None:
    await trio.sleep_forever()


async def test_a_finding_of_what_was_deleted_since_is_settled(archive: Archive) -> None:
    await archive.moved("online", NEAR)
    damage(archive.copies_in(NEAR)[0])
    await are_due(archive)
    one = scrubber(archive)
    await one.round(NEAR)
    [(_, _, uid, _)] = await findings(archive)
    await archive.sql("DELETE FROM instances WHERE sop_instance_uid = $1", uid)
    await one.round(NEAR)
    assert [found[3] for found in await findings(archive)] == ["deleted"]


async def test_one_worker_at_a_time_reads_a_store_until_it_is_gone(archive: Archive) -> None:
    await archive.moved("", NEAR)
    await are_due(archive)
    first, second = scrubber(archive), scrubber(archive)
    await first.round(NEAR)
    await are_due(archive)
    assert not await second.round(NEAR) and second.looked_at == 0
    await archive.sql("UPDATE copy_checks SET leased_until = now() - interval '1 second'")
    await second.round(NEAR)
    assert second.looked_at == 3
    await archive.sql(
        "UPDATE copy_checks SET leased_until = now() + interval '10 years'"
    )  # a clock that was set back
    await are_due(archive)
    await first.round(NEAR)
    assert first.looked_at == 6


async def test_a_store_that_is_away_damages_nothing(archive: Archive) -> None:
    await archive.moved("online", NEAR)
    await are_due(archive)
    (archive.root / NEAR).rename(archive.root / "gone")
    one = scrubber(archive)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        with trio.fail_after(20):
            while not await archive.sql(
                "SELECT FROM copy_checks WHERE store = $1", FAR
            ):  # it goes on with the next
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    (archive.root / "gone").rename(archive.root / NEAR)
    assert await findings(archive) == []
    await one.round(NEAR)
    assert one.looked_at == 3


async def test_what_is_read_is_limited(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def wait(until: float) -> None:
        waited.append(until - trio.current_time())

    await archive.moved("", NEAR)
    await are_due(archive)
    size = archive.copies_in(NEAR)[0].stat().st_size
    one = scrubber(archive, IntegritySettings(copies_cycle_days=30, copies_rate_mb_s=size / 1_000_000 / 1000))
    monkeypatch.setattr("pacs_actors.lifecycle.copy_scrubber.trio.sleep_until", wait)
    await one.round(NEAR)
    assert len(waited) == 3
    assert all(900 < seconds <= 1001 for seconds in waited), "a thousand seconds for each, less what it took"
