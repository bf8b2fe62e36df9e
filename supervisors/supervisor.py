"""Restart strategies: two combinators draw every tree.

``one_for_one`` restarts the child that crashed; ``one_for_all`` restarts them all, in order. Both restart with growing waits and
give up after too many crashes in a window: then ``RestartsExhausted`` climbs to the supervisor above, and at the root ends the
process. A child whose ``run`` returns has drained and stays down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import trio
from msgspec import Struct

from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import ConfigError


class RestartLimit(Struct, frozen=True):
    """crashes within window_s seconds are restarted, one more escalates."""

    crashes: int = 5
    window_s: float = 30.0
    first_wait_s: float = 0.05
    longest_wait_s: float = 2.0


class RestartsExhausted(Exception):
    """A child crashed too often; its supervisor's own supervisor decides."""


class Vitals(Struct):
    """How one child is doing, for the status page."""

    name: str
    state: str = "down"
    starts: int = 0
    crashes: int = 0
    last_crash: str = ""

    @property
    def restarts(self) -> int:
        return max(0, self.starts - 1)


class Child:
    """A node of the tree: an actor, or a supervisor with children."""

    def __init__(
        self, name: str, run: Callable[..., Awaitable[None]], children: tuple[Child, ...] = ()
    ) -> None:
        self.name, self.run, self.children = name, run, children
        self.vitals = Vitals(name)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Vitals]]:
        yield depth, self.vitals
        for child in self.children:
            yield from child.walk(depth + 1)


async def keep_alive(
    child: Child, limit: RestartLimit, *, task_status: Ready = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a child until it returns; restart it when it crashes; raise RestartsExhausted when it crashes too often."""
    recent: list[float] = []
    vitals = child.vitals
    ready: Ready = task_status
    while True:
        vitals.state, vitals.starts = "starting", vitals.starts + 1
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(child.run)
                vitals.state = "up"
                ready.started()
                ready = trio.TASK_STATUS_IGNORED
            vitals.state = "drained"
            return
        except Exception as crash:
            if _hopeless(crash):
                raise
            now = trio.current_time()
            vitals.state, vitals.crashes, vitals.last_crash = "crashed", vitals.crashes + 1, _innermost(crash)
            recent = [at for at in recent if now - at < limit.window_s]
            logs.error("actor_crashed", exception=crash, actor=child.name, crashes_in_window=len(recent) + 1)
            if len(recent) >= limit.crashes:
                raise RestartsExhausted(
                    f"{child.name}: {len(recent) + 1} crashes in {limit.window_s:g} s"
                ) from crash
            await trio.sleep(min(limit.first_wait_s * 2 ** min(len(recent), 16), limit.longest_wait_s))
            recent.append(now)
        finally:
            if vitals.state in ("starting", "up"):
                vitals.state = "down"


def one_for_one(name: str, limit: RestartLimit, *children: Child) -> Child:
    """Children start in order, each once the one before is ready, and are restarted alone."""

    async def run(*, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            for child in children:
                await nursery.start(keep_alive, child, limit)
            task_status.started()

    return Child(name, run, children)


def one_for_all(name: str, *children: Child) -> Child:
    """Children start in order; when one crashes all are cancelled and the supervisor above restarts the group."""

    async def run(*, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            for child in children:
                child.vitals.state, child.vitals.starts = "starting", child.vitals.starts + 1
                await nursery.start(_noted, child)
                child.vitals.state = "up"
            task_status.started()

    return Child(name, run, children)


async def _noted(child: Child, *, task_status: Ready) -> None:
    try:
        await child.run(task_status=task_status)
        child.vitals.state = "drained"
    except Exception as crash:
        child.vitals.state, child.vitals.crashes, child.vitals.last_crash = (
            "crashed",
            child.vitals.crashes + 1,
            _innermost(crash),
        )
        raise
    except BaseException:
        child.vitals.state = "down"
        raise


def _hopeless(crash: BaseException) -> bool:
    """A wrong setting stays wrong, however often the child is started."""
    if isinstance(crash, BaseExceptionGroup):
        return any(map(_hopeless, crash.exceptions))
    return isinstance(crash, ConfigError)


def _innermost(crash: BaseException) -> str:
    while isinstance(crash, BaseExceptionGroup) and crash.exceptions:
        crash = crash.exceptions[0]
    return type(crash).__name__
