"""A node that is gone for good: what it had comes from copies, what nobody has is named, and it cannot come back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import trio

from pacs_actors.archive import object_removals
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.deleting import Target
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.lifecycle import node_forgetting
from pacs_actors.lifecycle.backup import changes
from pacs_actors.lifecycle.moves import ONLINE, REHOMING
from pacs_actors.lifecycle.node_forgetting import CannotForget
from pacs_actors.lifecycle.replicator_book import ReplicatorBook
from pacs_actors.nodes import Nodes, NumberForgotten, adopt
from protocols.errors import Unavailable
from protocols.messages.audit import Actor
from tests.pacs_actors.lifecycle.moving import FAR, NEAR, STUDY, Archive, open_archive

SOMEBODY = Actor("somebody", "command")
UIDS = ("1.2.3.1", "1.2.3.2", "1.2.3.3")
GONE = 7


@pytest.fixture
async def archive(tmp_path: Path, dsn: str) -> AsyncIterator[Archive]:
    """Three instances on node 7, which is gone, and node 0, which is there: of the first a copy is near, of the second far."""
    async with open_archive(tmp_path, dsn) as archive:
        await archive.store(*UIDS)
        await archive.moved("", NEAR)
        await archive.moved("", FAR)
        await archive.sql(
            "DELETE FROM object_copies WHERE store = $1 AND sop_instance_uid <> $2", NEAR, UIDS[0]
        )
        await archive.sql(
            "DELETE FROM object_copies WHERE store = $1 AND sop_instance_uid <> $2", FAR, UIDS[1]
        )
        await archive.sql(
            "UPDATE instances SET slot = 700, object_key = '700' || substr(object_key, strpos(object_key, '/'))"
        )
        await archive.sql(
            "INSERT INTO archive_nodes (node, folder, seen_at) VALUES (0, 'aa', now()), (7, 'bb', now() - interval '1 hour')"
        )
        yield archive


async def forget(archive: Archive, *, rehome: bool = True) -> tuple[int, list[str]]:
    async def unit(connection: asyncpg.Connection) -> tuple[int, list[str]]:
        assert await node_forgetting.begin(connection, GONE, SOMEBODY) == 0
        copied, lost = 0, list[str]()
        async for some in node_forgetting.settle(connection, GONE, [NEAR], rehome=rehome):
            copied += some.copied
            lost += some.lost
        return copied, lost

    return await archive.database.run(unit)


async def states(archive: Archive) -> list[str]:
    rows = await archive.sql("SELECT availability FROM instances ORDER BY sop_instance_uid")
    return [row[0] for row in rows]


@pytest.mark.parametrize("rehome", [True, False])
async def test_what_has_a_copy_is_had_from_it_and_what_has_none_is_named(
    archive: Archive, rehome: bool
) -> None:
    for copied in (2, 0):  # whoever was interrupted begins again
        assert await forget(archive, rehome=rehome) == (copied, [UIDS[2]])
        assert await states(archive) == ["NEARLINE", "OFFLINE", "UNAVAILABLE"]
    assert await archive.sql("SELECT availability FROM studies") == [("UNAVAILABLE",)]
    assert await archive.sql("SELECT kind, sop_instance_uid, node FROM integrity_findings") == [
        ("lost", UIDS[2], GONE)
    ]
    moves = await archive.sql(
        "SELECT study_instance_uid, to_store, why FROM tier_moves WHERE state = 'waiting'"
    )
    assert moves == ([(STUDY, ONLINE, REHOMING)] if rehome else [])
    told = await archive.sql("SELECT who, details ->> 'node' FROM audit_events WHERE event = 'storage_asked'")
    assert told == [("somebody", "7")]


async def test_what_comes_back_to_another_node_stays_there(archive: Archive) -> None:
    await archive.sql("DELETE FROM instances WHERE sop_instance_uid = $1", UIDS[2])
    await forget(archive)
    await archive.mover.serve(await archive.taken())
    assert (await archive.last()).state == "done" and await states(archive) == ["ONLINE", "ONLINE"]
    for uid in UIDS[:2]:
        assert await archive.online.verify((await archive.held(uid)).key)
    assert await archive.sql("SELECT recalled_at FROM study_storage") == [(None,)], "nobody has recalled it"


async def test_nobody_waits_for_copies_that_it_was_to_make(archive: Archive) -> None:
    book = ReplicatorBook(archive.database)
    await forget(archive)
    for slot in (0, 700):  # it was cut off, and has not heard of it yet
        await book.stretch(slot, NEAR, 1)
        await book.note_lag(slot, NEAR, "")
    assert [lag.slot for lag in await book.lags()] == [0]


async def test_nobody_is_asked_to_remove_what_went_with_its_node(archive: Archive) -> None:
    await forget(archive)
    key = (await archive.held(UIDS[2])).key

    async def note(connection: asyncpg.Connection) -> None:
        await object_removals.note(connection, key, UIDS[2], b"x" * 16, compare=True)
        await object_removals.note(connection, key.replace("700/", "800/"), UIDS[2], b"x" * 16)

    await archive.database.run(note)
    assert await archive.sql("SELECT slot FROM object_removals") == [(800,)]


async def test_a_node_that_is_alive_or_alone_or_unknown_is_not_forgotten(archive: Archive) -> None:
    await archive.sql("UPDATE archive_nodes SET seen_at = now()")
    with pytest.raises(CannotForget, match="alive"):
        await forget(archive)
    await archive.sql("UPDATE archive_nodes SET seen_at = now() - interval '1 hour'")
    await archive.sql("DELETE FROM archive_nodes WHERE node = 0")
    with pytest.raises(CannotForget, match="the only one"):
        await forget(archive)
    await archive.sql("DELETE FROM archive_nodes")
    with pytest.raises(CannotForget, match="no node"):
        await forget(archive)
    assert await states(archive) == ["ONLINE"] * 3


async def test_a_node_that_comes_back_after_it_was_forgotten_indexes_nothing(archive: Archive) -> None:
    nodes, catalogue = Nodes(archive.database), Catalogue(archive.database)
    await catalogue.set_mark(700, 5)
    assert await nodes.seen(GONE)
    await archive.sql("UPDATE archive_nodes SET seen_at = now() - interval '1 hour' WHERE node = 7")
    await forget(archive)
    assert not await nodes.seen(GONE) and [one.node for one in await nodes.listed()] == [0]
    with pytest.raises(Unavailable):
        await catalogue.index_batch([], mark=(700, 6))
    with pytest.raises(Unavailable):
        await catalogue.set_mark(700, 6)
    await catalogue.set_mark(800, 6)
    for folder in ("bb", "cc"):  # neither the old folder nor an empty one
        with pytest.raises(NumberForgotten, match="was forgotten"):
            await nodes.claim(GONE, folder)


async def test_what_its_indexer_had_under_way_when_it_was_forgotten_is_not_overlooked(
    archive: Archive,
) -> None:
    late = (await archive.held(UIDS[2])).key
    await archive.sql(
        "UPDATE instances SET slot = 0, object_key = replace(object_key, '700/', '0/') WHERE sop_instance_uid = $1", UIDS[2]
    )  # fmt: skip
    begun = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def index(connection: asyncpg.Connection) -> None:
        """As long as somebody waits for us, or until they have looked at the others without that."""
        async with connection.transaction():
            await connection.execute(
                "UPDATE instances SET slot = 700, object_key = $2 WHERE sop_instance_uid = $1", UIDS[2], late
            )
            await connection.execute("INSERT INTO ingest_mark (slot, batch) VALUES (700, 9)")
            token.run_sync_soon(begun.set)
            async with asyncio.timeout(30):
                while not await connection.fetchval(
                    """SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'ingest_mark'::regclass AND NOT granted)
                    OR NOT EXISTS (SELECT FROM instances WHERE sop_instance_uid <> $1 AND availability = 'ONLINE')""",
                    UIDS[2],
                ):
                    await asyncio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(archive.database.run, index)
        await begun.wait()
        assert await forget(archive) == (2, [UIDS[2]])
    assert await states(archive) == ["NEARLINE", "OFFLINE", "UNAVAILABLE"]


async def test_a_folder_that_is_whole_after_all_is_adopted_with_what_it_has(archive: Archive) -> None:
    await forget(archive)
    assert await archive.database.run(lambda connection: adopt(connection, GONE, "bb")) is None
    assert await states(archive) == ["NEARLINE", "OFFLINE", "ONLINE"]
    assert await archive.sql("SELECT count(*) FROM integrity_findings WHERE settled_at IS NULL") == [(0,)]
    assert await archive.sql("SELECT forgotten_at, successor FROM archive_nodes WHERE node = 7") == [
        (None, None)
    ]


async def test_no_backup_builds_on_one_that_was_made_without_what_an_adopted_folder_has(
    archive: Archive,
) -> None:
    await forget(archive)
    backed_up = await archive.database.run(changes.before)
    assert backed_up.changes_from >= backed_up.floor
    await archive.database.run(lambda connection: adopt(connection, GONE, "bb"))
    then = await archive.database.run(changes.before)
    assert backed_up.changes_from < then.floor <= then.changes_from
    await archive.database.run(lambda connection: adopt(connection, GONE, "bb"))
    again = await archive.database.run(changes.before)
    assert again.floor == then.floor, "nothing more has come back"


async def test_its_part_of_deletions_is_done_by_another_node(archive: Archive) -> None:
    deletions = Deletions(archive.database)
    made = await deletions.delete(Target(STUDY), EVERYTHING, SOMEBODY, undo_s=3600)
    assert made is not None
    assert await deletions.take(10, 0) is None, "the objects are on the other node"
    await forget(archive)

    async def named(connection: asyncpg.Connection) -> list[str]:
        return await node_forgetting.lost_deletions(connection, GONE)

    assert await archive.database.run(named) == [UIDS[2]]
    due = await deletions.take(10, 0)
    assert due is not None and due.id == made.id
    assert len(await deletions.objects(due.id, "", 10, 0)) == 3
    await deletions.set_aside(due.id, 0)
    assert await archive.sql("SELECT aside, nodes_left FROM deletions") == [(True, [0])]
