"""A worker process that is starved, stopped for a while, or stands still: real processes, watched as the parent watches workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pacs_actors.node_page import ACCEPTING, NodePage
from supervisors.life_signs import LifeSigns
from supervisors.run_queue import RunQueue

FROZEN_AFTER_S = 1.0
MOST_BUSY = 12
WITHIN_S = 60.0
# Shows life after every 5 ms of processor time that it is given, and asks for no more than that every 20 ms.
WORKER = """
import os, sys, time
from pacs_actors.node_page import NodePage
page = NodePage(int(sys.argv[1]), 1, 0)
while True:
    until = time.process_time() + 0.005
    while time.process_time() < until:
        pass
    page.publish({})
    time.sleep(0.02)
"""
BUSY = "while True: pass"

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not tell")


class Watched:
    """silent_s: the longest that the page showed no life, by the clock"""

    def __init__(self, page: NodePage, pid: int) -> None:
        self.page, self.pid = page, pid
        self.silent_s = 0.0
        self.lost = ""

    async def watch(self) -> None:
        signs = LifeSigns(self.page, 0, frozen_after_s=FROZEN_AFTER_S, start_within_s=WITHIN_S)
        self.lost = await signs.until_lost(RunQueue(self.pid).waited_s)

    async def measure(self) -> None:
        seen, since = self.page.heartbeat(0), time.monotonic()
        while True:
            await trio.sleep(0.01)
            beat, now = self.page.heartbeat(0), time.monotonic()
            if beat != seen:
                seen, since = beat, now
            self.silent_s = max(self.silent_s, now - since)

    async def until_silent(self, seconds: float) -> bool:
        with trio.move_on_after(3.0):
            while self.silent_s < seconds and not self.lost:
                await trio.sleep(0.01)
        return self.silent_s >= seconds


@contextlib.contextmanager
def process(program: str, *arguments: str, fds: tuple[int, ...] = ()) -> Iterator[int]:
    """On the first of our processors."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", program, *arguments], pass_fds=fds, cwd=root) as started:
        try:
            os.sched_setaffinity(started.pid, {min(os.sched_getaffinity(0))})
            yield started.pid
        finally:
            started.kill()


@contextlib.contextmanager
def worker() -> Iterator[Watched]:
    page = NodePage.create(1)
    with process(WORKER, str(page.fd), fds=(page.fd,)) as pid:
        deadline = time.monotonic() + WITHIN_S
        while not page.heartbeat(0):
            assert time.monotonic() < deadline, "the worker does not start"
            time.sleep(0.01)
        page.set_state(ACCEPTING, 0)
        yield Watched(page, pid)


@pytest.mark.slow  # it takes the processors from whatever runs beside it
async def test_a_starved_worker_is_not_lost_and_one_that_stands_still_is() -> None:
    """Busy loops are added until the worker shows no life for longer than it may."""
    with worker() as watched:
        os.setpriority(os.PRIO_PROCESS, watched.pid, 19)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.watch)
            nursery.start_soon(watched.measure)
            with contextlib.ExitStack() as busy:
                for _ in range(MOST_BUSY):
                    if await watched.until_silent(1.5 * FROZEN_AFTER_S):
                        break
                    busy.enter_context(process(BUSY))
                assert not watched.lost, f"lost after {watched.silent_s:.1f} s without a processor"
                assert watched.silent_s > FROZEN_AFTER_S, "it was never starved"

            os.kill(watched.pid, signal.SIGSTOP)
            with trio.fail_after(WITHIN_S):
                while not watched.lost:
                    await trio.sleep(0.01)
            assert watched.lost == "frozen"
            nursery.cancel_scope.cancel()


async def test_a_worker_that_is_stopped_for_less_than_it_may_is_not_lost() -> None:
    with worker() as watched:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.watch)
            nursery.start_soon(watched.measure)
            for _ in range(3):
                watched.silent_s = 0.0
                os.kill(watched.pid, signal.SIGSTOP)
                assert await watched.until_silent(0.4 * FROZEN_AFTER_S)
                os.kill(watched.pid, signal.SIGCONT)
                beat = watched.page.heartbeat(0)
                with trio.fail_after(WITHIN_S):
                    while watched.page.heartbeat(0) == beat:
                        await trio.sleep(0.01)
            assert not watched.lost
            nursery.cancel_scope.cancel()
