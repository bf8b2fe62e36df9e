"""Whatever happens beside a move, and between two of its steps: no instance is left without a copy that is good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from pacs_actors.archive.deleting import Target
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.lifecycle import tier_mover
from pacs_actors.lifecycle.carrier import NoGoodCopy
from protocols.errors import Unavailable
from protocols.messages.audit import Actor
from tests.pacs_actors.lifecycle.moving import FAR, NEAR, STUDY, Archive, damage, open_archive

UIDS = ("1.2.3.1", "1.2.3.2", "1.2.3.3")


@pytest.fixture
async def archive(tmp_path: Path, dsn: str) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path, dsn) as archive:
        yield archive


async def test_what_was_recalled_counts_as_cached_until_it_is_released(archive: Archive) -> None:
    await archive.store(*UIDS)
    recalled = f"SELECT recalled_at IS NOT NULL FROM study_storage WHERE study_instance_uid = '{STUDY}'"
    assert (await archive.moved("online", NEAR)).state == "done"
    assert (True,) not in await archive.sql(recalled)
    assert (await archive.moved("", "online")).state == "done"
    assert await archive.sql(recalled) == [(True,)]
    assert (await archive.moved("online", "")).state == "done"
    assert await archive.sql(recalled) == [(False,)]


async def test_a_database_that_goes_away_in_the_middle_of_a_copy_crashes_no_mover(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease cannot be renewed, and what has arrived cannot be noted: two failures at once."""
    await archive.store(*UIDS)
    await archive.order("online", NEAR)
    move = await archive.taken()
    copying, renewals = trio.Event(), 0
    real_copy, real_progress = archive.carrier.copy_out, archive.moves.progress

    async def copy(*arguments: Any) -> Any:
        if copying.is_set():
            await trio.sleep_forever()
        copying.set()
        return await real_copy(*arguments)

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("PostgreSQL: away")

    async def progress(*arguments: Any, **named: Any) -> bool:
        nonlocal renewals
        renewals += 1
        return await (away() if renewals > 1 else real_progress(*arguments, **named))

    monkeypatch.setattr(tier_mover, "_RENEW_S", 0.01)
    monkeypatch.setattr(archive.carrier, "copy_out", copy)
    monkeypatch.setattr(archive.moves, "progress", progress)
    monkeypatch.setattr(archive.copies, "add", away)
    with trio.fail_after(60):
        await archive.mover.serve(move)
    assert "away" in (await archive.last()).problem


async def delete(archive: Archive) -> None:
    deletions = Deletions(archive.database)
    assert await deletions.delete(Target(STUDY), EVERYTHING, Actor("who", "test"), undo_s=60)


# -- what two do at once ----------------------------------------------------------------------------------------------------------
async def test_an_object_and_its_only_copy_are_never_let_go_both(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("", NEAR)
    held = [await archive.held(uid) for uid in UIDS]
    assert await archive.copies.take_offline(held[:1], "NEARLINE", [NEAR], 0) == [held[0].key]
    assert await archive.copies.forget(NEAR, held[:1]) == 0, "it is nowhere else any more"
    assert await archive.copies.forget(NEAR, held[1:2]) == 1
    assert await archive.copies.take_offline(held[1:2], "NEARLINE", [NEAR], 0) == []
    assert await archive.copies.take_offline(held[2:], "NEARLINE", [FAR], 0) == [], "not there"


async def test_a_copy_that_is_being_removed_is_neither_put_nor_noted(archive: Archive) -> None:
    await archive.store(UIDS[0])
    await archive.moved("", NEAR)
    [path] = archive.copies_in(NEAR)
    await archive.copies.forget(NEAR, [await archive.held(UIDS[0])])
    keys = await archive.copies.removals.claim(NEAR, 10)
    assert len(keys) == 1 and await archive.copies.removals.claim(NEAR, 10) == [], "nobody else removes it"
    assert "being removed" in (await archive.moved("", NEAR)).problem
    path.unlink()
    await archive.copies.removals.removed(NEAR, keys)
    await archive.sql("UPDATE tier_moves SET due_at = now()")
    await archive.mover.serve(await archive.taken())
    assert archive.copies_in(NEAR) == [path] and NEAR in (await archive.held(UIDS[0])).copies


async def test_a_copy_that_was_removed_before_it_could_be_noted_does_not_count(archive: Archive) -> None:
    await archive.store(UIDS[0])
    held = await archive.held(UIDS[0])
    copy = await archive.carrier.copy_out(STUDY, held, NEAR, "plain")
    await archive.sql("UPDATE copy_removals SET since = now() - interval '1 s'")
    assert await archive.mover.remove_forgotten() == 1
    with pytest.raises(Unavailable):
        await archive.copies.add(NEAR, [(held, copy)])
    assert archive.copies_in(NEAR) == [] and not (await archive.held(UIDS[0])).copies


async def test_what_is_in_the_book_is_not_removed_though_it_was_announced_once_more(archive: Archive) -> None:
    await archive.store(UIDS[0])
    held = await archive.held(UIDS[0])
    await archive.moved("", NEAR)
    await archive.carrier.copy_out(STUDY, held, NEAR, "plain")  # and then it crashed
    await archive.sql("UPDATE copy_removals SET since = now() - interval '1 s'")
    assert await archive.mover.remove_forgotten() == 0
    assert len(archive.copies_in(NEAR)) == 1 and await archive.sql("SELECT FROM copy_removals") == []


async def test_a_copy_in_another_form_takes_the_place_of_the_first(archive: Archive) -> None:
    await archive.store(UIDS[0])
    held = await archive.held(UIDS[0])
    copies = [await archive.carrier.copy_out(STUDY, held, NEAR, form) for form in ("plain", "zstd")]
    for copy in copies:
        await archive.copies.add(NEAR, [(held, copy)])
    assert await archive.mover.remove_forgotten() == 1
    assert [path.suffix for path in archive.copies_in(NEAR)] == [".zst"]


async def test_of_what_was_deleted_while_it_was_copied_no_copy_is_kept(archive: Archive) -> None:
    await archive.store(UIDS[0])
    held = await archive.held(UIDS[0])
    copy = await archive.carrier.copy_out(STUDY, held, NEAR, "plain")
    await delete(archive)
    with pytest.raises(Unavailable):
        await archive.copies.add(NEAR, [(held, copy)])
    assert await archive.mover.remove_forgotten() == 1
    assert archive.copies_in(NEAR) == []


async def test_an_erased_object_keeps_its_copies_while_a_later_deletion_of_it_can_be_undone(
    archive: Archive,
) -> None:
    await archive.store(UIDS[0])
    await archive.moved("", NEAR)
    held = await archive.held(UIDS[0])
    await delete(archive)
    assert await archive.copies.forget_erased([(held.sop_instance_uid, held.digest)]) == 0
    await archive.sql("UPDATE deletions SET state = 'erasing'")
    assert await archive.copies.forget_erased([(held.sop_instance_uid, held.digest)]) == 1


async def test_what_comes_while_its_study_is_moved_is_moved_too(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.store(UIDS[1])
    real = archive.copies.complete

    async def complete(study: str, store: str) -> bool:
        if not await archive.sql("SELECT FROM instances WHERE sop_instance_uid = $1", UIDS[0]):
            await archive.store(UIDS[0])  # behind the mover, which goes by UID
        return await real(study, store)

    monkeypatch.setattr(archive.copies, "complete", complete)
    move = await archive.moved("online", NEAR)
    assert move.state == "waiting" and "changed" in move.problem
    await archive.sql("UPDATE tier_moves SET due_at = now()")
    await archive.mover.serve(await archive.taken())
    assert (await archive.last()).state == "done"
    assert [(await archive.held(uid)).availability for uid in UIDS[:2]] == ["NEARLINE"] * 2


async def test_a_study_that_is_deleted_while_it_is_moved_is_no_failure(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.store(*UIDS)

    async def copy(*_: Any) -> Any:
        held = await archive.held(UIDS[0])
        await delete(archive)
        raise NoGoodCopy(held.sop_instance_uid, "it was moved aside")

    with monkeypatch.context() as patched:
        patched.setattr(archive.carrier, "copy_out", copy)
        archive.mover.at_once = 1
        assert (await archive.moved("online", NEAR)).state == "waiting"
    await archive.sql("UPDATE tier_moves SET due_at = now()")
    await archive.mover.serve(await archive.taken())
    assert (await archive.last()).state == "done"


async def test_what_is_left_of_a_study_is_as_near_as_it_is(archive: Archive) -> None:
    """After a deletion; and what comes again is not taken for what was copied."""
    await archive.store(*UIDS)
    await archive.moved("", NEAR)
    held = await archive.held(UIDS[0])
    await archive.copies.take_offline([held], "NEARLINE", [NEAR], 0)
    availability = "SELECT availability FROM studies UNION ALL SELECT availability FROM series"
    assert await archive.sql(availability) == [("NEARLINE",)] * 2
    [(series,)] = await archive.sql("SELECT series_instance_uid FROM series")
    deletions = Deletions(archive.database)
    assert await deletions.delete(Target(STUDY, series, UIDS[0]), EVERYTHING, Actor("who", "test"), undo_s=60)
    assert await archive.sql(availability) == [("ONLINE",)] * 2
    assert await archive.sql("SELECT instances FROM study_copies") == [(2,)]


# -- damage -----------------------------------------------------------------------------------------------------------------------
async def test_the_last_copy_stays_where_it_is_though_it_cannot_be_read(archive: Archive) -> None:
    """Perhaps only the way to it was bad."""
    await archive.store(UIDS[0])
    await archive.moved("online", NEAR)
    [path] = archive.copies_in(NEAR)
    damage(path)
    assert (await archive.moved("", "online")).state == "failed"
    assert await archive.mover.remove_forgotten() == 0
    damage(path)  # as it was
    assert (await archive.moved("", "online")).state == "done"


async def test_the_last_copy_stays_though_the_index_believes_in_an_object_online(archive: Archive) -> None:
    await archive.store(UIDS[0])
    await archive.moved("", NEAR)
    held = await archive.held(UIDS[0])
    await archive.online.remove(held.key)
    [path] = archive.copies_in(NEAR)
    damage(path)
    with pytest.raises(NoGoodCopy):
        await archive.carrier.bring_in(held)
    assert await archive.mover.remove_forgotten() == 0
    damage(path)
    assert await archive.online.verify(await archive.carrier.bring_in(held))


async def test_an_object_leaves_only_where_its_copy_is_good_now(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("", NEAR)
    damage(archive.copies_in(NEAR)[0])
    move = await archive.moved("online", "")
    assert move.state == "failed" and "no other verified copy" in move.problem
    for uid in UIDS:
        held = await archive.held(uid)
        assert NEAR in held.copies or await archive.online.verify(held.key)
    assert await archive.sql("SELECT FROM study_copies") == [], "not all of it is there any more"
    assert (await archive.moved("online", NEAR)).state == "done"
    assert (await archive.moved("", "online")).state == "done"
    assert [await archive.online.verify((await archive.held(uid)).key) for uid in UIDS] == [True] * 3


async def test_a_copy_is_made_of_another_where_the_object_online_is_damaged(archive: Archive) -> None:
    await archive.store(UIDS[0])
    await archive.moved("", NEAR)
    await archive.online.remove((await archive.held(UIDS[0])).key)
    assert (await archive.moved("", FAR)).state == "done"
    assert archive.copies_in(FAR)[0].read_bytes() == archive.copies_in(NEAR)[0].read_bytes()


async def test_what_lies_in_a_store_that_the_settings_lack_is_not_lost(archive: Archive) -> None:
    await archive.store(UIDS[0])
    await archive.moved("online", NEAR)
    away = archive.stores.pop(NEAR)
    assert "not in the settings" in (await archive.moved("", "online")).problem
    archive.stores[NEAR] = away
    await archive.sql("UPDATE tier_moves SET due_at = now()")
    await archive.mover.serve(await archive.taken())
    assert (await archive.last()).state == "done"
