"""Bytes, keys, sources, and a look at what a store has."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from xxhash import xxh3_128

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.stores.copy_keys import object_key
from pacs_actors.lifecycle.stores.interface import ByteStream, StoredCopy, TierStore


@lru_cache(maxsize=8)
def some_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{seed} {size}").randbytes(size)


def digest_of(content: bytes) -> bytes:
    return xxh3_128(content).digest()


def key_of(content: bytes, instance: int = 1, study: int = 1) -> str:
    return object_key(f"1.2.{study}", f"1.2.{study}.{instance}", digest_of(content))


def prefix_of(name: str) -> str:
    return blake2b(name.encode(), digest_size=8).hexdigest() + "/"


async def pieces_of(content: bytes, step: int = 300_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), step):
        yield content[start : start + step]


def stream(content: bytes, step: int = 300_000) -> ByteStream:
    return ByteStream(pieces_of(content, step), len(content))


@contextmanager
def in_file(folder: Path, content: bytes, before: bytes = b"") -> Iterator[ObjectFile]:
    """A place in a file, with something before and after it."""
    path = folder / "source"
    path.write_bytes(before + content + before)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield ObjectFile(fd, len(before), len(content))
    finally:
        os.close(fd)


async def put(store: TierStore, content: bytes, instance: int = 1, study: int = 1) -> StoredCopy:
    return await store.put(key_of(content, instance, study), stream(content))


async def read(store: TierStore, key: str, offset: int = 0, length: int | None = None) -> bytes:
    async with store.get(key, offset, length) as pieces:
        return b"".join([piece async for piece in pieces])


async def all_keys(store: TierStore, after: str = "") -> list[str]:
    return [key async for page in store.keys(after) for key in page]
