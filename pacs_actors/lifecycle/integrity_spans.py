"""Reading many objects with few calls: what lies behind each other in a segment is read at once, as long as it is as it should be.

A quick look can only say that an object is intact. Whatever it cannot say that of is read for itself, with all care
(``integrity_reading``): claimed, twice, and with words for what is wrong. Everything here blocks; for native threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from xxhash import xxh3_128_digest

from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing, place_of
from pacs_actors.lifecycle.integrity_reading import (
    PIECE_BYTES,
    Condition,
    Openable,
    Pace,
    Reading,
    Stopped,
    page_aligned,
    past_the_cache,
    read_surely,
)
from protocols.dataset.part10 import PREAMBLE_BYTES, read_record

_OBJECT_BLOCKS: Final = BUFFER_BYTES // BLOCK_BYTES  # a packed object has no more
_PIECE_BLOCKS: Final = PIECE_BYTES // BLOCK_BYTES


class Span(Struct, frozen=True):
    """Objects that are read at once; or one that has a file for itself.

    keys:        ascending, at least one
    size_bytes:  of all of them at most, PIECE_BYTES at most; 0: of one with a file for itself
    """

    keys: list[str]
    size_bytes: int


def spans(keys: Sequence[str]) -> Iterator[Span]:
    """Share ascending keys out. raises: ObjectMissing for what is no key"""
    places = [place_of(key) for key in keys]
    begin, count = 0, len(keys)
    while begin < count:
        path, first = places[begin]
        end = begin + 1
        if first is None:
            yield Span([keys[begin]], 0)
            begin = end
            continue
        last = first
        following: int | None = None
        while end < count and places[end].path == path:
            following = places[end].block or 0
            if following + _OBJECT_BLOCKS > first + _PIECE_BLOCKS:
                break
            last, following, end = following, None, end + 1
        blocks = last + _OBJECT_BLOCKS if following is None else min(last + _OBJECT_BLOCKS, following)
        yield Span(list(keys[begin:end]), (blocks - first) * BLOCK_BYTES)
        begin = end


def read_some(
    store: Openable, left: deque[Span], digests: Mapping[str, bytes], pace: Pace
) -> tuple[int, int, list[Reading]]:
    """Read spans off a queue that threads share, until it is empty; (objects, bytes) that were intact, and what was not.

    Ends early when the pace is stopped.
    digests:  as the index has them, of the keys that it knows
    """
    buffer = page_aligned()
    objects = size_bytes = 0
    troubles: list[Reading] = []
    try:
        while (span := _next(left)) is not None:
            intact = _glance(store, span, digests, buffer, pace) if span.size_bytes else {}
            objects, size_bytes = objects + len(intact), size_bytes + sum(intact.values())
            for key in span.keys:
                if key in intact:
                    continue
                reading = read_surely(store, key, buffer, pace, digests.get(key))
                if reading.condition is Condition.INTACT:
                    objects, size_bytes = objects + 1, size_bytes + reading.size_bytes
                else:
                    troubles.append(reading)
    except Stopped:
        pass
    return objects, size_bytes, troubles


def _next(left: deque[Span]) -> Span | None:
    try:
        return left.popleft()
    except IndexError:
        return None


def _glance(
    store: Openable, span: Span, digests: Mapping[str, bytes], buffer: memoryview, pace: Pace
) -> dict[str, int]:
    """Sizes of those that are intact, by key. raises: Stopped"""
    try:
        file = store.open(span.keys[0])
    except (ObjectMissing, OSError):
        return {}
    try:
        with past_the_cache(ObjectFile(file.fd, file.start, span.size_bytes)) as fd:
            pace.take(span.size_bytes)
            got = os.preadv(fd, [buffer[: span.size_bytes]], file.start)
    except OSError:
        return {}
    finally:
        os.close(file.fd)
    first = place_of(span.keys[0]).block or 0
    if file.start != first * BLOCK_BYTES:
        return {}  # a store that has its objects elsewhere than their keys say
    intact: dict[str, int] = {}
    for key in span.keys:
        block = place_of(key).block or 0
        size_bytes = _size_if_intact(buffer[(block - first) * BLOCK_BYTES : got], block, digests.get(key))
        if size_bytes:
            intact[key] = size_bytes
    return intact


def _size_if_intact(view: memoryview, block: int, expected: bytes | None) -> int:
    """The size of the object that ``view`` begins with; 0 if it is none for that block, not whole, or not the one expected."""
    record = read_record(view, block)
    if record is None or not PREAMBLE_BYTES < record.size_bytes <= len(view):
        return 0
    digest = xxh3_128_digest(view[PREAMBLE_BYTES : record.size_bytes])
    return record.size_bytes if digest == record.digest and expected in (None, digest) else 0
