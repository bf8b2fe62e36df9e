"""Objects that are removed while somebody reads them: nobody gets them, the reader keeps them, their room comes back."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.archive.objects.gone_list import GoneList
from pacs_actors.archive.objects.keys import ObjectMissing, packed_key, place_of
from pacs_actors.archive.objects.local import LocalObjectStore

from .helpers import data_set, open_store, put
from .test_crashes import DyingDisk, died_in_child

SIZE_BYTES = 200_000

pytestmark = pytest.mark.usefixtures("segments")


async def put_many(store: LocalObjectStore, count: int) -> list[str]:
    return [
        (await put(store, f"1.2.{n}", data_set(f"1.2.{n}", SIZE_BYTES, seed=n)))[0].key for n in range(count)
    ]


def bytes_at(root: Path, key: str) -> bytes:
    """What is at an object's place, removed or not."""
    path, block = place_of(key)
    with (root / path).open("rb") as segment:
        segment.seek((block or 0) * 4096)
        return segment.read(SIZE_BYTES)


def noted(root: Path) -> list[str]:
    path = root / "tmp" / "gone"
    return path.read_text().split() if path.exists() else []


async def test_after_a_restart_nothing_that_was_removed_is_served_and_its_room_comes_back(
    tmp_path: Path,
) -> None:
    async with open_store(tmp_path) as store:
        keys = await put_many(store, 3)
        reader = store.open(keys[1])  # of another process: it outlives the store
        await store.remove(keys[1])
        assert noted(tmp_path) == [keys[1]]
    path = tmp_path / place_of(keys[1]).path
    async with open_store(tmp_path) as store:
        store._refresh_space()
        with pytest.raises(ObjectMissing):
            store.open(keys[1])
        assert store.keys(0, 0) == [keys[0], keys[2]]
        assert not await store.exists(keys[1])
        assert any(os.pread(reader.fd, reader.size_bytes, reader.start)[128:]), "its reader has it still"
        assert noted(tmp_path) == [keys[1]]
        before = path.stat().st_blocks
        os.close(reader.fd)
        store._refresh_space()
        assert not any(bytes_at(tmp_path, keys[1]))
        assert noted(tmp_path) == []
        if before == path.stat().st_blocks:
            pytest.skip("this file system keeps what was allocated")
        assert (before - path.stat().st_blocks) * 512 >= SIZE_BYTES
        assert await store.verify(keys[0]) and await store.verify(keys[2])


async def test_any_worker_gives_back_what_another_had_removed(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    keys = await put_many(store, 2)
    async with open_store(tmp_path, slot=1) as other:
        reader = other.open(keys[0])
        await store.remove(keys[0])
        with pytest.raises(ObjectMissing):
            other.open(keys[0])
        other._refresh_space()
        assert any(bytes_at(tmp_path, keys[0]))
        os.close(reader.fd)
        other._refresh_space()
        assert not any(bytes_at(tmp_path, keys[0]))
        assert noted(tmp_path) == []


async def test_readers_that_end_one_by_one_give_back_one_by_one(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    keys = await put_many(store, 4)
    readers = {key: store.open(key) for key in keys[:3]}
    await store.remove(*keys[:3])
    assert noted(tmp_path) == keys[:3]
    left = keys[:3]
    for key in (keys[1], keys[0], keys[2]):
        os.close(readers[key].fd)
        left.remove(key)
        store._refresh_space()
        assert noted(tmp_path) == left
        assert [any(bytes_at(tmp_path, one)) for one in keys[:3]] == [one in left for one in keys[:3]]


async def test_a_segment_whose_last_object_was_being_read_goes_in_the_end(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        keys = await put_many(store, 1)
        reader = store.open(keys[0])
        await store.remove(keys[0])
    path = tmp_path / place_of(keys[0]).path
    os.close(reader.fd)
    async with open_store(tmp_path) as store:
        store._refresh_space()
        assert not path.exists()


async def test_what_is_noted_and_not_marked_stays(store: LocalObjectStore, tmp_path: Path) -> None:
    """As a process leaves it that dies between the two; so does what is noted of another segment, of none, or is no key at all."""
    keys = await put_many(store, 2)
    (tmp_path / "tmp" / "gone").write_bytes(
        f"{keys[0]}\n{packed_key(0, 99, 0)}\n{packed_key(0, 0, 0xFFFFFF)}\n../../etc/passwd\n\xff\n\n{keys[1]}".encode(
            "latin-1"
        )
    )
    store._refresh_space()
    assert await store.verify(keys[0]) and await store.verify(keys[1])
    assert keys[0] not in noted(tmp_path)
    reader = store.open(keys[0])
    await store.remove(keys[0])
    os.close(reader.fd)
    store._refresh_space()
    assert not any(bytes_at(tmp_path, keys[0]))


@pytest.mark.parametrize("size_bytes", [0, 5, 3_000_000])
def test_a_list_of_garbage_ends(tmp_path: Path, size_bytes: int) -> None:
    path = tmp_path / "gone"
    path.write_bytes(b"x" * size_bytes)
    gone = GoneList(path, FileSystem())
    for _ in range(5):
        gone.settle(lambda keys: keys)
    assert not path.exists() or not path.stat().st_size


def test_a_long_list_is_looked_at_in_parts_and_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    keys = [packed_key(0, number, 1) for number in range(60_000)]
    path.write_text("".join(f"{key}\n" for key in keys))
    gone = GoneList(path, FileSystem())
    seen: list[int] = []
    settled: set[str] = set()

    def give_back(some: Sequence[str]) -> list[str]:
        seen.append(len(some))
        settled.update(some[1:])
        return list(some[:1])  # somebody reads this one still

    while len(settled) < len(keys) - 3:
        before = len(settled)
        gone.settle(give_back)
        assert len(settled) > before
    assert max(seen) < len(keys)
    assert {*path.read_text().split(), *settled} == set(keys)


def test_a_list_that_another_process_looks_at_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    path.write_text(f"{packed_key(0, 1, 1)}\n")
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        GoneList(path, FileSystem()).settle(lambda keys: pytest.fail("it looked"))
    GoneList(path, FileSystem()).settle(lambda keys: [])
    assert not path.exists()


def test_many_that_note_and_settle_at_once_lose_no_key(tmp_path: Path) -> None:
    """Each settles what it finds marked: whatever is marked is noted until then."""
    path, marked, settled = tmp_path / "gone", set[str](), set[str]()
    failures: list[BaseException] = []

    def give_back(keys: Sequence[str]) -> list[str]:
        settled.update(key for key in keys if key in marked)
        return []

    def work(worker: int) -> None:
        gone = GoneList(path, FileSystem())
        try:
            for number in range(40):
                key = packed_key(worker, number, 1)
                with gone.noting([key]):
                    marked.add(key)
                gone.settle(give_back)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    GoneList(path, FileSystem()).settle(give_back)
    assert not failures
    assert settled == marked
    assert len(marked) == 160


def test_a_process_killed_at_any_call_of_a_removal_under_a_reader_loses_neither_the_object_nor_its_room(
    tmp_path: Path,
) -> None:
    async def prepare(root: Path) -> list[str]:
        async with open_store(root) as store:
            return await put_many(store, 2)

    async def remove(root: Path, key: str, dies_at: int) -> None:
        disk = DyingDisk(1 << 30)
        async with open_store(root, system=disk) as store:
            reader = store.open(key)
            disk.dies_at = len(disk.calls) + dies_at
            await store.remove(key)
            os.close(reader.fd)
            store._refresh_space()

    async def again(root: Path, keys: list[str]) -> tuple[bool, bool]:
        """Whether it is there after a restart, and whether its place holds anything."""
        async with open_store(root) as store:
            store._refresh_space()
            assert await store.verify(keys[1])
            there = await store.exists(keys[0])
            return there, any(bytes_at(root, keys[0]))

    dies_at, died, outcomes = 0, True, []
    while died:
        root = tmp_path / str(dies_at)
        keys = trio.run(prepare, root)
        died = died_in_child(remove, root, keys[0], dies_at)
        there, filled = trio.run(again, root, keys)
        assert there == filled, f"room that nobody has, after dying at call {dies_at}"
        outcomes.append(there)
        dies_at += 1
    assert outcomes[0] and not outcomes[-1]
    assert outcomes == sorted(outcomes, reverse=True), "once it is gone it stays gone"
    assert dies_at > 8
