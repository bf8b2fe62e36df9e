"""Asking again: as often as said, with growing waits, and only where it may help."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pacs_actors.lifecycle.stores.errors import CopyMissing, StoreError, StoreUnavailable
from pacs_actors.lifecycle.stores.retrying import Backoff, retrying

BACKOFF = Backoff(attempts=5, first_wait_s=1, longest_wait_s=6)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_grow_to_the_longest_and_are_never_nothing(failures: int, luck: float) -> None:
    wait_s = BACKOFF.wait_s(failures, luck)
    ceiling = min(6.0, 2.0 ** min(failures - 1, 10))
    assert ceiling / 2 <= wait_s <= ceiling


class Asked:
    def __init__(self, *failures: StoreError) -> None:
        self.failures, self.times = list(failures), 0

    async def __call__(self) -> str:
        self.times += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


async def test_what_passes_is_asked_again_after_growing_waits(autojump_clock: trio.testing.MockClock) -> None:
    ask = Asked(*[StoreUnavailable("s", "busy")] * 4)
    began = trio.current_time()
    assert await retrying(BACKOFF, ask) == "answer"
    assert ask.times == 5
    assert (1 + 2 + 4 + 6) / 2 <= trio.current_time() - began <= 1 + 2 + 4 + 6


async def test_attempts_end(autojump_clock: trio.testing.MockClock) -> None:
    ask = Asked(*[StoreUnavailable("s", "busy")] * 9)
    with pytest.raises(StoreUnavailable):
        await retrying(BACKOFF, ask)
    assert ask.times == 5


@pytest.mark.parametrize("failure", [CopyMissing("s", "gone"), StoreUnavailable("s", "never", retry=False)])
async def test_what_asking_again_does_not_help_is_asked_once(failure: StoreError) -> None:
    ask = Asked(failure)
    with pytest.raises(type(failure)):
        await retrying(BACKOFF, ask)
    assert ask.times == 1
