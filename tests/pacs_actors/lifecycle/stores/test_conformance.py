"""What every kind of tier store does, the same for all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from pacs_actors.lifecycle.stores.errors import BadCopyKey, CopyDiffers, CopyMissing, SourceBroken
from pacs_actors.lifecycle.stores.interface import PIECE_BYTES, ByteStream, StoredCopy, TierStore
from tests.pacs_actors.lifecycle.stores.helpers import (
    all_keys,
    digest_of,
    in_file,
    key_of,
    pieces_of,
    put,
    read,
    some_bytes,
    stream,
)

SMALL = 100_000
LARGE = 11 * 1024**2 + 17
"""More than two parts, and not a whole number of them."""


@pytest.mark.parametrize("size", [0, 1, SMALL, LARGE])
async def test_what_is_put_from_a_file_comes_back(store: TierStore, tmp_path: Path, size: int) -> None:
    content = some_bytes(size)
    with in_file(tmp_path, content, before=b"segment") as source:
        copy = await store.put(key_of(content), source)
    assert copy == StoredCopy(key=key_of(content), size_bytes=size, digest=digest_of(content))
    assert await read(store, copy.key) == content
    assert await store.size(copy.key) == size
    assert await store.confirm(copy) and await store.verify(copy)


@pytest.mark.parametrize(
    ("size", "step"), [(0, 70_000), (SMALL, 70_000), (SMALL, 6 * 1024**2), (LARGE, 6 * 1024**2)]
)
async def test_what_is_put_from_a_stream_comes_back(store: TierStore, size: int, step: int) -> None:
    content = some_bytes(size)
    copy = await store.put(key_of(content), stream(content, step))
    assert copy.digest == digest_of(content)
    assert await read(store, copy.key) == content
    assert await store.verify(copy)


async def test_a_stream_with_a_known_digest_can_be_confirmed_at_any_size(store: TierStore) -> None:
    content = some_bytes(LARGE)
    source = ByteStream(pieces_of(content), LARGE, digest_of(content))
    assert await store.confirm(await store.put(key_of(content), source))


async def test_pieces_are_never_large_and_tell_the_size_of_the_whole(store: TierStore) -> None:
    content = some_bytes(3 * PIECE_BYTES + 5)
    copy = await put(store, content)
    async with store.get(copy.key, 10) as pieces:
        assert pieces.size_bytes == len(content)
        sizes = [len(piece) async for piece in pieces]
    assert max(sizes) <= PIECE_BYTES and min(sizes) > 0 and sum(sizes) == len(content) - 10


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1),
        (5, 10),
        (SMALL - 1, 1),
        (SMALL - 5, 100),
        (SMALL, 1),
        (SMALL + 10**6, None),
        (17, 0),
        (1, None),
    ],
)
async def test_a_part_is_read(store: TierStore, offset: int, length: int | None) -> None:
    content = some_bytes(SMALL)
    copy = await put(store, content)
    async with store.get(copy.key, offset, length) as pieces:
        assert pieces.size_bytes == SMALL
        got = b"".join([piece async for piece in pieces])
    assert got == content[offset : SMALL if length is None else offset + length]


async def test_a_part_of_a_large_copy_is_read_across_its_parts(store: TierStore) -> None:
    content = some_bytes(LARGE)
    copy = await put(store, content)
    start, length = 3 * 1024**2 + 1, 7 * 1024**2
    assert await read(store, copy.key, start, length) == content[start : start + length]
    assert await read(store, copy.key, LARGE - 3) == content[-3:]


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_the_same_again_succeeds(store: TierStore, tmp_path: Path, size: int) -> None:
    content = some_bytes(size)
    first = await put(store, content)
    assert await put(store, content) == first
    with in_file(tmp_path, content) as source:
        assert await store.put(first.key, source) == first
    assert await store.verify(first)


@pytest.mark.parametrize(("size", "longer"), [(SMALL, 0), (SMALL, 1), (LARGE, 0)])
async def test_other_bytes_under_the_same_key_are_refused_and_the_first_stay(
    store: TierStore, size: int, longer: int
) -> None:
    first = await put(store, some_bytes(size))
    with pytest.raises(CopyDiffers):
        await store.put(first.key, stream(some_bytes(size + longer, seed=1)))
    assert await store.verify(first)
    assert await all_keys(store) == [first.key]


async def test_a_copy_that_was_removed_can_be_replaced(store: TierStore) -> None:
    content = some_bytes(SMALL)
    damaged = await store.put(key_of(content), stream(some_bytes(SMALL, seed=1)))
    await store.remove(damaged.key)
    assert await store.verify(await put(store, content))


async def test_verify_finds_other_bytes(store: TierStore) -> None:
    copy = await put(store, some_bytes(SMALL))
    assert not await store.verify(StoredCopy(key=copy.key, size_bytes=SMALL, digest=digest_of(b"other")))
    assert not await store.verify(StoredCopy(key=copy.key, size_bytes=SMALL + 1, digest=copy.digest))
    assert not await store.confirm(StoredCopy(key=copy.key, size_bytes=SMALL + 1, digest=copy.digest))


async def test_what_is_not_there_is_missing(store: TierStore) -> None:
    key = key_of(b"never")
    with pytest.raises(CopyMissing):
        await read(store, key)
    with pytest.raises(CopyMissing):
        await read(store, key, 5, 0)
    with pytest.raises(CopyMissing):
        await store.size(key)
    copy = StoredCopy(key=key, size_bytes=5, digest=bytes(16))
    with pytest.raises(CopyMissing):
        await store.verify(copy)
    with pytest.raises(CopyMissing):
        await store.confirm(copy)


async def test_removing_takes_several_and_passes_over_what_has_gone(store: TierStore) -> None:
    copies = [await put(store, some_bytes(10 + n), instance=n) for n in range(3)]
    await store.remove(copies[0].key, key_of(b"never"), copies[2].key)
    assert await all_keys(store) == [copies[1].key]
    await store.remove(copies[0].key)
    await store.remove()
    assert await all_keys(store) == [copies[1].key]


async def test_keys_come_in_order_and_from_where_one_says(store: TierStore) -> None:
    assert await all_keys(store) == []
    copies = [await put(store, some_bytes(20 + n), instance=n, study=n % 3) for n in range(9)]
    copies.append(await store.put("ab/manifest-0.json", stream(b"{}")))
    copies.append(await store.put("abc/0001.pack", stream(b"pack")))
    keys = sorted(copy.key for copy in copies)
    assert await all_keys(store) == keys
    for number, key in enumerate(keys):
        assert await all_keys(store, after=key) == keys[number + 1 :]
    await store.remove(keys[4])
    assert await all_keys(store, after=keys[4]) == keys[5:]
    assert await all_keys(store, after="zz/z0") == []


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("given", [-1, 1])
async def test_a_stream_that_is_not_what_it_says_leaves_nothing(
    store: TierStore, size: int, given: int
) -> None:
    content = some_bytes(size + given)
    with pytest.raises(SourceBroken):
        await store.put(key_of(content), ByteStream(pieces_of(content), size))
    assert await all_keys(store) == []


async def test_a_stream_with_another_digest_than_it_says_leaves_nothing(store: TierStore) -> None:
    for size in (SMALL, LARGE):
        content = some_bytes(size)
        with pytest.raises(SourceBroken):
            await store.put(key_of(content), ByteStream(pieces_of(content), size, bytes(16)))
    assert await all_keys(store) == []


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_file_that_is_shorter_than_said_leaves_nothing(
    store: TierStore, tmp_path: Path, size: int
) -> None:
    content = some_bytes(size)
    with in_file(tmp_path, content) as source, pytest.raises(SourceBroken):
        await store.put(key_of(content), source._replace(size_bytes=size + 1))
    assert await all_keys(store) == []


async def test_a_failing_source_is_heard_as_it_is_and_leaves_nothing(store: TierStore) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield some_bytes(6 * 1024**2)
        raise CopyMissing("elsewhere", "gone")

    with pytest.raises(CopyMissing, match="elsewhere"):
        await store.put(key_of(b"x"), ByteStream(failing(), LARGE))
    assert await all_keys(store) == []


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_put_that_is_cancelled_in_the_middle_leaves_nothing(store: TierStore, size: int) -> None:
    content = some_bytes(size)
    half_way = trio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield content[: size * 3 // 4]
        half_way.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.put, key_of(content), ByteStream(stuck(), size))
        await half_way.wait()
        nursery.cancel_scope.cancel()
    assert await all_keys(store) == []
    assert await store.verify(await put(store, content))


async def test_a_reader_may_leave_in_the_middle(store: TierStore) -> None:
    copy = await put(store, some_bytes(LARGE))
    for _ in range(6):  # more than there are connections
        async with store.get(copy.key) as pieces:
            assert await anext(aiter(pieces))
    assert await store.verify(copy)


async def test_fifty_puts_at_once_all_succeed(store: TierStore) -> None:
    contents = [some_bytes(30_000 + n) for n in range(50)]
    copies: list[StoredCopy] = []

    async def one(number: int) -> None:
        copies.append(await put(store, contents[number], instance=number, study=number % 4))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, number)
    assert await all_keys(store) == sorted(copy.key for copy in copies)
    assert len({copy.key for copy in copies}) == 50


async def test_ten_puts_of_the_same_at_once_are_one_copy(store: TierStore) -> None:
    content = some_bytes(SMALL)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(put, store, content)
    assert await all_keys(store) == [key_of(content)]
    assert await read(store, key_of(content)) == content


@pytest.mark.parametrize(
    "key",
    ["", "/", "ab", "ab/", "/etc/passwd", "../../etc/passwd", "ab/../x.dcm", "ab/..", "ab/.hidden", "a/b", "AB/x.dcm",
     "ab/x/y.dcm", "ab//x", "ab/x\0.dcm", "ab/x.dcm\n", "ab/x y", "ab/ümlaut", "ab/" + "x" * 200, "a-b/x.dcm",
     "ab/x..dcm", "\uff0e\uff0e/x1", "ab/x?versionId=1", "ab/x%2e%2e"],
)  # fmt: skip
async def test_a_hostile_key_is_refused_before_the_store_is_asked(store: TierStore, key: str) -> None:
    with pytest.raises(BadCopyKey):
        await store.put(key, stream(b"x"))
    with pytest.raises(BadCopyKey):
        await read(store, key)
    with pytest.raises(BadCopyKey):
        await store.size(key)
    with pytest.raises(BadCopyKey):
        await store.verify(StoredCopy(key=key, size_bytes=1, digest=bytes(16)))
    with pytest.raises(BadCopyKey):
        await store.remove(key_of(b"x"), key)
    if key:
        with pytest.raises(BadCopyKey):
            await all_keys(store, after=key)


async def test_room_is_told_or_not_known(store: TierStore) -> None:
    free = await store.free_bytes()
    assert free is None or free > 0
