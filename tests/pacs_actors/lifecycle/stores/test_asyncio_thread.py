"""Units of work on the asyncio thread: results and failures come back, who leaves leaves nothing running."""

from __future__ import annotations

import asyncio
import threading

import pytest
import trio
import trio.testing

from pacs_actors.lifecycle.stores.asyncio_thread import AsyncioThread
from protocols.errors import Unavailable


async def test_a_unit_runs_over_there_and_its_result_comes_back() -> None:
    async def unit() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    async with AsyncioThread("over-there") as thread:
        assert await thread.run(unit) == "over-there"


async def test_a_failure_comes_back() -> None:
    async def unit() -> None:
        raise LookupError("that")

    async with AsyncioThread("t") as thread:
        with pytest.raises(LookupError, match="that"):
            await thread.run(unit)


async def test_many_units_at_once_get_their_own_results() -> None:
    results: dict[int, int] = {}

    async with AsyncioThread("t") as thread:

        async def one(number: int) -> None:
            async def unit() -> int:
                await asyncio.sleep(0)
                return number

            results[number] = await thread.run(unit)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(one, number)
    assert results == {number: number for number in range(100)}


async def test_who_is_cancelled_leaves_at_once_and_the_unit_is_cancelled() -> None:
    began, ended = threading.Event(), trio.Event()
    cancelled = threading.Event()

    async def unit() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with AsyncioThread("t") as thread:
        pending = thread.start(unit, ended.set)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pending.wait)
            await trio.to_thread.run_sync(began.wait, 10)
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await ended.wait()
        assert cancelled.is_set()


async def test_what_is_dropped_before_it_begins_ends_too() -> None:
    left = 50
    all_ended = trio.Event()

    def ended() -> None:
        nonlocal left
        left -= 1
        if not left:
            all_ended.set()

    async with AsyncioThread("t") as thread:
        for _ in range(50):
            thread.start(lambda: asyncio.sleep(3600), ended).drop()
        with trio.fail_after(10):
            await all_ended.wait()


async def test_what_has_ended_unasked_is_there_later() -> None:
    ended = trio.Event()

    async def unit() -> int:
        return 7

    async with AsyncioThread("t") as thread:
        pending = thread.start(unit, ended.set)
        await ended.wait()
        assert await pending.wait() == 7


async def test_leaving_ends_what_runs_and_answers_who_waits() -> None:
    heard: list[Exception] = []

    async def waiting(thread: AsyncioThread) -> None:
        try:
            await thread.run(lambda: asyncio.sleep(3600))
        except Unavailable as error:
            heard.append(error)

    async with trio.open_nursery() as nursery:
        async with AsyncioThread("t") as thread:
            nursery.start_soon(waiting, thread)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.deadline = trio.current_time() + 10
    assert len(heard) == 1
    with pytest.raises(Unavailable):
        await thread.run(lambda: asyncio.sleep(0))
