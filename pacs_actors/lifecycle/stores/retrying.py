"""Asking again: bounded, with growing waits that differ from node to node, so that a store that comes back is not overrun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import random
from typing import TypeVar

import trio
from msgspec import Struct

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores.errors import StoreUnavailable

T = TypeVar("T")


class Backoff(Struct, frozen=True):
    """attempts: in all, at least 1; first_wait_s, longest_wait_s: after the first failure, and at most."""

    attempts: int
    first_wait_s: float
    longest_wait_s: float

    @classmethod
    def of(cls, settings: LifecycleStoreSettings) -> Backoff:
        return cls(settings.attempts, settings.first_wait_s, settings.longest_wait_s)

    def wait_s(self, failures: int, luck: float) -> float:
        """After so many failures, at least 1. luck: 0 to 1; the wait is half to all of what has grown"""
        grown = self.first_wait_s * 2.0 ** min(failures - 1, 60)
        return min(grown, self.longest_wait_s) * (0.5 + 0.5 * luck)


async def retrying(backoff: Backoff, ask: Callable[[], Awaitable[T]]) -> T:
    """What ``ask`` returns at last. raises: what it raises, and StoreUnavailable when all attempts are used up"""
    for failures in range(1, backoff.attempts):
        try:
            return await ask()
        except StoreUnavailable as failure:
            if not failure.retry:
                raise
        # Not for secrets: that two nodes do not wait equally long.
        await trio.sleep(backoff.wait_s(failures, random()))  # noqa: S311
    return await ask()
