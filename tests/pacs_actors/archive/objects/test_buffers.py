from __future__ import annotations

import ctypes

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES, BufferPool
from protocols.errors import Misuse


async def test_buffers_are_a_mebibyte_and_aligned_for_unbuffered_writes() -> None:
    buffer = await BufferPool(1).acquire()
    assert len(buffer.view) == BUFFER_BYTES
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer.view)) % BLOCK_BYTES == 0


async def test_who_finds_none_free_waits_in_turn() -> None:
    pool = BufferPool(2)
    held = [await pool.acquire(), await pool.acquire()]
    order: list[int] = []

    async def want(number: int) -> None:
        buffer = await pool.acquire()
        order.append(number)
        buffer.release()

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(want, number)
            await wait_all_tasks_blocked()
        assert (pool.statistics.total, pool.statistics.free, pool.statistics.waiting) == (2, 0, 3)
        held.pop().release()
        await wait_all_tasks_blocked()
    assert order == [0, 1, 2]
    held.pop().release()
    assert (pool.statistics.free, pool.statistics.waiting) == (2, 0)


async def test_a_cancelled_wait_loses_no_buffer() -> None:
    pool = BufferPool(1)
    held = await pool.acquire()
    with trio.CancelScope() as scope:
        scope.cancel()
        await pool.acquire()
    held.release()
    assert pool.statistics.free == 1


async def test_a_buffer_released_twice_is_our_bug() -> None:
    pool = BufferPool(2)
    buffer = await pool.acquire()
    buffer.release()
    with pytest.raises(Misuse):
        buffer.release()
    assert pool.statistics.free == 2


async def test_a_view_kept_after_release_does_not_read_the_next_object() -> None:
    pool = BufferPool(1)
    buffer = await pool.acquire()
    kept = buffer.view
    buffer.release()
    with pytest.raises(ValueError, match="released"):
        kept[0]


def test_a_pool_of_nothing_is_our_bug() -> None:
    with pytest.raises(Misuse):
        BufferPool(0)
