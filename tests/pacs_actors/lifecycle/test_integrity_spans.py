"""Packed objects that are read many at once: shared out, and what is wrong with one of them is found like that of one alone."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from config.settings import StorageSettings
from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import packed_key, place_of
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.lifecycle.integrity_reading import PIECE_BYTES, Condition, Pace
from pacs_actors.lifecycle.integrity_spans import Span, read_some, spans
from pacs_actors.lifecycle.integrity_walk import Cursor, in_advance
from pacs_actors.lifecycle.scrubbing import Portion, scrub
from pacs_actors.threads import NativePool
from tests.pacs_actors.archive.objects.helpers import data_set, put
from tests.stored_objects import SEGMENTS, StoredObject

OBJECTS = 24


class Counting:
    """A store that counts what is opened."""

    def __init__(self, store: LocalObjectStore) -> None:
        self._store, self.opened = store, list[str]()

    def open(self, key: str) -> ObjectFile:
        self.opened.append(key)
        return self._store.open(key)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalObjectStore]:
    settings = StorageSettings(layout=SEGMENTS, reserve_bytes=0, buffers=4, writer_threads=2)
    async with LocalObjectStore(tmp_path / "data", 0, settings) as store:
        yield store


async def stored(store: LocalObjectStore, count: int = OBJECTS, payload_bytes: int = 9_000) -> list[str]:
    """Keys of packed objects behind each other, each of three blocks."""
    uids = [f"1.2.3.{number}" for number in range(count)]
    return [
        (await put(store, uid, data_set(uid, payload_bytes, seed))).stored.key
        for seed, uid in enumerate(uids)
    ]


def read(store: Counting, keys: list[str]) -> tuple[int, dict[str, Condition]]:
    objects, _, troubles = read_some(store, deque(spans(keys)), {}, Pace(None))
    return objects, {trouble.key: trouble.condition for trouble in troubles}


# -- sharing out ------------------------------------------------------------------------------------------------------------
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5000)), unique=True, max_size=60),
    st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=3, unique=True),
)
def test_every_object_is_in_one_span_and_no_span_is_larger_than_its_buffer(
    blocks: list[tuple[int, int]], names: list[str]
) -> None:
    keys = sorted([packed_key(0, *place) for place in blocks] + [f"0/00000000/{name}.dcm" for name in names])
    found = list(spans(keys))
    assert [key for span in found for key in span.keys] == keys
    for span in found:
        places = [place_of(key) for key in span.keys]
        first, last = places[0].block, places[-1].block
        assert len({place.path for place in places}) == 1
        if first is None or last is None:
            assert len(places) == 1
            assert span.size_bytes == 0
            continue
        assert 0 < span.size_bytes <= PIECE_BYTES
        following = [
            block for batch, block in blocks if place_of(packed_key(0, batch, block)).path == places[0].path
        ]
        ends = min([last + BUFFER_BYTES // BLOCK_BYTES, *(block for block in following if block > last)])
        assert (ends - first) * BLOCK_BYTES <= max(span.size_bytes, BUFFER_BYTES)
        assert span.size_bytes >= (ends - first) * BLOCK_BYTES


# -- reading ----------------------------------------------------------------------------------------------------------------
async def test_neighbours_are_read_at_once(store: LocalObjectStore) -> None:
    keys = await stored(store)
    counting = Counting(store)
    assert read(counting, keys) == (OBJECTS, {})
    assert counting.opened == keys[:1]


@pytest.mark.parametrize("which", [0, 7, OBJECTS - 1], ids=["first", "between", "last"])
@pytest.mark.parametrize("at", [20, 40, 200, -1], ids=["checksum", "record", "beginning", "last byte"])
async def test_of_neighbours_the_one_that_is_damaged_is_found(
    store: LocalObjectStore, which: int, at: int
) -> None:
    keys = await stored(store)
    StoredObject(store.root, keys[which]).flip(at)
    condition = (
        Condition.LOST if 0 <= at < 64 else Condition.CORRUPT
    )  # without a record it is not to be found by its key
    assert read(Counting(store), keys) == (OBJECTS - 1, {keys[which]: condition})


async def test_of_neighbours_the_one_that_is_gone_is_lost_and_the_others_are_read(
    store: LocalObjectStore,
) -> None:
    keys = await stored(store)
    await store.remove(keys[0], keys[9])
    assert read(Counting(store), keys) == (OBJECTS - 2, {keys[0]: Condition.LOST, keys[9]: Condition.LOST})


async def test_a_neighbour_that_was_removed_while_somebody_reads_it_is_gone(store: LocalObjectStore) -> None:
    """Its bytes are all there still: a look that goes by them alone would call it intact."""
    keys = await stored(store)
    reader = store.open(keys[5])
    await store.remove(keys[5])
    assert read(Counting(store), keys) == (OBJECTS - 1, {keys[5]: Condition.LOST})
    os.close(reader.fd)


async def test_a_neighbour_that_is_another_object_than_the_one_indexed_is_corrupt(
    store: LocalObjectStore,
) -> None:
    keys = await stored(store, 3)
    objects, _, troubles = read_some(store, deque(spans(keys)), {keys[1]: bytes(16)}, Pace(None))
    assert (objects, [trouble.key for trouble in troubles]) == (2, [keys[1]])
    assert troubles[0].why == "it is not the object that was indexed"


async def test_a_span_that_is_longer_than_its_segment_is_read_as_far_as_that_goes(
    store: LocalObjectStore,
) -> None:
    keys = await stored(store, 4)
    segment = StoredObject(store.root, keys[0]).path
    end = place_of(keys[-1]).block or 0
    os.truncate(segment, end * BLOCK_BYTES)
    objects, _, troubles = read_some(store, deque([Span(keys, PIECE_BYTES)]), {}, Pace(None))
    assert (objects, [trouble.key for trouble in troubles]) == (3, keys[-1:])


async def test_a_scrub_of_a_segment_counts_every_object_and_byte_once(store: LocalObjectStore) -> None:
    keys = await stored(store)
    StoredObject(store.root, keys[3]).flip(300)
    portions: list[Portion] = []

    async def tell(portion: Portion) -> None:
        portions.append(portion)

    async with NativePool(3, "test") as pool:
        await scrub(store, None, pool, Pace(None), Cursor(), tell)
    assert sum(portion.objects for portion in portions) == OBJECTS - 1
    whole = [StoredObject(store.root, key).size_bytes for key in keys if key != keys[3]]
    assert sum(portion.size_bytes for portion in portions) == sum(whole)
    assert [damage.key for portion in portions for damage in portion.damages] == [keys[3]]


# -- what is made in advance ------------------------------------------------------------------------------------------------
async def test_the_next_one_is_made_while_one_is_used_but_not_the_one_after_it() -> None:
    begun: list[int] = []
    ended = False

    async def source() -> AsyncGenerator[int, None]:
        nonlocal ended
        try:
            for number in range(5):
                begun.append(number)
                yield number
        finally:
            ended = True

    seen: list[tuple[int, int]] = []

    async def use(number: int) -> None:
        await trio.testing.wait_all_tasks_blocked()
        seen.append((number, len(begun)))

    await in_advance(source(), use)
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5)]
    assert ended


@pytest.mark.parametrize("where", ["source", "use"])
async def test_a_failure_comes_out_by_itself_and_the_source_is_closed(where: str) -> None:
    closed = False

    async def source() -> AsyncGenerator[int, None]:
        nonlocal closed
        try:
            yield 1
            if where == "source":
                raise OSError(5, "Input/output error")
            yield 2
            yield 3
        finally:
            closed = True

    used: list[int] = []

    async def use(number: int) -> None:
        used.append(number)
        if where == "use":
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        await in_advance(source(), use)
    assert used == [1]
    assert closed
