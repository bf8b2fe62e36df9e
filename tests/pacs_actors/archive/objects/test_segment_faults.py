"""FAULTS F4 and F5 for packed objects, and what group commit promises: all of a group are durable, or refused."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from pacs_actors.archive.objects.batches import BATCH_S
from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.keys import place_of
from pacs_actors.archive.objects.segment import FIRST_STEP_BYTES, LARGEST_STEP_BYTES
from pacs_actors.archive.objects.space import REFRESH_S
from protocols.errors import DataSetMismatch, OutOfResources
from tests.stored_objects import SEGMENTS

from . import helpers
from .helpers import CT, EXPLICIT_LE, FailingDisk, data_set, length, open_store, put

UID = "1.2.840.99.1"


@pytest.fixture(autouse=True)
def segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "LAYOUT", SEGMENTS)


class SlowDisk(FailingDisk):
    """A sync waits until the test lets it, once ``hold`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.hold, self.reached, self.go_on = threading.Event(), threading.Event(), threading.Event()
        self.fdatasync = self._held  # type: ignore[assignment]

    def _held(self, fd: int) -> None:
        if self.hold.is_set():
            self.reached.set()
            assert self.go_on.wait(30)
        self._call("fdatasync", os.fdatasync, fd)


async def reached(event: threading.Event) -> None:
    with trio.fail_after(30):
        while not event.is_set():
            await trio.lowlevel.checkpoint()


async def test_what_waits_while_the_disk_syncs_is_one_write_and_one_sync(tmp_path: Path) -> None:
    disk = SlowDisk()
    async with open_store(tmp_path, system=disk, buffers=16) as store:
        await put(store, UID, data_set(UID))
        disk.calls.clear()
        disk.hold.set()
        keys: list[str] = []

        async def one(number: int) -> None:
            keys.append((await put(store, f"1.2.{number}", data_set(f"1.2.{number}")))[0].key)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, 0)
            await reached(disk.reached)
            for number in range(1, 11):
                nursery.start_soon(one, number)
            with trio.fail_after(30):
                while store.health.threads.waiting < 10:
                    await trio.lowlevel.checkpoint()
            assert not keys
            disk.go_on.set()
        assert disk.calls == ["pwritev", "fdatasync"] * 2
        assert len(set(keys)) == 11
        for key in keys:
            assert await store.verify(key)


async def test_an_object_that_its_check_refuses_costs_the_others_of_its_group_nothing(tmp_path: Path) -> None:
    disk = SlowDisk()

    def refuse(data: memoryview, complete: bool) -> None:
        raise DataSetMismatch("another instance")

    async with open_store(tmp_path, system=disk, buffers=16) as store:
        disk.hold.set()
        kept: list[str] = []
        refused: list[int] = []

        async def one(number: int, check: Any) -> None:
            try:
                kept.append((await put(store, UID, data_set(UID, seed=number), check))[0].key)
            except DataSetMismatch:
                refused.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, 0, length)
            await reached(disk.reached)
            for number in range(1, 7):
                nursery.start_soon(one, number, refuse if number % 2 else length)
            with trio.fail_after(30):
                while store.health.threads.waiting < 6:
                    await trio.lowlevel.checkpoint()
            disk.go_on.set()
        assert sorted(refused) == [1, 3, 5]
        assert sorted(store.keys(0, 0)) == sorted(kept)
        assert len(kept) == 4
        assert store.health.buffers.free == store.health.buffers.total


async def test_one_that_gives_up_before_its_group_begins_is_not_in_it(tmp_path: Path) -> None:
    disk = SlowDisk()
    async with open_store(tmp_path, system=disk) as store:
        disk.hold.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(put, store, UID, data_set(UID))
            await reached(disk.reached)
            with trio.CancelScope() as scope:
                nursery.start_soon(put, store, UID, data_set(UID))
                scope.cancel()
                await put(store, UID, data_set(UID))
            assert scope.cancelled_caught
            disk.go_on.set()
        assert len(store.keys(0, 0)) == 2
        assert store.health.buffers.free == store.health.buffers.total


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("pwritev", errno.EIO),
        ("fdatasync", errno.EIO),
        ("fdatasync", errno.ENOSPC),
    ],
)
async def test_a_failing_disk_refuses_the_whole_group_and_makes_the_store_read_only(
    tmp_path: Path, call: str, error: int
) -> None:
    disk = SlowDisk()
    async with open_store(tmp_path, system=disk, buffers=16) as store:
        first, _ = await put(store, UID, data_set(UID))
        disk.hold.set()
        refused: list[OutOfResources] = []

        async def one() -> None:
            try:
                await put(store, UID, data_set(UID))
            except OutOfResources as why:
                refused.append(why)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await reached(disk.reached)
            for _ in range(4):
                nursery.start_soon(one)
            with trio.fail_after(30):
                while store.health.threads.waiting < 4:
                    await trio.lowlevel.checkpoint()
            disk.fail(call, error)
            syncs = disk.calls.count("fdatasync")
            disk.go_on.set()
        assert len(refused) == (5 if call == "fdatasync" else 4)
        assert len(set(map(id, refused))) == len(refused), "each has an error of its own"
        assert {why.dimse_status for why in refused} == {0xA700}
        assert disk.calls.count("fdatasync") <= syncs + 1, "never retried"
        assert not store.health.healthy
        disk.heal()
        with pytest.raises(OutOfResources):
            await store.stage(CT, UID, EXPLICIT_LE, "M")
        assert await store.verify(first.key)
        assert store.health.buffers.free == store.health.buffers.total
    async with open_store(tmp_path) as store:
        assert store.health.healthy
        assert len(store.keys(0, 0)) == 1 + (5 - len(refused))


async def test_a_disk_that_fails_to_give_blocks_refuses_and_is_trusted_no_more(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with open_store(tmp_path, system=disk) as store:
        disk.fail("allocate", errno.EIO)
        with pytest.raises(OutOfResources):
            await put(store, UID, data_set(UID))
        assert not store.health.healthy
        disk.heal()
    async with open_store(tmp_path) as store:
        kept, _ = await put(store, UID, data_set(UID))
        assert await store.verify(kept.key)
        assert [key for batch in store.batches(0) for key in store.keys(0, batch)] == [kept.key]


@pytest.mark.parametrize("call", ["open", "fsync"])
async def test_a_segment_that_cannot_begin_leaves_nothing_in_the_way_of_the_next(
    tmp_path: Path, call: str
) -> None:
    disk, now = FailingDisk(), 0.0
    async with open_store(tmp_path, system=disk, clock=lambda: now) as store:
        await put(store, UID, data_set(UID))
        now += BATCH_S
        disk.fail(call, errno.EMFILE if call == "open" else errno.EIO)
        with pytest.raises(OutOfResources):
            await put(store, UID, data_set(UID))
        assert store.health.healthy == (call == "open")
        disk.heal()
    async with open_store(tmp_path) as store:
        await put(store, UID, data_set(UID))
        assert len(store.keys(0, store.current_batch())) == 1


async def test_a_full_disk_refuses_and_takes_images_again_when_there_is_room(tmp_path: Path) -> None:
    disk, now = FailingDisk(), 0.0
    async with open_store(tmp_path, system=disk, clock=lambda: now) as store:
        first, _ = await put(store, UID, data_set(UID))
        disk.fail("allocate", errno.ENOSPC)
        with pytest.raises(OutOfResources):
            for _ in range(1 + FIRST_STEP_BYTES // 500_000):  # what was taken is used up first
                await put(store, UID, bytes(500_000))
        with pytest.raises(OutOfResources):  # believed until the disk is asked again
            await store.stage(CT, UID, EXPLICIT_LE, "M")
        assert await store.verify(first.key)
        assert store.health.healthy
        disk.heal()
        now += REFRESH_S
        await put(store, UID, bytes(500_000))
        assert store.health.buffers.free == store.health.buffers.total


async def test_what_the_disk_has_left_is_taken_though_it_is_less_than_a_step(tmp_path: Path) -> None:
    honest, steps = FailingDisk.allocate, list[int]()
    disk = FailingDisk()

    def scarce(fd: int, offset: int, size: int) -> None:
        if size > BUFFER_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device")
        steps.append(size)
        honest(fd, offset, size)

    disk.allocate = scarce  # type: ignore[assignment]
    async with open_store(tmp_path, system=disk) as store:
        stored, _ = await put(store, UID, bytes(500_000))
        assert steps == [stored.size_bytes + -stored.size_bytes % BLOCK_BYTES]
        assert store.health.has_room


async def test_steps_grow_and_stay_within_the_reserve(tmp_path: Path) -> None:
    """What is taken in advance counts once: against the reserve when it is taken, not when it is written."""
    disk, steps, now = FailingDisk(), list[int](), 0.0
    honest = disk.allocate
    reserve = 100 * BUFFER_BYTES

    def noting(fd: int, offset: int, size: int) -> None:
        assert size <= (disk.free_bytes or 0) - reserve
        steps.append(size)
        honest(fd, offset, size)
        disk.free_bytes = (disk.free_bytes or 0) - size

    disk.allocate = noting  # type: ignore[assignment]
    disk.free_bytes = reserve + 1500 * BUFFER_BYTES
    async with open_store(tmp_path, system=disk, clock=lambda: now, reserve_bytes=reserve) as store:
        for _ in range(300):
            await put(store, UID, bytes(900_000))
            now += 0.1
        assert steps[:5] == [FIRST_STEP_BYTES * factor for factor in (1, 1, 2, 4, 8)]
        assert max(steps) == LARGEST_STEP_BYTES
        disk.free_bytes = reserve + 20 * BUFFER_BYTES
        now += BATCH_S
        steps.clear()
        await put(store, UID, bytes(900_000))
        assert max(steps) <= 2 * BUFFER_BYTES, "little is left: little is taken"
        with pytest.raises(OutOfResources):
            for _ in range(100):
                await put(store, UID, bytes(900_000))
                now += 0.1
        assert disk.free_bytes >= reserve


async def test_short_writes_are_continued(tmp_path: Path) -> None:
    disk, writes = FailingDisk(), list[int]()

    def short(fd: int, views: Sequence[memoryview], offset: int) -> int:
        writes.append(os.pwrite(fd, views[0][: 2 * BLOCK_BYTES], offset))
        return writes[-1]

    disk.pwritev = short  # type: ignore[assignment]
    async with open_store(tmp_path, system=disk) as store:
        data = os.urandom(50_000)
        stored, _ = await put(store, UID, data)
        assert b"".join(store.export(stored.key)).endswith(data)
        assert len(writes) == 7


async def test_a_write_that_fails_half_way_leaves_no_object_behind(tmp_path: Path) -> None:
    disk, now = FailingDisk(), 0.0

    def half(fd: int, views: Sequence[memoryview], offset: int) -> int:
        if offset:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(fd, views[0][:BLOCK_BYTES], offset)

    async with open_store(tmp_path, system=disk, clock=lambda: now) as store:
        honest = disk.pwritev
        disk.pwritev = half  # type: ignore[assignment]
        with pytest.raises(OutOfResources):
            await put(store, UID, bytes(50_000))
        disk.pwritev = honest
        assert store.keys(0, 0) == []
        now += REFRESH_S
        stored, _ = await put(store, UID, data_set(UID))
        assert place_of(stored.key).block == 13, "no block is written twice"
        assert store.keys(0, 0) == [stored.key]


async def test_what_lies_behind_an_object_is_not_a_piece_of_the_one_before(tmp_path: Path) -> None:
    async with open_store(tmp_path, buffers=4) as store:
        first, _ = await put(store, UID, b"\xaa" * 4000)
        second, _ = await put(store, UID, b"\xbb" * 10)
    raw = (tmp_path / place_of(second.key).path).read_bytes()
    start = (place_of(second.key).block or 0) * BLOCK_BYTES
    assert raw[start + second.size_bytes :] == bytes(BLOCK_BYTES - second.size_bytes)
    assert len(raw) == start + BLOCK_BYTES
    assert first.key != second.key
