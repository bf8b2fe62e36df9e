"""Copies of other nodes' objects: whole or not there, no more than the limit, and nothing that a key could not name."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_bytes

import pytest
from xxhash import xxh3_128

from pacs_actors.archive.objects.keys import ObjectMissing, cache_key, place_of
from pacs_actors.archive.objects.reading import open_object
from pacs_actors.lifecycle.node_cache import NodeCache
from pacs_actors.threads import NativePool
from protocols.errors import CannotUnderstand, OutOfResources, Unavailable

SIZE = 8192
KEYS = [f"{slot}/0000000{slot % 7}/{n:08x}" for n, slot in enumerate((0, 7, 100, 9899, 101, 3))]


def content() -> bytes:
    return token_bytes(SIZE)


def digest_of(data: bytes) -> bytes:
    return xxh3_128(data[128:]).digest()


async def pieces(data: bytes, of: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), of):
        yield data[at : at + of]


@pytest.fixture
async def pool() -> AsyncIterator[NativePool]:
    async with NativePool(2, "cache") as pool:
        yield pool


def cache_of(root: Path, pool: NativePool, limit: int = 10**9, free: int = 10**9) -> NodeCache:
    return NodeCache(root, limit, pool, lambda: free)


async def kept(cache: NodeCache, key: str, data: bytes | None = None) -> str:
    data = content() if data is None else data
    return await cache.take(key, len(data), digest_of(data), pieces(data))


async def test_what_is_kept_is_found_and_read_under_its_own_key(tmp_path: Path, pool: NativePool) -> None:
    cache = cache_of(tmp_path, pool)
    for key in (KEYS[1], "7/00000001/" + "ab" * 16 + ".dcm"):
        data = content()
        assert await cache.find(key) is None
        assert await kept(cache, key, data) == await cache.find(key) == cache_key(key)
        file = open_object(tmp_path, cache_key(key))
        assert os.pread(file.fd, file.size_bytes, file.start) == data
        os.close(file.fd)
    assert sorted(await cache.keys()) == sorted((KEYS[1], "7/00000001/" + "ab" * 16 + ".dcm"))
    await cache.remove([KEYS[1]])
    assert await cache.find(KEYS[1]) is None


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[:-1] + b"x"]
)
async def test_bytes_that_are_not_the_objects_leave_nothing(tmp_path: Path, pool: NativePool, spoil) -> None:  # type: ignore[no-untyped-def]
    cache, data = cache_of(tmp_path, pool), content()[:-1] + b"y"
    with pytest.raises(CannotUnderstand):
        await cache.take(KEYS[0], SIZE, digest_of(data), pieces(spoil(data)))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_a_store_that_breaks_off_leaves_nothing(tmp_path: Path, pool: NativePool) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 100
        raise Unavailable("the store is gone")

    with pytest.raises(Unavailable):
        await cache_of(tmp_path, pool).take(KEYS[0], SIZE, b"", broken())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_a_disk_without_room_takes_none(tmp_path: Path, pool: NativePool) -> None:
    with pytest.raises(OutOfResources):
        await kept(cache_of(tmp_path, pool, free=SIZE - 1), KEYS[0])


async def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, pool: NativePool) -> None:
    cache = cache_of(tmp_path, pool, limit=4 * SIZE)
    for age, key in enumerate(KEYS[:4]):
        await kept(cache, key)
        path = tmp_path / place_of(cache_key(key)).path
        os.utime(path, (10_000 + age, 10_000 + age))
    assert await cache.find(KEYS[0]) is not None, "and with that it is the newest"
    for key in KEYS[4:]:
        await kept(cache, key)
    left = {key for key in KEYS if await cache.find(key) is not None}
    assert {KEYS[0], KEYS[5]} <= left and not {KEYS[1], KEYS[2]} & left
    assert cache.evicted == len(KEYS) - len(left)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "cache/1-00000000-00000000.dcm",
        "../../etc/passwd",
        "1/00000000/../x.dcm",
        "1/0/0",
        "10000/00000000/00000000",
    ],
)
async def test_what_is_no_key_of_an_object_reaches_no_file(
    tmp_path: Path, pool: NativePool, key: str
) -> None:
    cache = cache_of(tmp_path, pool)
    with pytest.raises(ObjectMissing):
        await cache.find(key)
    with pytest.raises(ObjectMissing):
        await kept(cache, key)


@pytest.mark.parametrize(
    "key",
    [
        "cache/x",
        "cache/../objects/0",
        "cache/1-00000000-00000000",
        "cache/1-00000000-00000000.dcm/..",
        "cache/01-00000000-00000000.dcm",
    ],
)
def test_what_is_no_key_of_a_copy_is_no_place(key: str) -> None:
    with pytest.raises(ObjectMissing):
        place_of(key)
