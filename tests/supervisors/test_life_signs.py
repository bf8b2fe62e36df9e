"""When a worker counts as lost. Time is simulated, and the worker only its part of the shared page."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pacs_actors.node_page import ACCEPTING, DOWN, DRAINING, STARTING, NodePage
from supervisors.life_signs import LifeSigns

FROZEN_AFTER_S, START_WITHIN_S = 20.0, 120.0


class Rig:
    def __init__(self) -> None:
        shared = NodePage.create(1)
        self.worker = NodePage(shared.fd, 1, 0)
        self.signs = LifeSigns(shared, 0, frozen_after_s=FROZEN_AFTER_S, start_within_s=START_WITHIN_S)

    async def lost(self, waits: float = 0.0) -> tuple[str, float]:
        """waits: the part of its time that the worker waits for a processor"""
        began = asked = trio.current_time()

        def waited_s() -> float:
            nonlocal asked
            since, asked = trio.current_time() - asked, trio.current_time()
            return since * waits

        return await self.signs.until_lost(waited_s), trio.current_time() - began

    async def beat(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.worker.publish({})
            await trio.sleep(1)


@pytest.mark.parametrize("state", [DOWN, STARTING])
async def test_a_start_that_hangs_is_lost_and_the_next_may_take_longer(
    state: int, autojump_clock: trio.testing.MockClock
) -> None:
    rig = Rig()
    for patience in (1, 2, 4, 8, 8):
        rig.worker.set_state(state)
        why, after_s = await rig.lost()
        assert why == "start_hung"
        assert after_s == pytest.approx(patience * START_WITHIN_S, abs=FROZEN_AFTER_S / 5)


async def test_a_start_that_succeeds_ends_the_longer_patience(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    rig.worker.set_state(STARTING)
    await rig.lost()
    rig.worker.set_state(ACCEPTING)
    assert (await rig.lost())[0] == "frozen"
    rig.worker.set_state(STARTING)
    assert (await rig.lost())[1] == pytest.approx(START_WITHIN_S, abs=FROZEN_AFTER_S / 5)


async def test_a_worker_that_accepts_may_take_as_long_as_it_likes_to_recover(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig()
    rig.worker.set_state(ACCEPTING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.lost)
        await rig.beat(20 * START_WITHIN_S)
        nursery.cancel_scope.cancel()


async def test_a_worker_whose_loop_stands_still_is_lost(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    rig.worker.set_state(ACCEPTING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.beat, 300)
        why, after_s = await rig.lost()
    assert why == "frozen"
    assert after_s == pytest.approx(300 + FROZEN_AFTER_S, abs=FROZEN_AFTER_S / 5)


async def test_a_worker_that_drains_is_not_watched(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    rig.worker.set_state(DRAINING)
    with trio.move_on_after(20 * START_WITHIN_S) as waited:
        await rig.lost()
    assert waited.cancelled_caught


@pytest.mark.parametrize("state", [ACCEPTING, STARTING])
async def test_time_that_a_worker_waits_for_a_processor_does_not_count(
    state: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Three quarters of it: four times as long."""
    rig = Rig()
    rig.worker.set_state(state)
    patience_s = FROZEN_AFTER_S if state == ACCEPTING else START_WITHIN_S
    assert (await rig.lost(waits=0.75))[1] == pytest.approx(4 * patience_s, abs=patience_s / 5)


@pytest.mark.parametrize("state", [ACCEPTING, STARTING])
async def test_a_worker_that_is_given_nothing_is_not_waited_for_without_end(
    state: int, autojump_clock: trio.testing.MockClock
) -> None:
    rig = Rig()
    rig.worker.set_state(state)
    patience_s = FROZEN_AFTER_S if state == ACCEPTING else START_WITHIN_S
    assert (await rig.lost(waits=1.0))[1] == pytest.approx(8 * patience_s, abs=patience_s / 5)


async def test_a_machine_that_stood_still_has_lost_no_worker(mock_clock: trio.testing.MockClock) -> None:
    """The parent wakes up first, an hour later, and finds the heartbeat of an hour ago; a worker that stays silent is lost."""
    rig = Rig()
    rig.worker.set_state(ACCEPTING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.lost)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            mock_clock.jump(3600.0)
            await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        for _ in range(int(FROZEN_AFTER_S)):
            mock_clock.jump(1.0)
            await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
