"""Packed objects on their way out of the archive and back: at no moment is there less than one complete object."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from pacs_actors.archive.objects.keys import ObjectMissing, place_of, quarantine_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.objects.reading import is_intact
from pacs_actors.archive.objects.records import remains, walk
from protocols.dataset.part10 import read_record
from protocols.errors import OutOfResources

from .helpers import FailingDisk, data_set, files_below, open_store, put
from .test_crashes import DyingDisk, died_in_child

UID = "1.2.840.99.1"

pytestmark = pytest.mark.usefixtures("segments")


async def put_many(store: LocalObjectStore, count: int) -> list[str]:
    return [(await put(store, f"1.2.{n}", data_set(f"1.2.{n}", seed=n)))[0].key for n in range(count)]


async def test_a_quarantined_object_is_a_file_with_its_record_and_its_place_is_free(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    keys = await put_many(store, 3)
    before = b"".join(store.export(keys[1]))
    moved = await store.quarantine(keys[1], "conflict")
    assert moved == "quarantine/conflict/0-00000000-00000001.dcm"
    assert await store.quarantine(keys[1], "conflict") == moved
    assert await store.quarantine(moved, "conflict") == moved
    assert await store.verify(moved)
    assert b"".join(store.export(moved)) == before
    raw = (tmp_path / moved).read_bytes()
    assert read_record(raw) is not None
    assert not any(raw[64:128]), "the place in the segment does not go along"
    assert store.keys(0, 0) == [keys[0], keys[2]]
    assert not files_below(tmp_path / "tmp" / "0")
    with pytest.raises(ObjectMissing):
        store.open(keys[1])


async def test_deleted_objects_go_aside_and_come_back_as_files(store: LocalObjectStore) -> None:
    keys = await put_many(store, 40)
    before = [b"".join(store.export(key)) for key in keys]
    await store.set_aside(*keys[:20])
    await store.set_aside(*keys[:20])
    assert store.keys(0, 0) == keys[20:]
    aside = [quarantine_key(key, "deleted") for key in keys[:20]]
    back = [await store.restore(key, UID) for key in aside[:10]]
    assert [b"".join(store.export(key)) for key in back] == before[:10]
    assert all(place_of(key).block is None for key in back)
    await store.remove(*aside[10:])
    assert not await store.exists(aside[10])
    # One that was not moved yet comes back just as well.
    again = await store.restore(keys[30], UID)
    assert b"".join(store.export(again)) == before[30]
    assert not await store.exists(keys[30])
    with pytest.raises(ObjectMissing):
        await store.restore(keys[30], UID)


async def test_a_segment_whose_last_object_goes_is_deleted_unless_it_still_grows(tmp_path: Path) -> None:
    async with open_store(tmp_path, slot=1) as other:
        async with open_store(tmp_path) as store:
            (key,) = await put_many(store, 1)
            path = tmp_path / place_of(key).path
            await other.remove(key)
            await store.remove(key)
            assert path.exists(), "its worker still appends to it"
            (after,) = await put_many(store, 1)
            assert await other.verify(after)
        await other.remove(after)
        assert not path.exists()
        assert not files_below(tmp_path / "objects")


async def test_a_removal_is_durable_and_one_sync_however_many_objects(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with open_store(tmp_path, system=disk) as store:
        keys = await put_many(store, 12)
        disk.calls.clear()
        await store.remove(*keys[:10])
        assert disk.calls == ["open", *["punch"] * 10, "fsync"]
        disk.calls.clear()
        await store.quarantine(keys[10], "conflict")
        copied = disk.calls.index("rename")
        assert disk.calls[copied - 1] == "fdatasync", "the copy first"
        assert "fsync" in disk.calls[copied : disk.calls.index("punch")], "then its name, then the place"
        assert disk.calls[-1] == "fsync"


async def test_a_removed_place_gives_its_room_back(store: LocalObjectStore, tmp_path: Path) -> None:
    big = [(await put(store, UID, os.urandom(500_000)))[0].key for _ in range(4)]
    path = tmp_path / place_of(big[0]).path
    await store.remove(big[1])
    before = path.stat().st_blocks
    await store.remove(big[2])
    freed = (before - path.stat().st_blocks) * 512
    if not freed:
        pytest.skip("this file system keeps what was allocated")
    assert freed >= 500_000


Act = Callable[[LocalObjectStore, str], Awaitable[object]]
ACTS: dict[str, Act] = {
    "quarantine": lambda store, key: store.quarantine(key, "conflict"),
    "set_aside": lambda store, key: store.set_aside(key),
    "restore": lambda store, key: store.restore(key, UID),
}


def everywhere(root: Path) -> list[str]:
    """Keys of the intact copies of the object, in the archive and in quarantine."""

    async def look() -> list[str]:
        async with open_store(root, slot=1) as store:
            batches = store.batches(0)
            keys = [key for batch in batches for key in store.keys(0, batch)]
        keys += [path.relative_to(root).as_posix() for path in files_below(root / "quarantine")]
        return [key for key in keys if is_intact(root, key)]

    return trio.run(look)


@pytest.mark.parametrize("name", ACTS)
def test_a_process_killed_at_any_call_of_a_move_leaves_the_object_and_the_move_can_be_done_again(
    tmp_path: Path, name: str
) -> None:
    act = ACTS[name]

    async def prepare(root: Path) -> str:
        async with open_store(root) as store:
            return (await put_many(store, 1))[0]

    async def move(root: Path, key: str, dies_at: int) -> None:
        disk = DyingDisk(1 << 30)
        async with open_store(root, system=disk) as store:
            disk.dies_at = len(disk.calls) + dies_at
            await act(store, key)

    async def again(root: Path, key: str) -> None:
        async with open_store(root) as store:
            try:
                await act(store, key)
            except ObjectMissing:
                assert name == "restore", "it was restored, and another key tells"

    dies_at, died = 0, True
    while died:
        root = tmp_path / str(dies_at)
        key = trio.run(prepare, root)
        died = died_in_child(move, root, key, dies_at)
        left = everywhere(root)
        assert left, f"nothing is left after dying at call {dies_at}"
        trio.run(again, root, key)
        after = everywhere(root)
        assert after, dies_at
        assert key not in after, "its place is given back"
        assert len(after) == 1 or name == "restore"
        dies_at += 1
    assert dies_at > 8


@pytest.mark.parametrize("call", ["open", "pwrite", "fdatasync", "rename", "punch", "fsync"])
@pytest.mark.parametrize("name", ACTS)
def test_a_disk_that_fails_in_the_middle_of_a_move_loses_nothing_and_the_move_can_be_done_again(
    tmp_path: Path, name: str, call: str
) -> None:
    """F4 for what is packed: nobody is told that it has moved, and there is a complete one all the time."""

    async def fail(error: int) -> str:
        disk = FailingDisk()
        async with open_store(tmp_path, system=disk) as store:
            key, _ = await put_many(store, 2)
            disk.fail(call, error)
            with pytest.raises(OutOfResources):
                await ACTS[name](store, key)
            assert not store.health.healthy
            return key

    async def again(key: str) -> None:
        async with open_store(tmp_path) as store:
            try:
                await ACTS[name](store, key)
            except ObjectMissing:
                assert name == "restore", "it was restored, and another key tells"

    key = trio.run(fail, errno.EIO)
    assert len(everywhere(tmp_path)) >= 2
    trio.run(again, key)
    after = everywhere(tmp_path)
    assert key not in after
    assert len(after) >= 2
    assert not files_below(tmp_path / "tmp" / "0")


async def test_what_is_removed_while_somebody_reads_it_is_gone_for_all_others_and_whole_for_the_reader(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    keys = await put_many(store, 3)
    before = b"".join(store.export(keys[1]))
    file = store.open(keys[1])
    shared = os.dup(file.fd)  # as a process has it that decodes
    await store.remove(keys[1])
    assert store.keys(0, 0) == [keys[0], keys[2]]
    with pytest.raises(ObjectMissing):
        store.open(keys[1])
    os.close(file.fd)
    await store.remove(keys[1])
    assert os.pread(shared, file.size_bytes, file.start)[128:] == before[128:]
    os.close(shared)
    store._refresh_space()
    with (tmp_path / place_of(keys[1]).path).open("rb") as segment:
        segment.seek(file.start)
        assert not any(segment.read(file.size_bytes)), "its place is given back once nobody reads it"
    assert b"".join(store.export(keys[2])) and await store.verify(keys[0])


async def test_what_was_being_read_when_the_process_died_stays_gone(store: LocalObjectStore) -> None:
    """A removal is durable before its place is given back: nothing brings the object back."""
    keys = await put_many(store, 2)
    file = store.open(keys[0])
    await store.remove(keys[0])
    fd = os.open(store.root / place_of(keys[0]).path, os.O_RDONLY)
    assert [found.start for found in walk(fd)] == [place_of(keys[1]).block * 4096]
    assert list(remains(fd)) == [], "it is no damage either"
    os.close(fd)
    os.close(file.fd)
