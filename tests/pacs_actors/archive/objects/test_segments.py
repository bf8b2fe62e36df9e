"""Packed objects: how they lie, what is found of them when the segment is torn, holed or made of garbage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pacs_actors.archive.objects.batches import BATCH_S
from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.keys import ObjectMissing, place_of
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.objects.records import Extent, walk
from pacs_actors.archive.objects.recovery import recover_batch
from pacs_actors.archive.objects.segment import FIRST_STEP_BYTES
from protocols.dataset.part10 import PREAMBLE_BYTES, ObjectRecord, preamble
from tests.stored_objects import FILES, SEGMENTS, StoredObject

from . import helpers
from .helpers import data_set, files_below, open_store, put, scan, whole

UID = "1.2.840.99.1"

pytestmark = pytest.mark.usefixtures("segments")


async def put_many(store: LocalObjectStore, count: int, payload_bytes: int = 5000) -> list[str]:
    """Keys of objects stored one after the other, with UIDs 1.2.0 and so on."""
    return [
        (await put(store, f"1.2.{n}", data_set(f"1.2.{n}", payload_bytes, n)))[0].key for n in range(count)
    ]


def segment(root: Path, batch: int = 0) -> Path:
    return root / place_of(f"0/{batch:08x}/00000000").path


def found(path: Path) -> list[Extent]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(walk(fd))
    finally:
        os.close(fd)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


async def recovered(store: LocalObjectStore, batch: int = 0) -> set[str]:
    outcome = await recover_batch(store, 0, batch, frozenset(), scan)
    assert not (outcome.unread or outcome.unscannable)
    return {entry.stored.key for entry in outcome.entries}


async def test_small_objects_share_a_file_and_large_ones_have_their_own(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    small = await put_many(store, 3)
    large, _ = await put(store, UID, data_set(UID, 2 * BUFFER_BYTES))
    assert [int(key.split("/")[2], 16) for key in small] == [0, 2, 4]
    assert files_below(tmp_path / "objects") == sorted(
        [segment(tmp_path), tmp_path / place_of(large.key).path]
    )
    assert sorted(store.keys(0, 0)) == sorted([*small, large.key])
    for number, key in enumerate(small):
        assert b"".join(store.export(key)).endswith(data_set(f"1.2.{number}", 5000, number))
        assert await store.verify(key)
    assert await store.verify(large.key)


@pytest.mark.parametrize(
    "sizes",
    [
        [100] * 150,
        [100_000] * 40,
        [100, 40_000] * 20,
        [30_000, 30_000, 200, 200, 200, 90_000] * 8,
        [400_000] * 3 + [100] * 90,
    ],
    ids=["near", "far", "by turns", "mixed", "far then near"],
)
async def test_every_object_is_found_however_near_to_each_other_they_lie(
    store: LocalObjectStore, sizes: list[int]
) -> None:
    """Objects that are near are looked at many at once, those that are far one by one: with holes between them, too."""
    keys = [(await put(store, UID, data_set(UID, size, n)))[0].key for n, size in enumerate(sizes)]
    assert sorted(store.keys(0, 0)) == keys
    await store.remove(*keys[2::5], *keys[10:14])
    left = [key for n, key in enumerate(keys) if n % 5 != 2 and not 10 <= n < 14]
    assert sorted(store.keys(0, 0)) == left


async def test_an_object_that_fills_its_buffer_to_the_last_byte_is_packed(store: LocalObjectStore) -> None:
    with await store.stage(helpers.CT, UID, helpers.EXPLICIT_LE, "M") as staging:
        data = os.urandom(BUFFER_BYTES - staging.position)
        await staging.write(data)
        stored, seen = await store.commit(staging, whole)
    assert seen == data
    assert place_of(stored.key).block == 0
    assert stored.size_bytes == BUFFER_BYTES
    after = await put_many(store, 1)
    assert await store.verify(stored.key)
    assert await store.verify(after[0])


async def test_a_key_that_names_no_object_of_the_segment_opens_nothing(store: LocalObjectStore) -> None:
    (key,) = await put_many(store, 1, 20_000)
    assert key == "0/00000000/00000000"
    for other in ("0/00000000/00000001", "0/00000000/00000009", "0/00000000/ffffffff", "0/00000007/00000000"):
        with pytest.raises(ObjectMissing):
            store.open(other)
        with pytest.raises(ObjectMissing):
            await store.quarantine(other, "damaged")
        await store.remove(other)
    assert await store.verify(key)


async def test_both_layouts_are_read_whatever_new_objects_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for layout in (SEGMENTS, FILES, SEGMENTS):
        monkeypatch.setattr(helpers, "LAYOUT", layout)
        async with open_store(tmp_path) as store:
            keys.append((await put(store, UID, data_set(UID)))[0].key)
            for key in keys:
                assert await store.verify(key)
                assert await store.same(key, keys[0])
    assert [place_of(key).block for key in keys] == [0, None, 0]


# -- room ---------------------------------------------------------------------------------------------


async def test_a_quiet_server_takes_little_and_gives_it_back(tmp_path: Path) -> None:
    now = 0.0
    async with open_store(tmp_path, clock=lambda: now) as store:
        await put_many(store, 1)
        assert segment(tmp_path).stat().st_size <= FIRST_STEP_BYTES
        now += BATCH_S
        await put_many(store, 1)
        assert segment(tmp_path).stat().st_size == 2 * BLOCK_BYTES, "the next minute's segment seals the last"
    assert segment(tmp_path, 1).stat().st_size == 2 * BLOCK_BYTES, "and so does the end"


async def test_what_a_killed_process_had_taken_is_given_back_at_the_next_start(tmp_path: Path) -> None:
    now = 0.0
    async with open_store(tmp_path, clock=lambda: now) as store:
        keys = await put_many(store, 2)
        now += BATCH_S
        await put(
            store, UID, data_set(UID, 2 * BUFFER_BYTES)
        )  # in a folder of its own, which gets no segment
    path = segment(tmp_path)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), path.stat().st_size, 8 * BUFFER_BYTES)
    async with open_store(tmp_path) as store:
        assert path.stat().st_size == 4 * BLOCK_BYTES
        assert await recovered(store) == set(keys)


# -- what a crash or a bad disk leaves ----------------------------------------------------------------


async def test_behind_a_torn_object_the_whole_ones_are_found(tmp_path: Path) -> None:
    """A group whose write was interrupted: some blocks came, some did not."""
    async with open_store(tmp_path) as store:
        keys = await put_many(store, 4)
    overwrite(segment(tmp_path), 2 * BLOCK_BYTES, bytes(BLOCK_BYTES))  # the record did not come
    overwrite(segment(tmp_path), 5 * BLOCK_BYTES, bytes(BLOCK_BYTES))  # the end did not come
    async with open_store(tmp_path) as store:
        assert store.keys(0, 0) == [keys[0], keys[2], keys[3]]
        outcome = await recover_batch(store, 0, 0, frozenset(), scan)
        assert {entry.stored.key for entry in outcome.entries} == {keys[0], keys[3]}
        assert outcome.damaged == ["quarantine/damaged/0-00000000-00000004.dcm"]
        assert store.keys(0, 0) == [keys[0], keys[3]]


async def test_a_segment_that_ends_in_the_middle_of_an_object_is_read_up_to_there(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        keys = await put_many(store, 3)
    os.truncate(segment(tmp_path), 5 * BLOCK_BYTES + 10)
    async with open_store(tmp_path) as store:
        assert await recovered(store) == set(keys[:2])
        with pytest.raises(ObjectMissing):
            store.open(keys[2])


async def test_a_segment_of_garbage_holds_nothing_and_stops_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await put_many(store, 1)
    segment(tmp_path).write_bytes(os.urandom(BUFFER_BYTES + 777))
    async with open_store(tmp_path) as store:
        assert store.keys(0, 0) == []
        assert await recovered(store) == set()
        (key,) = await put_many(store, 1)
        assert await store.verify(key)


@pytest.mark.parametrize(
    ("size_bytes", "block"),
    [(0, 0), (PREAMBLE_BYTES, 0), (BUFFER_BYTES + 1, 0), (2**63, 0), (300_000, 0), (5000, 1)],
    ids=["empty", "no object", "larger than a buffer", "enormous", "beyond the end", "for another place"],
)
async def test_a_record_that_lies_about_its_size_or_place_is_none(
    tmp_path: Path, size_bytes: int, block: int
) -> None:
    async with open_store(tmp_path) as store:
        keys = await put_many(store, 2)
    record = ObjectRecord(bytes(16), 1, "LIAR", size_bytes, 300)
    overwrite(segment(tmp_path), 0, preamble(record, block))
    async with open_store(tmp_path) as store:
        assert store.keys(0, 0) == [keys[1]]
        with pytest.raises(ObjectMissing):
            store.open(keys[0])
        assert not await store.verify(keys[0]), "damaged, not absent"


async def test_what_looks_like_an_object_within_the_pixels_of_another_is_none(tmp_path: Path) -> None:
    """Even when the record before it, which leads past it, is destroyed."""
    inner = data_set("1.2.666")
    forged = preamble(ObjectRecord(bytes(16), 1, "EVIL", PREAMBLE_BYTES + len(inner), 300)) + inner
    async with open_store(tmp_path) as store:
        await put(store, UID, (forged.ljust(BLOCK_BYTES, b"\0")) * 20 + bytes(8))
        (after,) = await put_many(store, 1)
    everything = bytearray(segment(tmp_path).read_bytes())
    shift = BLOCK_BYTES - everything.index(b"PACSOBJ1", 1) % BLOCK_BYTES
    async with open_store(tmp_path) as store:
        (shifted, _) = await put(store, UID, bytes(shift) + (forged.ljust(BLOCK_BYTES, b"\0")) * 20)
        path = segment(tmp_path, 1)
    raw = path.read_bytes()
    assert raw[BLOCK_BYTES::BLOCK_BYTES].count(b"P"[0]) >= 19, "they lie where objects begin"
    overwrite(path, 0, bytes(8))
    async with open_store(tmp_path) as store:
        assert store.keys(0, 1) == []
        assert not await store.verify(shifted.key)
        assert await store.verify(after)


async def test_an_object_whose_record_is_damaged_is_told_from_one_that_is_gone(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    keys = await put_many(store, 3)
    StoredObject(tmp_path, keys[1]).flip(20)
    assert not await store.verify(keys[1])
    assert not await store.exists(keys[1])
    moved = await store.quarantine(keys[1], "damaged")
    kept = (tmp_path / moved).read_bytes()
    assert data_set("1.2.1", 5000, 1) in kept, "what is left is kept"
    assert len(kept) == 2 * BLOCK_BYTES, "up to the next object, and no further"
    with pytest.raises(ObjectMissing):
        await store.verify(keys[1])
    assert await store.verify(keys[0])
    assert await store.verify(keys[2])
