"""Backups of a store and an index without a server: what is in them, what a restore makes of it, and what it costs."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest
import trio

from config.settings import DatabaseSettings, StorageSettings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.deleting import Target
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import quarantine_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup import changes
from pacs_actors.lifecycle.backup.chain import NoChain, chain_to
from pacs_actors.lifecycle.backup.creating import Order, create
from pacs_actors.lifecycle.backup.frames import Broken
from pacs_actors.lifecycle.backup.manifest import Kind, Manifest
from pacs_actors.lifecycle.backup.places import FolderPlace
from pacs_actors.lifecycle.backup.restoring import Restored, free_folder, restore
from pacs_actors.lifecycle.backup.sealing import BackupKey
from pacs_actors.lifecycle.backup.verifying import shelf, verify
from protocols.dataset.record import IndexEntry, ScannedInstance
from protocols.dataset.scan import scan as header_scan
from protocols.errors import ConfigError, Unavailable
from protocols.messages.audit import Actor
from supervisors.backup_index import DumpedIndex, IndexRestorer
from supervisors.cli import main
from tests.pacs_actors.archive.conftest import dsn, migrated
from tests.pacs_actors.archive.objects.helpers import EXPLICIT_LE, data_set, put
from tests.pacs_actors.conftest import postgres
from tests.postgres_fixture import Server
from tests.stored_objects import FILES, SEGMENTS

__all__ = ["dsn", "migrated", "postgres"]
T = TypeVar("T")
ME = Actor("somebody", "session")
SMALL, LARGE = 3000, 1_500_000


def scan(data: memoryview, complete: bool) -> ScannedInstance:
    return header_scan(data, EXPLICIT_LE, complete=complete)


class HookedIndex(DumpedIndex):
    """PostgreSQL's own pg_dump; ``then`` runs right after the copy is complete."""

    then: Callable[[], Awaitable[None]] | None = None

    async def copy(self, onto: bytes | None, take: Callable[[Iterator[bytes]], T]) -> T:
        taken = await super().copy(onto, take)
        if self.then is not None:
            await self.then()
        return taken


class Watched:
    """The store as a backup sees it. looked: folders that were listed"""

    def __init__(self, store: LocalObjectStore) -> None:
        self.store = store
        self.looked: list[tuple[int, int]] = []

    def is_own(self, slot: int) -> bool:
        return True

    def slots(self) -> list[int]:
        return self.store.slots()

    def batches(self, slot: int, at_least: int = 0) -> list[int]:
        return self.store.batches(slot, at_least)

    def keys(self, slot: int, batch: int) -> list[str]:
        self.looked.append((slot, batch))
        return self.store.keys(slot, batch)

    def open(self, key: str) -> ObjectFile:
        return self.store.open(key)


class World:
    """An archive with one worker, its index, and a place for backups."""

    def __init__(self, folder: Path, store: LocalObjectStore, database: Database, index: HookedIndex) -> None:
        self.folder, self.store, self.database, self.index = folder, store, database, index
        self.catalogue, self.deletions = Catalogue(database), Deletions(database)
        self.place = FolderPlace(folder / "backups", make=True)
        self.key: BackupKey | None = None
        self.watched = Watched(store)
        self.restored = 0

    async def put(self, uid: str, size: int = SMALL, *, indexed: bool = True) -> str:
        """Store an instance; its key."""
        done = await put(self.store, uid, data_set(uid, size), scan)
        if indexed:
            entry = IndexEntry(done.checked, done.stored)
            await self.catalogue.index_batch([entry], (self.store.slot, self.store.current_batch()))
        return done.stored.key

    async def delete(self, uid: str) -> int:
        found = await self.deletions.delete(Target("1.2.3", "1.2.3.4", uid), EVERYTHING, ME, undo_s=1000)
        assert found is not None
        return found.id

    async def erase(self, number: int, key: str) -> None:
        await self.store.remove(quarantine_key(key, "deleted"))

        async def unit(connection: asyncpg.Connection[asyncpg.Record]) -> None:
            await connection.execute("UPDATE deletions SET state = 'erasing' WHERE id = $1", number)

        await self.database.run(unit)
        await self.deletions.erased(type("Due", (), {"id": number})())  # type: ignore[arg-type]

    async def back_up(self, kind: Kind = "full") -> Manifest:
        self.watched.looked.clear()
        order = Order(kind, self.folder / "data", "0")
        return await create(order, self.watched, self.index, self.database, self.place, self.key)

    async def bring_back(self, server: Server, backup: Manifest | None = None) -> tuple[Path, Restored]:
        """Restore into a new folder and an empty database."""
        self.restored += 1
        known = shelf(self.place).backups
        members = chain_to(backup or known[-1], known)
        target = free_folder(self.folder / f"restored-{self.restored}")
        settings = DatabaseSettings(url=server.create_database(), connections=2)
        restorer = IndexRestorer(settings)
        done = await restore(members, self.place, self.key, target, restorer, settings, "me")
        return target, done

    def content(self, key: str, root: Path | None = None) -> bytes:
        file = (self.store if root is None else LocalObjectStore(root, 0, self.store.settings)).open(key)
        try:
            return os.pread(file.fd, file.size_bytes, file.start)
        finally:
            os.close(file.fd)

    def lies(self, root: Path) -> set[str]:
        """Keys of everything in a restored folder, in quarantine or not."""
        store = LocalObjectStore(root, 0, self.store.settings)
        found = {
            key for slot in store.slots() for batch in store.batches(slot) for key in store.keys(slot, batch)
        }
        aside = (root / "quarantine").rglob("*.dcm") if (root / "quarantine").exists() else ()
        return found | {str(path.relative_to(root)) for path in aside}


@asynccontextmanager
async def opened(folder: Path, dsn: str, layout: str) -> AsyncIterator[World]:
    settings = StorageSettings(layout=layout, reserve_bytes=0, buffers=4, writer_threads=2)
    async with (
        LocalObjectStore(folder / "data", 0, settings) as store,
        Database(dsn, DatabaseSettings(connections=2)) as database,
    ):
        yield World(folder, store, database, await HookedIndex.of(dsn))


@pytest.fixture
async def world(tmp_path: Path, dsn: str) -> AsyncIterator[World]:
    async with opened(tmp_path, dsn, FILES) as world:
        yield world


@pytest.mark.parametrize("layout", [FILES, SEGMENTS])
async def test_objects_come_back_byte_by_byte_under_their_keys(
    tmp_path: Path, dsn: str, postgres: Server, layout: str
) -> None:
    async with opened(tmp_path, dsn, layout) as world:
        keys = [await world.put("1.2.3.4.1"), await world.put("1.2.3.4.2", LARGE)]
        await world.back_up()
        keys.append(await world.put("1.2.3.4.3"))
        assert (await world.back_up("incremental")).objects == 1
        root, done = await world.bring_back(postgres)
        assert (done.objects, done.instances) == (3, 3)
        assert world.lies(root) == set(keys)
        for key in keys:
            assert world.content(key, root) == world.content(key)
        async with LocalObjectStore(root, 0, world.store.settings) as store:
            assert all([await store.verify(key) for key in keys])
            assert store.current_batch() > world.store.current_batch()


async def test_an_incremental_looks_at_no_folder_that_is_closed(world: World) -> None:
    """However many there are: its cost grows with what is new."""
    for number in range(4):
        await world.put(f"1.2.3.4.{number}")
        world.store._folders._open = None  # the next object begins a folder
    full = await world.back_up()
    assert len(world.watched.looked) == 4
    key = await world.put("1.2.3.4.9")
    made = await world.back_up("incremental")
    assert (made.objects, made.parent) == (1, full.id)
    assert world.watched.looked == [(0, 3), (0, 4)]
    assert int(key.split("/")[1], 16) == 4
    assert (await world.back_up("incremental")).objects == 0
    assert (await world.back_up("differential")).objects == 1


async def test_what_is_not_indexed_yet_is_in_the_backup(world: World, postgres: Server) -> None:
    await world.put("1.2.3.4.1")
    key = await world.put("1.2.3.4.2", indexed=False)
    await world.back_up()
    root, done = await world.bring_back(postgres)
    assert (done.objects, done.instances) == (2, 1)
    assert key in world.lies(root)


async def test_what_is_deleted_comes_back_as_deleted_and_what_is_erased_does_not(
    world: World, postgres: Server
) -> None:
    keys = [await world.put(f"1.2.3.4.{number}") for number in range(4)]
    await world.back_up()
    deleted, erased = await world.delete("1.2.3.4.0"), await world.delete("1.2.3.4.1")
    await world.store.set_aside(keys[0], keys[1])
    await world.erase(erased, keys[1])
    made = await world.back_up("incremental")
    assert made.objects == 0, "what is deleted is in the full backup already"
    root, done = await world.bring_back(postgres)
    assert world.lies(root) == {keys[2], keys[3], quarantine_key(keys[0], "deleted")}
    assert (done.deleted, done.instances) == (1, 2)
    await world.erase(deleted, keys[0])
    await world.back_up("incremental")
    root, _ = await world.bring_back(postgres)
    assert world.lies(root) == {keys[2], keys[3]}


async def test_what_came_and_was_deleted_between_two_backups_can_be_undone_after_a_restore(
    world: World, postgres: Server
) -> None:
    await world.put("1.2.3.4.0")
    await world.back_up()
    key = await world.put("1.2.3.4.1")
    before = world.content(key)
    await world.delete("1.2.3.4.1")
    await world.store.set_aside(key)
    await world.back_up("incremental")
    root, _ = await world.bring_back(postgres)
    aside = quarantine_key(key, "deleted")
    assert world.content(aside, root) == before


async def test_a_deletion_between_index_and_objects_leaves_no_row_without_its_object(
    world: World, postgres: Server
) -> None:
    """The copy of the index does not know of it: there the object is where it was."""
    keys = [await world.put("1.2.3.4.0"), await world.put("1.2.3.4.1")]

    async def delete() -> None:
        await world.delete("1.2.3.4.1")
        await world.store.set_aside(keys[1])

    world.index.then = delete
    await world.back_up()
    root, done = await world.bring_back(postgres)
    assert world.lies(root) == set(keys)
    assert (done.deleted, done.instances) == (0, 2)
    world.index.then = None
    await world.back_up("incremental")
    root, done = await world.bring_back(postgres)
    assert world.lies(root) == {keys[0], quarantine_key(keys[1], "deleted")}


async def test_a_copy_that_was_dropped_is_not_brought_back(world: World, postgres: Server) -> None:
    """It was there when the first backup was made, because it had not been indexed yet."""
    kept = await world.put("1.2.3.4.1")
    dropped = await world.put("1.2.3.4.1", indexed=False)
    first = await world.back_up()
    await world.store.remove(dropped)
    assert (await world.back_up("incremental")).gone == 1
    root, _ = await world.bring_back(postgres)
    assert world.lies(root) == {kept}
    root, _ = await world.bring_back(postgres, first)
    assert world.lies(root) == {kept, dropped}, "as it was then: recovery settles it again"


async def test_an_object_that_another_one_replaced_is_not_brought_back(
    world: World, postgres: Server
) -> None:
    old, new = await world.put("1.2.3.4.1"), await world.put("1.2.3.4.1", indexed=False)
    await world.back_up()

    async def unit(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        await connection.execute("UPDATE instances SET object_key = $1", new)

    await world.database.run(unit)
    await world.back_up("incremental")
    root, _ = await world.bring_back(postgres)
    assert world.lies(root) == {new}
    assert old != new


async def test_an_object_that_is_damaged_already_is_named_and_copied_as_it_is(
    world: World, postgres: Server
) -> None:
    key = await world.put("1.2.3.4.1")
    path = next((world.folder / "data" / "objects").rglob("*.dcm"))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    made = await world.back_up()
    assert made.damaged == ("1.2.3.4.1",)
    assert verify(world.place, made, None) == []
    root, _ = await world.bring_back(postgres)
    assert world.content(key, root) == bytes(content)


async def test_a_flipped_byte_is_found_with_its_uid_and_never_restored(
    world: World, postgres: Server
) -> None:
    for number in range(3):
        await world.put(f"1.2.3.4.{number}", LARGE)
    made = await world.back_up()
    container = world.folder / "backups" / made.id / "objects-00001"
    whole = container.read_bytes()
    for at, uid in ((100, "1.2.3.4.0"), (len(whole) - 100, "1.2.3.4.2")):
        flipped = bytearray(whole)
        flipped[at] ^= 4
        container.write_bytes(flipped)
        found = verify(world.place, made, None)
        assert len({one.uid for one in found}) == 1
        named = found[0].uid
        with pytest.raises(Broken, match=named):
            await world.bring_back(postgres)
        assert not list(world.folder.glob("*restored*")), "nothing is left of it"
        assert named.startswith(uid[:-1])
    container.write_bytes(whole)
    assert verify(world.place, made, None) == []


async def test_a_flipped_byte_anywhere_in_a_backup_is_found(world: World) -> None:
    await world.put("1.2.3.4.1")
    made = await world.back_up()
    for file in sorted((world.folder / "backups" / made.id).iterdir()):
        if file.name == "verified":
            continue
        whole = file.read_bytes()
        for at in {0, 8, 20, 60, len(whole) // 2, len(whole) - 2}:
            flipped = bytearray(whole)
            flipped[at] ^= 0x20
            file.write_bytes(flipped)
            assert verify(world.place, made, None), f"{file.name} at {at}"
        file.write_bytes(whole)
    assert verify(world.place, made, None) == []


async def test_an_encrypted_backup_tells_nothing_and_wants_its_key(world: World, postgres: Server) -> None:
    world.key = BackupKey(b"k" * 32)
    key = await world.put("1.2.3.4.1")
    made = await world.back_up()
    for file in (world.folder / "backups" / made.id).iterdir():
        assert not any(word in file.read_bytes() for word in (b"DICM", b"1.2.3.4.1", b"pacs", b"P1\0"))
    root, _ = await world.bring_back(postgres)
    assert world.content(key, root) == world.content(key)
    with pytest.raises(ConfigError, match="not the key"):
        verify(world.place, made, BackupKey(b"o" * 32))
    world.key = BackupKey(b"o" * 32)
    with pytest.raises(ConfigError, match="not the key"):
        await world.back_up("incremental")
    world.key = None
    with pytest.raises(NoChain, match="encrypted"):
        await world.back_up("incremental")


async def test_a_restore_goes_to_a_new_folder_only(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for wrong in ("full", "full/file", "link"):
        with pytest.raises(ConfigError, match=r"server\.data"):
            free_folder(tmp_path / wrong)
    (tmp_path / "empty").mkdir()
    assert free_folder(tmp_path / "empty") == tmp_path / "empty"


async def test_a_restored_archive_begins_a_chain_of_its_own(world: World, postgres: Server) -> None:
    """It is another one from here on, even if it backs up to the same place."""
    await world.put("1.2.3.4.1")
    await world.back_up()
    root, _ = await world.bring_back(postgres)
    order = Order("incremental", root, "0")
    with pytest.raises(NoChain, match="--full"):
        await create(order, world.watched, world.index, world.database, world.place, None)


async def test_an_archive_older_than_its_backup_begins_anew(world: World) -> None:
    """A disk that was brought back by other means: its folders' numbers are given once more, to other objects."""
    await world.put("1.2.3.4.1")
    full = await world.back_up()
    newer = {**full.newest, "0": 99}
    world.watched.batches = lambda slot, at_least=0: []  # type: ignore[method-assign]
    assert newer
    with pytest.raises(NoChain, match="older"):
        await world.back_up("incremental")


async def test_changes_that_are_forgotten_are_not_built_upon(world: World) -> None:
    await world.put("1.2.3.4.1")
    await world.back_up()

    async def unit(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        await connection.execute(
            "INSERT INTO object_changes (object_key, at) VALUES ('0/00000000/00000000', now() - interval '2 years')"
        )
        await changes.forget(connection)

    await world.database.run(unit)
    with pytest.raises(NoChain, match="too old"):
        await world.back_up("incremental")


async def test_a_backup_that_fails_leaves_nothing(world: World) -> None:
    await world.put("1.2.3.4.1")

    async def fail() -> None:
        raise Unavailable("the disk is gone")

    world.index.then = fail
    with pytest.raises(Unavailable, match="the disk is gone"):
        await world.back_up()
    assert world.place.ids() == []


async def test_a_backup_that_is_cancelled_leaves_nothing(world: World) -> None:
    await world.put("1.2.3.4.1")
    with trio.CancelScope() as scope:

        async def cancel() -> None:
            scope.cancel()

        world.index.then = cancel
        await world.back_up()
    assert scope.cancelled_caught
    assert world.place.ids() == []


async def test_what_a_crash_left_is_no_backup_and_the_next_one_removes_it(world: World) -> None:
    await world.put("1.2.3.4.1")
    made = await world.back_up()
    (world.folder / "backups" / made.id / "manifest").unlink()
    assert shelf(world.place).backups == []
    second = await world.back_up()
    assert world.place.ids() == [second.id]


async def test_a_backup_whose_manifest_is_damaged_is_told_and_never_removed_as_a_leftover(
    world: World,
) -> None:
    await world.put("1.2.3.4.1")
    made = await world.back_up()
    (world.folder / "backups" / made.id / "manifest").write_bytes(b"{}")
    assert list(shelf(world.place).broken) == [made.id]
    await world.back_up()
    assert made.id in world.place.ids()


async def test_a_gap_in_a_chain_is_told_and_the_next_backup_does_not_build_on_it(
    world: World, postgres: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.put("1.2.3.4.1")
    await world.back_up()
    gap = await world.back_up("incremental")
    key = await world.put("1.2.3.4.2")
    lost = await world.back_up("incremental")
    world.place.remove(gap.id)
    for command in (["list"], ["verify", "--all"]):
        arguments = ["backup", *command, "--from", world.place.name]
        assert await trio.to_thread.run_sync(main, arguments) == 1
        assert f"{gap.id}, which {lost.id} builds on, is not there" in capsys.readouterr().out
    assert await trio.to_thread.run_sync(main, ["backup", "list", "--json", "--from", world.place.name]) == 1
    assert list(json.loads(capsys.readouterr().out)["broken"]) == [lost.id]
    root, _ = await world.bring_back(postgres, await world.back_up("incremental"))
    assert world.content(key, root) == world.content(key)
