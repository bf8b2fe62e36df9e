from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from xxhash import xxh3_128_digest

from pacs_actors.archive.objects.batches import BATCH_S
from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.heads import HEAD_BYTES, LARGEST_HEAD_BYTES
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.objects.local import LocalObjectStore
from protocols.dataset.elements import NeedMore
from protocols.dataset.part10 import parse_prefix, prefix_length
from protocols.errors import CannotUnderstand, DataSetMismatch, Misuse, Unavailable
from tests.stored_objects import FILES

from .helpers import (
    CT,
    EXPLICIT_LE,
    FailingDisk,
    data_set,
    files_below,
    length,
    on_disk,
    open_store,
    put,
    read_file,
    whole,
)

pytestmark = pytest.mark.usefixtures("layout")

UID = "1.2.840.99.1"
PREFIX_BYTES = prefix_length(CT, UID, EXPLICIT_LE)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalObjectStore]:
    async with open_store(tmp_path) as opened:
        yield opened


def nothing_left(store: LocalObjectStore) -> bool:
    return store.health.buffers.free == store.health.buffers.total and not files_below(
        store.root / "tmp" / str(store.slot)
    )


async def test_a_committed_object_is_a_part_10_file_with_our_record(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    data = data_set(UID)
    stored, seen = await put(store, UID, data, whole)
    assert seen == data
    raw = on_disk(tmp_path, stored.key).read_bytes()
    assert read_file(raw).SOPInstanceUID == UID
    file = parse_prefix(raw)
    assert (file.sop_class_uid, file.sop_instance_uid, file.transfer_syntax_uid) == (CT, UID, EXPLICIT_LE)
    assert raw[file.data_offset :] == data
    assert stored.data_offset == file.data_offset
    assert stored.size_bytes == len(raw)
    assert stored.digest == xxh3_128_digest(raw[128:])
    assert stored.source == "MODALITY"
    assert file.record is not None
    assert file.record.digest == stored.digest
    assert file.record.size_bytes == len(raw)
    assert file.record.received_ns == stored.received_ns
    assert await store.verify(stored.key)
    assert nothing_left(store)


BORDERS = sorted(
    {
        max(0, size - PREFIX_BYTES + step)
        for size in (PREFIX_BYTES, BLOCK_BYTES, BUFFER_BYTES, BUFFER_BYTES + BLOCK_BYTES, 3 * BUFFER_BYTES)
        for step in (-1, 0, 1)
    }
)


@pytest.mark.parametrize("size", BORDERS)
async def test_objects_around_every_border_come_back_as_they_were(
    store: LocalObjectStore, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    stored, _ = await put(store, UID, data)
    raw = on_disk(tmp_path, stored.key).read_bytes()
    assert raw[PREFIX_BYTES:] == data
    assert stored.digest == xxh3_128_digest(raw[128:])
    assert stored.size_bytes == len(raw) == PREFIX_BYTES + size
    assert await store.verify(stored.key)
    assert nothing_left(store)


async def test_equal_data_sets_make_equal_digests_however_they_came(store: LocalObjectStore) -> None:
    data = os.urandom(2 * BUFFER_BYTES + 777)
    one, _ = await put(store, UID, data)
    with await store.stage(CT, UID, EXPLICIT_LE, "OTHER") as staging:
        for start in range(0, len(data), 100_001):
            await staging.write(data[start : start + 100_001])
            await staging.park()
            await staging.resume()
        other, _ = await store.commit(staging, length)
    assert one.digest == other.digest
    assert one.key != other.key
    assert await store.same(one.key, other.key)
    third, _ = await put(store, UID, data[:-1] + b"\0" + b"\1")
    assert not await store.same(one.key, third.key)


async def test_parking_gives_the_buffer_to_others_and_loses_no_byte(tmp_path: Path) -> None:
    async with open_store(tmp_path, buffers=4) as store:
        data = os.urandom(10_000)
        stagings = []
        for _ in range(20):  # slow peers, more than there are buffers
            staging = await store.stage(CT, UID, EXPLICIT_LE, "SLOW")
            await staging.write(data[:100])
            await staging.park()
            stagings.append(staging)
        assert not files_below(tmp_path / "tmp" / "0")  # less than a block needs no file
        assert store.health.buffers.free == 4
        for staging in stagings:
            await staging.resume()
            await staging.write(data[100:5000])
            await staging.park()
            await staging.park()
            assert not staging.view
        for staging in stagings:
            await staging.resume()
            await staging.write(data[5000:])
            stored, _ = await store.commit(staging, length)
            assert on_disk(tmp_path, stored.key).read_bytes()[PREFIX_BYTES:] == data
        assert nothing_left(store)


async def test_a_parked_object_can_be_committed(store: LocalObjectStore, tmp_path: Path) -> None:
    with await store.stage(CT, UID, EXPLICIT_LE, "SLOW") as staging:
        await staging.write(b"x" * 6000)
        await staging.park()
        stored, _ = await store.commit(staging, length)
    assert on_disk(tmp_path, stored.key).read_bytes()[PREFIX_BYTES:] == b"x" * 6000


async def test_a_discarded_object_leaves_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        for size in (10, 3 * BUFFER_BYTES):
            with await store.stage(CT, UID, EXPLICIT_LE, "GONE") as staging:
                await staging.write(bytes(size))
            staging.discard()
        staging = await store.stage(CT, UID, EXPLICIT_LE, "GONE")
        await staging.write(bytes(10_000))
        await staging.park()
        staging.discard()
        with pytest.raises(Misuse):
            await staging.resume()
        with pytest.raises(Misuse):
            await store.commit(staging, length)
        await store.threads.run(int)  # the clean-up was submitted before
        await store.threads.run(int)
    assert not files_below(tmp_path / "objects")
    assert not files_below(tmp_path / "tmp" / "0")
    assert store.health.buffers.free == store.health.buffers.total


async def test_an_association_cancelled_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store, trio.open_nursery() as nursery:

        async def receive() -> None:
            with await store.stage(CT, UID, EXPLICIT_LE, "GONE") as staging:
                await staging.write(bytes(2 * BUFFER_BYTES))
                await trio.sleep_forever()

        for _ in range(3):
            nursery.start_soon(receive)
        while len(files_below(tmp_path / "tmp" / "0")) < 3 or store.threads.statistics.busy:
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert not files_below(tmp_path / "tmp" / "0")
    assert not files_below(tmp_path / "objects")
    assert store.health.buffers.free == store.health.buffers.total


async def test_a_commit_that_has_begun_gives_its_result_even_to_a_cancelled_caller(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    staging = await store.stage(CT, UID, EXPLICIT_LE, "M")
    await staging.write(b"abc")
    with trio.CancelScope() as scope:
        cancel = trio.lowlevel.current_trio_token()

        def check(data: memoryview, complete: bool) -> None:
            cancel.run_sync_soon(scope.cancel)

        stored, _ = await store.commit(staging, check)
        assert on_disk(tmp_path, stored.key).exists()


async def test_a_sender_that_gives_up_during_the_commit_takes_nothing_away_from_it(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    staging = await store.stage(CT, UID, EXPLICIT_LE, "M")
    await staging.write(b"abc")
    free: list[int] = []
    token = trio.lowlevel.current_trio_token()

    def give_up() -> None:
        staging.discard()
        free.append(store.health.buffers.free)

    def check(data: memoryview, complete: bool) -> bytes:
        trio.from_thread.run_sync(give_up, trio_token=token)
        return bytes(data)

    stored, seen = await store.commit(staging, check)
    assert seen == b"abc"
    assert free == [store.health.buffers.total - 1]
    assert await store.verify(stored.key)
    assert nothing_left(store)


async def test_a_commit_cancelled_before_it_began_leaves_nothing(store: LocalObjectStore) -> None:
    staging = await store.stage(CT, UID, EXPLICIT_LE, "M")
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.commit(staging, length)
    assert scope.cancelled_caught
    assert nothing_left(store)
    assert not files_below(store.root / "objects")


@pytest.mark.parametrize("size", [100, 2 * BUFFER_BYTES])
async def test_a_refused_object_leaves_nothing(tmp_path: Path, size: int) -> None:
    def refuse(data: memoryview, complete: bool) -> None:
        raise DataSetMismatch("another instance")

    async with open_store(tmp_path) as store:
        with pytest.raises(DataSetMismatch):
            await put(store, UID, bytes(size), refuse)
        await put(store, UID, bytes(size))
    assert len(files_below(tmp_path / "objects")) == 1
    assert not files_below(tmp_path / "tmp" / "0")
    assert store.health.healthy
    assert store.health.buffers.free == store.health.buffers.total


async def test_a_check_sees_the_beginning_of_a_large_object_and_more_when_it_asks(
    store: LocalObjectStore,
) -> None:
    data = os.urandom(3 * BUFFER_BYTES)
    shown: list[int] = []

    def greedy(head: memoryview, complete: bool) -> bytes:
        shown.append(len(head))
        assert head == data[: len(head)]
        assert complete == (len(head) == len(data))
        if len(head) < 2 * BUFFER_BYTES:
            raise NeedMore(len(head) + 1)
        return bytes(head)

    _, seen = await put(store, UID, data, greedy)
    assert data.startswith(seen)
    assert shown[0] == HEAD_BYTES - PREFIX_BYTES
    assert len(shown) <= 5


async def test_a_header_that_never_ends_is_refused_within_the_limit(store: LocalObjectStore) -> None:
    shown: list[int] = []

    def endless(head: memoryview, complete: bool) -> None:
        shown.append(len(head))
        raise NeedMore(len(head) + 1)

    with pytest.raises(CannotUnderstand):
        await put(store, UID, bytes(LARGEST_HEAD_BYTES + BUFFER_BYTES), endless)
    assert max(shown) <= LARGEST_HEAD_BYTES
    shown.clear()

    def far(head: memoryview, complete: bool) -> None:
        shown.append(len(head))
        raise NeedMore(2**40)

    with pytest.raises(CannotUnderstand):
        await put(store, UID, bytes(2 * BUFFER_BYTES), far)
    assert len(shown) == 1


async def test_memory_stays_flat_while_a_large_object_streams_through(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    piece = os.urandom(BUFFER_BYTES)
    await put(store, UID, piece * 2)  # whatever is allocated once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with await store.stage(CT, UID, EXPLICIT_LE, "BIG") as staging:
        for _ in range(40):
            await staging.write(piece)
        stored, _ = await store.commit(staging, length)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert stored.size_bytes == 40 * BUFFER_BYTES + PREFIX_BYTES
    assert grown_kib < 8 * 1024
    assert await store.verify(stored.key)


async def test_parallel_commits_make_as_many_objects(store: LocalObjectStore) -> None:
    keys: set[str] = set()

    async def one(number: int) -> None:
        stored, _ = await put(store, UID, b"same bytes")
        keys.add(stored.key)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, number)
    assert len(keys) == 50
    assert set(store.keys(0, 0)) == keys
    assert nothing_left(store)


async def test_an_export_does_not_carry_our_record(store: LocalObjectStore, tmp_path: Path) -> None:
    data = os.urandom(BUFFER_BYTES + 5)
    stored, _ = await put(store, UID, data)
    exported = b"".join(store.export(stored.key))
    assert exported[:128] == bytes(128)
    assert exported[128:] == on_disk(tmp_path, stored.key).read_bytes()[128:]


async def test_rot_is_found(store: LocalObjectStore, tmp_path: Path) -> None:
    stored, _ = await put(store, UID, os.urandom(BUFFER_BYTES + 100))
    path = on_disk(tmp_path, stored.key)
    raw = bytearray(path.read_bytes())
    for at in (0, 20, 130, 600, len(raw) - 1):
        rotten = bytearray(raw)
        rotten[at] ^= 1
        path.write_bytes(rotten)
        assert not await store.verify(stored.key), at
    for torn in (b"", raw[:100], raw[:-1], raw + b"\0"):
        path.write_bytes(torn)
        assert not await store.verify(stored.key)
    path.write_bytes(raw)
    assert await store.verify(stored.key)


async def test_a_removed_object_is_gone_and_removing_it_again_is_no_error(store: LocalObjectStore) -> None:
    stored, _ = await put(store, UID, b"x")
    await store.remove(stored.key)
    await store.remove(stored.key)
    with pytest.raises(ObjectMissing):
        store.open(stored.key)
    with pytest.raises(ObjectMissing):
        await store.verify(stored.key)
    with pytest.raises(ObjectMissing):
        next(store.export(stored.key))
    assert not await store.same(stored.key, stored.key)
    with pytest.raises(ObjectMissing):
        await store.quarantine(stored.key, "conflict")


async def test_many_objects_are_removed_with_one_sync(tmp_path: Path, layout: str) -> None:
    disk = FailingDisk()
    async with open_store(tmp_path, system=disk) as store:
        keys = [(await put(store, UID, b"x"))[0].key for _ in range(20)]
        disk.calls.clear()
        await store.remove(*keys[:19])
        assert disk.calls.count("unlink" if layout == FILES else "punch") == 19
        assert disk.calls.count("fsync") == 1
        assert store.keys(0, 0) == keys[19:]


async def test_quarantine_keeps_the_bytes_under_another_key(store: LocalObjectStore) -> None:
    stored, _ = await put(store, UID, b"x")
    moved = await store.quarantine(stored.key, "conflict")
    assert await store.quarantine(stored.key, "conflict") == moved
    assert await store.quarantine(moved, "conflict") == moved
    assert store.keys(0, 0) == []
    assert await store.verify(moved)
    os.close(store.open(moved).fd)


async def test_keys_from_outside_open_nothing_outside(store: LocalObjectStore, tmp_path: Path) -> None:
    (tmp_path / "secret.dcm").write_bytes(b"x")
    for key in ("../secret.dcm", "secret.dcm", "/etc/passwd", "0/00000000/../../../secret.dcm"):
        with pytest.raises(ObjectMissing):
            store.open(key)


async def test_a_restart_sweeps_temporary_files_and_goes_on_in_a_new_folder(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        first, _ = await put(store, UID, b"x")
        assert store.current_batch() == 0
    (tmp_path / "tmp" / "0" / "half.dcm").write_bytes(b"half")
    async with open_store(tmp_path) as store:
        assert not files_below(tmp_path / "tmp" / "0")
        assert store.current_batch() == 1
        second, _ = await put(store, UID, b"x")
        assert second.key.startswith("0/00000001/")
        assert store.batches(0) == [0, 1]
        assert store.batches(0, at_least=1) == [1]
        assert store.keys(0, 0) == [first.key]
        assert store.slots() == [0]


async def test_an_object_never_goes_to_a_folder_below_the_one_announced(tmp_path: Path) -> None:
    now = 0.0
    async with open_store(tmp_path, clock=lambda: now) as store:
        for _ in range(4):
            floor = store.current_batch()
            stored, _ = await put(store, UID, b"x")
            assert int(stored.key.split("/")[1], 16) >= floor
            now += BATCH_S / 2 + 1
        assert store.batches(0) == [0, 1]


async def test_two_processes_cannot_have_one_slot(tmp_path: Path) -> None:
    async with open_store(tmp_path):
        with pytest.raises(Unavailable):
            async with open_store(tmp_path):
                pass
        async with open_store(tmp_path, slot=1) as other:
            await put(other, UID, b"x")
            assert other.slots() == [0, 1]
    async with open_store(tmp_path):
        pass


async def test_foreign_files_among_the_objects_are_not_listed(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    stored, _ = await put(store, UID, b"x")
    (on_disk(tmp_path, stored.key).path.parent / "README.dcm").write_bytes(b"x")
    assert store.keys(0, 0) == [stored.key]
    assert store.keys(0, 5) == []
