"""Restart strategies: who is restarted, how often, and what climbs."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pacs_actors.mail import Ready
from protocols.errors import ConfigError
from supervisors.supervisor import (
    Child,
    RestartLimit,
    RestartsExhausted,
    keep_alive,
    one_for_all,
    one_for_one,
)

LIMIT = RestartLimit(crashes=3, window_s=60, first_wait_s=1, longest_wait_s=4)


class Actor:
    """Crashes when told to; drains when told to."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name, self.journal = name, journal
        self.crash, self.leave = trio.Event(), trio.Event()
        self.child = Child(name, self.run)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        self.journal.append(f"{self.name} starts")
        self.crash = trio.Event()
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._crash)
                await self.leave.wait()
                nursery.cancel_scope.cancel()
        except* trio.Cancelled:
            self.journal.append(f"{self.name} cancelled")
            raise

    async def _crash(self) -> None:
        await self.crash.wait()
        raise RuntimeError(self.name)


async def test_one_for_one_restarts_only_the_one_that_crashed(autojump_clock: trio.testing.MockClock) -> None:
    journal: list[str] = []
    first, second = Actor("first", journal), Actor("second", journal)
    tree = one_for_one("both", LIMIT, first.child, second.child)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree.run)
        assert journal == ["first starts", "second starts"]
        first.crash.set()
        await trio.sleep(2)
        assert journal == ["first starts", "second starts", "first starts"]
        assert (first.child.vitals.restarts, second.child.vitals.restarts) == (1, 0)
        assert first.child.vitals.last_crash == "RuntimeError"
        first.leave.set()
        second.leave.set()
    assert {first.child.vitals.state, second.child.vitals.state} == {"drained"}


async def test_one_for_all_restarts_everybody_in_order(autojump_clock: trio.testing.MockClock) -> None:
    journal: list[str] = []
    first, second = Actor("first", journal), Actor("second", journal)
    tree = one_for_one("outer", LIMIT, one_for_all("both", first.child, second.child))
    async with trio.open_nursery() as nursery:
        await nursery.start(tree.run)
        second.crash.set()
        await trio.sleep(2)
        assert journal == [
            "first starts",
            "second starts",
            "first cancelled",
            "first starts",
            "second starts",
        ]
        first.leave.set()
        second.leave.set()


async def test_waits_grow_and_too_many_crashes_escalate(autojump_clock: trio.testing.MockClock) -> None:
    starts: list[float] = []

    async def run(*, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        starts.append(trio.current_time())
        task_status.started()
        raise RuntimeError

    began = trio.current_time()
    with pytest.raises(RestartsExhausted, match="4 crashes"):
        await keep_alive(Child("weak", run), LIMIT)
    assert [at - began for at in starts] == pytest.approx([0, 1, 3, 7])


async def test_crashes_outside_the_window_do_not_count(autojump_clock: trio.testing.MockClock) -> None:
    starts = 0

    async def run(*, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        nonlocal starts
        starts += 1
        task_status.started()
        await trio.sleep(50)
        if starts <= 8:
            raise RuntimeError

    await keep_alive(Child("tired", run), LIMIT)
    assert starts == 9


async def test_exhausted_restarts_climb_one_supervisor_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    runs = 0

    async def run(*, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        nonlocal runs
        runs += 1
        task_status.started()
        raise RuntimeError

    inner = one_for_one("inner", RestartLimit(1, 60, 0.1, 0.1), Child("weak", run))
    outer = one_for_one("outer", RestartLimit(2, 60, 0.1, 0.1), inner)
    with pytest.raises(BaseExceptionGroup) as caught:
        await outer.run()
    assert caught.group_contains(RestartsExhausted, match="inner: 3 crashes")
    assert runs == 6


async def test_a_child_that_fails_before_it_is_ready_is_restarted_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    attempts = 0

    async def run(*, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise OSError("port taken")
        task_status.started()

    async with trio.open_nursery() as nursery:
        child = Child("late", run)
        await nursery.start(keep_alive, child, LIMIT)
    assert attempts == 3
    assert child.vitals.state == "drained"


async def test_cancellation_is_no_crash(autojump_clock: trio.testing.MockClock) -> None:
    journal: list[str] = []
    actor = Actor("only", journal)
    with trio.move_on_after(3):
        await keep_alive(actor.child, LIMIT)
    assert journal == ["only starts", "only cancelled"]
    assert (actor.child.vitals.crashes, actor.child.vitals.state) == (0, "down")


async def test_a_wrong_setting_is_not_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    starts = 0

    async def run(*, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        nonlocal starts
        starts += 1
        raise ConfigError("tls.certificate: cannot use it")

    with pytest.raises(BaseExceptionGroup) as caught:
        await keep_alive(Child("misled", run), LIMIT)
    assert caught.group_contains(ConfigError)
    assert starts == 1
