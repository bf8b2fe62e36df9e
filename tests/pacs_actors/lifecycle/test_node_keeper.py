"""What a node does with objects of its own that the index has let go while another node was at work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from pacs_actors.archive import object_removals
from pacs_actors.archive.metadata_files import MetadataFiles
from pacs_actors.lifecycle.node_cache import NodeCache
from pacs_actors.lifecycle.node_keeper import NodeKeeper
from tests.pacs_actors.archive.objects.helpers import data_set, put
from tests.pacs_actors.lifecycle.moving import Archive, open_archive

UID = "1.2.3.1"


class Elsewhere:
    """The copy that there is of the instance's object on the other node, as a key here."""

    def __init__(self) -> None:
        self.key: str | None = None

    async def compared(self, sop_instance_uid: str) -> str | None:
        assert sop_instance_uid == UID
        return self.key


class Node:
    """A keeper, and an object of ours under the UID of an instance."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.elsewhere = archive, Elsewhere()
        store = archive.online
        cache = NodeCache(archive.root, 10**6, store.threads, store.free_bytes)
        metadata = MetadataFiles(archive.root / "metadata", 10**6)
        self.keeper = NodeKeeper(store, archive.database, cache, self.elsewhere, metadata)

    async def begin(self, *, compare: bool) -> str:
        """The key of an object that is to be removed."""
        await self.archive.store(UID)
        held = await self.archive.held(UID)

        async def note(connection: asyncpg.Connection) -> None:
            await object_removals.note(connection, held.key, UID, held.digest, compare=compare)

        await self.archive.database.run(note)
        return held.key

    async def moved_to_another_node(self) -> None:
        await self.archive.sql(
            "UPDATE instances SET object_key = '100/00000000/00000000', slot = 100, batch = 0"
        )

    async def deleted(self) -> None:
        await self.archive.sql("DELETE FROM instances")

    async def left(self) -> int:
        [[count]] = await self.archive.sql("SELECT count(*) FROM object_removals")
        return int(count)


@pytest.fixture
async def node(tmp_path: Path, dsn: str) -> AsyncIterator[Node]:
    async with open_archive(tmp_path, dsn) as archive:
        yield Node(archive)


@pytest.mark.parametrize("compare", [False, True])
async def test_what_an_instance_has_all_the_same_stays(node: Node, compare: bool) -> None:
    key = await node.begin(compare=compare)
    await node.keeper.remove()
    assert await node.archive.online.exists(key) and not await node.left()


async def test_what_was_let_go_is_removed(node: Node) -> None:
    key = await node.begin(compare=False)
    await node.archive.sql("UPDATE instances SET availability = 'NEARLINE'")
    await node.keeper.remove()
    assert not await node.archive.online.exists(key) and not await node.left()


async def test_of_what_was_deleted_meanwhile_nothing_is_left_to_compare_with(node: Node) -> None:
    key = await node.begin(compare=True)
    await node.deleted()
    await node.keeper.remove()
    assert not await node.archive.online.exists(key) and not await node.left()


async def test_what_was_stored_on_another_node_again_goes_once_it_is_proven_to_be_the_same(
    node: Node,
) -> None:
    key = await node.begin(compare=True)
    await node.moved_to_another_node()
    await node.keeper.remove()
    assert await node.archive.online.exists(key) and await node.left() == 1, "there is no copy yet"
    store = node.archive.online
    node.elsewhere.key = (await put(store, UID, data_set(UID))).stored.key
    await node.keeper.remove()
    assert not await store.exists(key) and not await node.left() and node.keeper.removed == 1
    assert await store.exists(node.elsewhere.key)


async def test_what_differs_from_the_other_nodes_is_kept_aside(node: Node) -> None:
    key = await node.begin(compare=True)
    await node.moved_to_another_node()
    await node.archive.store("1.2.3.2")
    node.elsewhere.key = (await node.archive.held("1.2.3.2")).key
    await node.keeper.remove()
    assert not await node.archive.online.exists(key) and not await node.left()
    assert len(list((node.archive.root / "data" / "quarantine" / "conflict").iterdir())) == 1
