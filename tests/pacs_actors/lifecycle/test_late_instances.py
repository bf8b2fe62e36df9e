"""What comes to a study that has left already, in each order of arriving, copying and leaving: none goes that is nowhere else,
and none is forgotten where it was only to be for a while.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import pytest

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.deleting import Target
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.lifecycle.policies import Rule
from pacs_actors.lifecycle.policy_book import PolicyBook
from pacs_actors.lifecycle.storage_figures import PlaceFigures, StorageFigures
from protocols.dataset.record import IndexEntry
from protocols.messages.audit import Actor
from tests.pacs_actors.archive.objects.helpers import EXPLICIT_LE, data_set, put, scan
from tests.pacs_actors.lifecycle.moving import NEAR, STUDY, Archive, open_archive

EARLY, LATE = ("1.2.3.1", "1.2.3.2"), "1.2.3.3"
COPY, REMOVE = Rule(action="copy", to_store=NEAR), Rule(action="remove", from_store="online")
MOVE = Rule(action="move", from_store="online", to_store=NEAR)
NOW = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
async def archive(tmp_path: Path, dsn: str) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path, dsn) as archive:
        yield archive


async def names(archive: Archive, rule: Rule) -> bool:
    """Whether a policy with this rule has something to do."""
    return (await PolicyBook(archive.database).preview(rule, NOW, 10, EVERYTHING)).studies == 1


async def run(archive: Archive, rule: Rule) -> None:
    """As a policy would, if it names the study."""
    if await names(archive, rule):
        assert (await archive.moved(rule.from_store, rule.to_store)).state == "done"


async def online(archive: Archive) -> list[str]:
    rows = await archive.sql(
        "SELECT sop_instance_uid FROM instances WHERE availability = 'ONLINE' ORDER BY 1"
    )
    return [row[0] for row in rows]


async def none_is_lost(archive: Archive) -> None:
    for [uid] in await archive.sql("SELECT sop_instance_uid FROM instances"):
        held = await archive.held(uid)
        there = held.online and await archive.online.verify(held.key)
        assert there or await archive.carrier.is_good(held, NEAR), uid


async def places(archive: Archive) -> dict[str, PlaceFigures]:
    figures = await StorageFigures(archive.database, archive.root, 0).read()
    return {one.store: one for one in figures.places}


@pytest.mark.parametrize("order", list(permutations(("arrive", "copy", "remove"))))
async def test_in_whatever_order_it_arrives_is_copied_and_removed(
    archive: Archive, order: tuple[str, ...]
) -> None:
    await archive.store(*EARLY)
    await archive.moved("online", NEAR)
    for step in order:
        match step:
            case "arrive":
                await archive.store(LATE)
            case "copy":
                await run(archive, COPY)
            case _:
                await run(archive, REMOVE)
        await none_is_lost(archive)
    assert await online(archive) == [LATE] or order == ("arrive", "copy", "remove")
    for rule in (COPY, REMOVE):
        await run(archive, rule)
        await none_is_lost(archive)
    assert await online(archive) == []
    assert not await names(archive, COPY) and not await names(archive, REMOVE)
    assert not await names(archive, MOVE)


async def test_what_only_a_copy_policy_copied_is_moved_by_a_policy_that_moves(archive: Archive) -> None:
    await archive.store(*EARLY)
    await archive.moved("online", NEAR)
    await archive.store(LATE)
    await run(archive, COPY)
    assert await online(archive) == [LATE]
    await run(archive, MOVE)
    assert await online(archive) == [] and not await names(archive, MOVE)


async def test_what_is_sent_again_after_it_left_is_a_cached_copy(archive: Archive) -> None:
    await archive.store(*EARLY)
    await archive.moved("online", NEAR)
    held = await archive.held(EARLY[0])
    again = await put(
        archive.online, EARLY[0], data_set(EARLY[0]),
        lambda data, complete: scan(data, transfer_syntax_uid=EXPLICIT_LE, complete=complete),
    )  # fmt: skip
    await Catalogue(archive.database).heal(IndexEntry(again.checked, again.stored), held.key)
    assert await online(archive) == [EARLY[0]]
    await run(archive, REMOVE)
    assert await online(archive) == []
    await none_is_lost(archive)


async def test_what_comes_back_while_its_study_is_leaving_is_still_a_cached_copy(archive: Archive) -> None:
    await archive.store(*EARLY)
    await archive.moved("online", NEAR)
    await archive.moved("", "online")
    held = [await archive.held(uid) for uid in EARLY]
    await archive.copies.take_offline(held, "NEARLINE", [NEAR], 0)
    await archive.online.remove(*(one.key for one in held))
    await archive.carrier.bring_in(await archive.held(EARLY[0]))  # its page is done; the move is not
    await archive.copies.released(STUDY)
    assert await online(archive) == [EARLY[0]] and await names(archive, REMOVE)
    await run(archive, REMOVE)
    assert await online(archive) == [] and not await names(archive, REMOVE)


async def test_after_a_deletion_and_its_undoing_a_study_is_where_it_was(archive: Archive) -> None:
    """Without a copy of its own, which nobody would make of what has one."""
    await archive.store(*EARLY, LATE)
    await archive.moved("online", NEAR)
    [(series,)] = await archive.sql("SELECT series_instance_uid FROM series")
    deletions, by = Deletions(archive.database), Actor("who", "test")
    held = await archive.held(LATE)
    deleted = await deletions.delete(Target(STUDY, series, LATE), EVERYTHING, by, undo_s=60)
    assert deleted is not None
    assert await archive.sql("SELECT instances FROM study_copies") == [(2,)]
    assert not await names(archive, COPY)
    undone = await deletions.undo(deleted.id, by, own_only=False)
    assert undone is not None
    back = await archive.carrier.restore(LATE, held.digest, held.size_bytes)
    assert back is not None
    again = await put(
        archive.online, LATE, data_set(LATE),
        lambda data, complete: scan(data, transfer_syntax_uid=EXPLICIT_LE, complete=complete),
    )  # fmt: skip
    await Catalogue(archive.database).index_batch([IndexEntry(again.checked, again.stored)])
    await deletions.undone(deleted.id)
    assert await archive.sql("SELECT instances FROM study_copies") == [(3,)]
    await run(archive, REMOVE)
    assert await online(archive) == []
    await none_is_lost(archive)


async def test_figures_count_what_is_there_of_a_study_that_has_grown(archive: Archive) -> None:
    await archive.store(*EARLY)
    await archive.moved("online", NEAR)
    before = await places(archive)
    assert (before["online"].instances, before[NEAR].studies, before[NEAR].instances) == (0, 1, 2)
    await archive.store(LATE)
    grown = await places(archive)
    assert (grown["online"].studies, grown["online"].instances) == (0, 1)
    assert grown["online"].size_bytes == (await archive.held(LATE)).size_bytes
    assert (grown[NEAR].studies, grown[NEAR].instances) == (0, 2)
    assert grown[NEAR].size_bytes == before[NEAR].size_bytes
    await run(archive, COPY)
    copied = await places(archive)
    assert (copied["online"].instances, copied[NEAR].studies, copied[NEAR].instances) == (1, 1, 3)
    await run(archive, REMOVE)
    assert (await places(archive))["online"].instances == 0


async def test_figures_count_what_a_copy_under_way_has_brought(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.store(*EARLY)
    await archive.order("", NEAR)
    move = await archive.taken()
    held = await archive.held(EARLY[0])
    await archive.copies.add(NEAR, [(held, await archive.carrier.copy_out(STUDY, held, NEAR, "plain"))])
    there = (await places(archive))[NEAR]
    assert (there.studies, there.instances) == (0, 1)
    await archive.mover.serve(move)
    there = (await places(archive))[NEAR]
    assert (there.studies, there.instances) == (1, 2)
