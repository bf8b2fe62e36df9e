"""One native thread that serves together what waits."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import outcome
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pacs_actors.group_thread import GroupThread
from pacs_actors.threads import PoolStatistics
from protocols.errors import Misuse


class Doubling:
    """Serves numbers with twice the number; negative ones are refused; waits in between if told to."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.hold, self.reached = threading.Event(), threading.Event()
        self.hold.set()

    def __call__(self, group: Sequence[int]) -> list[outcome.Outcome[int]]:
        self.groups.append(list(group))
        self.reached.set()
        assert self.hold.wait(20)
        return [outcome.Error(ValueError(n)) if n < 0 else outcome.Value(2 * n) for n in group]


async def busy(serve: Doubling, thread: GroupThread[int, int], nursery: trio.Nursery) -> None:
    """Have the thread serve 0 until ``serve.hold`` is set."""
    serve.hold.clear()
    serve.reached.clear()
    nursery.start_soon(thread.run, 0)
    with trio.fail_after(20):
        while not serve.reached.is_set():
            await trio.lowlevel.checkpoint()


async def test_a_lone_caller_waits_for_nobody() -> None:
    serve = Doubling()
    async with GroupThread(serve, 10, "test") as thread:
        assert await thread.run(4) == 8
        assert await thread.run(5) == 10
    assert serve.groups == [[4], [5]]


async def test_all_that_tasks_have_before_the_loop_rests_is_one_group() -> None:
    serve, found = Doubling(), list[int]()
    async with GroupThread(serve, 10, "test") as thread:
        for number in range(1, 6):
            thread.start(number, lambda done: found.append(done.unwrap()))
    assert serve.groups == [[1, 2, 3, 4, 5]]
    assert found == [2, 4, 6, 8, 10]


async def test_what_comes_meanwhile_is_the_next_group_in_its_order_and_no_larger_than_it_may_be() -> None:
    serve, found = Doubling(), dict[int, int]()
    async with GroupThread(serve, 4, "test") as thread, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            found[number] = await thread.run(number)

        await busy(serve, thread, nursery)
        for number in range(1, 7):
            nursery.start_soon(one, number)
            await wait_all_tasks_blocked()
        assert thread.statistics == PoolStatistics(threads=1, busy=1, waiting=6)
        serve.hold.set()
    assert serve.groups == [[0], [1, 2, 3, 4], [5, 6]]
    assert found == {number: 2 * number for number in range(1, 7)}
    assert thread.statistics.waiting == 0
    assert not thread.statistics.busy


async def test_what_is_started_is_told_of_on_the_loop_with_what_is_waited_for() -> None:
    serve, told, threads = Doubling(), list[outcome.Outcome[int]](), set[int]()

    def done(result: outcome.Outcome[int]) -> None:
        told.append(result)
        threads.add(threading.get_ident())

    async with GroupThread(serve, 10, "test") as thread, trio.open_nursery() as nursery:
        await busy(serve, thread, nursery)
        thread.start(1, done)
        thread.start(-2, done)
        assert thread.statistics == PoolStatistics(threads=1, busy=1, waiting=2)
        serve.hold.set()
        assert await thread.run(3) == 6
    assert [isinstance(result, outcome.Value) for result in told] == [True, False]
    assert threads == {threading.get_ident()}
    assert [number for group in serve.groups for number in group] == [0, 1, -2, 3]
    with pytest.raises(Misuse):
        thread.start(4, done)


async def test_one_that_is_refused_costs_the_others_nothing() -> None:
    serve, found, refused = Doubling(), list[int](), list[int]()
    async with GroupThread(serve, 10, "test") as thread, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            try:
                found.append(await thread.run(number))
            except ValueError:
                refused.append(number)

        await busy(serve, thread, nursery)
        for number in (1, -2, 3):
            nursery.start_soon(one, number)
        await wait_all_tasks_blocked()
        serve.hold.set()
    assert sorted(found) == [2, 6]
    assert refused == [-2]


async def test_a_cancelled_call_is_withdrawn_before_its_group_begins_and_waited_for_after() -> None:
    serve = Doubling()
    async with GroupThread(serve, 10, "test") as thread, trio.open_nursery() as nursery:
        await busy(serve, thread, nursery)
        with trio.CancelScope() as scope:
            scope.cancel()
            await thread.run(1)
        assert scope.cancelled_caught
        got: list[int] = []
        serve.hold.set()
        with trio.CancelScope() as scope:
            serve.hold.clear()
            serve.reached.clear()

            async def cancel_when_taken() -> None:
                while not serve.reached.is_set():
                    await trio.lowlevel.checkpoint()
                scope.cancel()
                await wait_all_tasks_blocked()
                serve.hold.set()

            nursery.start_soon(cancel_when_taken)
            got.append(await thread.run(3))
        assert got == [6], "the thread may be using its buffers"
    assert [number for group in serve.groups for number in group] == [0, 3]


async def test_a_bug_while_serving_is_everybodys_and_the_thread_lives_on() -> None:
    calls: list[int] = []

    def serve(group: Sequence[int]) -> list[outcome.Outcome[int]]:
        calls.append(len(group))
        if len(calls) == 1:
            raise ZeroDivisionError
        return [outcome.Value(n) for n in group]

    async with GroupThread(serve, 10, "test") as thread:
        with pytest.raises(ZeroDivisionError):
            await thread.run(1)
        assert await thread.run(2) == 2


async def test_what_waits_at_the_end_is_still_served_and_nothing_is_taken_after_it() -> None:
    serve, found = Doubling(), list[int]()
    async with trio.open_nursery() as nursery:
        async with GroupThread(serve, 10, "test") as thread:

            async def one(number: int) -> None:
                found.append(await thread.run(number))

            await busy(serve, thread, nursery)
            nursery.start_soon(one, 1)
            nursery.start_soon(one, 2)
            await wait_all_tasks_blocked()
            serve.hold.set()
        with pytest.raises(Misuse):
            await thread.run(3)
    assert sorted(found) == [2, 4]
