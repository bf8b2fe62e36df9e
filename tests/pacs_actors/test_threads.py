from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import outcome
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pacs_actors.threads import NativePool
from protocols.errors import Misuse


class Gate:
    """A function for a pool that says when it has begun and ends when told."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._go_on = threading.Event()
        self.begun = trio.Event()
        self.runs = 0

    def __call__(self) -> str:
        self.runs += 1
        self._token.run_sync_soon(self.begun.set)
        assert self._go_on.wait(20)
        return "done"

    def open(self) -> None:
        self._go_on.set()


def telling(event: trio.Event) -> Callable[[], None]:
    """``event.set`` for other threads."""
    token = trio.lowlevel.current_trio_token()
    return lambda: token.run_sync_soon(event.set)


async def test_results_and_errors_come_back_to_their_askers() -> None:
    results: dict[int, int] = {}
    async with NativePool(4, "test") as pool, trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            results[number] = await pool.run(lambda n: n * n, number)

        for number in range(500):
            nursery.start_soon(ask, number)
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
    assert results == {number: number * number for number in range(500)}


async def test_work_runs_on_the_pools_own_threads_which_end_with_it() -> None:
    async with NativePool(2, "own") as pool:
        names = {await pool.run(lambda: threading.current_thread().name) for _ in range(20)}
        assert names <= {"own-0", "own-1"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("own-")]


async def test_many_results_that_are_ready_cost_one_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, last = Gate(), threading.Event()
    async with NativePool(1, "test") as pool, trio.open_nursery() as nursery:
        wakes = 0
        soon = pool._soon

        def counted(function: Callable[[], None]) -> None:
            nonlocal wakes
            wakes += 1
            soon(function)

        monkeypatch.setattr(pool, "_soon", counted)
        nursery.start_soon(pool.run, gate)
        for _ in range(50):
            nursery.start_soon(pool.run, int)
        nursery.start_soon(pool.run, last.set)
        await gate.begun.wait()
        await wait_all_tasks_blocked()
        gate.open()
        assert last.wait(20)  # the loop is held up until all calls have run
        assert wakes <= 2  # the last result may still be on its way
    assert pool.statistics.waiting == 0


async def test_a_cancelled_call_that_has_not_begun_never_runs() -> None:
    gate, second = Gate(), Gate()
    async with NativePool(1, "test") as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.run, gate)
        await gate.begun.wait()
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_when_blocked, scope)
            await pool.run(second)
        assert scope.cancelled_caught
        gate.open()
    assert second.runs == 0


async def test_a_cancelled_call_that_has_begun_is_waited_for_because_it_uses_our_buffers() -> None:
    gate = Gate()
    result = ""
    async with NativePool(1, "test") as pool, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        left = trio.Event()

        async def ask() -> None:
            nonlocal result
            with scope:
                result = await pool.run(gate)
            left.set()

        nursery.start_soon(ask)
        await gate.begun.wait()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert not left.is_set()
        gate.open()
        await left.wait()
    assert result == "done"


async def test_an_abandoned_call_leaves_at_once_and_its_late_result_is_cleaned_up() -> None:
    gate, cleaned = Gate(), trio.Event()
    seen: list[tuple[str, str]] = []
    tell = telling(cleaned)

    def clean_up(value: str) -> None:
        seen.append((value, threading.current_thread().name))
        tell()

    async with NativePool(1, "test") as pool, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_after, gate.begun, scope)
            await pool.run(gate, abandon=clean_up)
        assert scope.cancelled_caught
        assert not seen
        gate.open()
        await cleaned.wait()
        assert seen == [("done", "test-0")]


async def test_an_abandoned_call_that_ends_while_the_pool_closes_is_cleaned_up_too() -> None:
    gate = Gate()
    seen: list[str] = []
    async with NativePool(1, "test") as pool, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_after, gate.begun, scope)
            await pool.run(gate, abandon=seen.append)
        gate.open()
    assert seen == ["done"]


async def test_a_failure_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with NativePool(1, "test") as pool:
            pool.submit(lambda: 1 // 0)
    assert [record.message for record in caplog.records] == ["unattended_call_failed"]


async def test_submitted_work_is_done_before_the_pool_ends_and_even_after() -> None:
    done: list[int] = []
    async with NativePool(2, "test") as pool:
        for number in range(100):
            pool.submit(done.append, number)
    assert sorted(done) == list(range(100))
    pool.submit(done.append, -1)
    assert done[-1] == -1


async def test_statistics_tell_what_is_busy_and_what_waits() -> None:
    gate = Gate()
    async with NativePool(1, "test") as pool, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(pool.run, gate)
        await gate.begun.wait()
        await wait_all_tasks_blocked()
        assert (pool.statistics.threads, pool.statistics.busy, pool.statistics.waiting) == (1, 1, 2)
        gate.open()
    assert (pool.statistics.busy, pool.statistics.waiting) == (0, 0)


async def test_a_pool_that_is_not_open_takes_no_calls() -> None:
    pool = NativePool(1, "test")
    with pytest.raises(Misuse):
        await pool.run(int)
    with pytest.raises(Misuse):
        NativePool(0, "test")


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def test_what_is_started_is_told_of_on_the_loop_before_the_pool_ends() -> None:
    told: list[outcome.Outcome[float]] = []
    threads: set[int] = set()

    def done(result: outcome.Outcome[float]) -> None:
        told.append(result)
        threads.add(threading.get_ident())

    async with NativePool(1, "test") as pool:
        pool.start(lambda a, b: a / b, 6, 3, done=done)
        pool.start(lambda a, b: a / b, 6, 0, done=done)
    good, bad = told
    assert good == outcome.Value(2.0)
    assert isinstance(bad, outcome.Error)
    assert isinstance(bad.error, ZeroDivisionError)
    assert threads == {threading.get_ident()}
    with pytest.raises(Misuse):
        pool.start(lambda a, b: a / b, 1, 1, done=done)
