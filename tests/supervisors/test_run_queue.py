"""Who waits for a processor and who just waits, as the kernel tells it, with processes on one processor."""

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

from supervisors.run_queue import RunQueue

BUSY = "while True: pass"
ASLEEP = "import time\nwhile True: time.sleep(60)"
FEW_S = 0.3

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not tell")


@contextlib.contextmanager
def child(program: str, processor: int) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-S", "-c", program]) as process:
        try:
            os.sched_setaffinity(process.pid, {processor})
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def processor() -> int:
    return min(os.sched_getaffinity(0))


def waits_until(queue: RunQueue, at_least_s: float, within_s: float = 60.0) -> float:
    """Total of what it says, as soon as that is as much."""
    total, deadline = 0.0, time.monotonic() + within_s
    while total < at_least_s and time.monotonic() < deadline:
        time.sleep(0.02)
        total += queue.waited_s()
    return total


def test_who_shares_a_processor_with_others_waits(processor: int) -> None:
    with child(BUSY, processor) as one, child(BUSY, processor), child(BUSY, processor):
        assert waits_until(RunQueue(one), FEW_S) >= FEW_S


def test_who_stands_still_does_not_wait_however_busy_the_machine_is(processor: int) -> None:
    """Stopped, beside others that fight for the processor: the others' waiting is the control, and the measure of time."""
    with child(BUSY, processor) as one, child(BUSY, processor) as other, child(BUSY, processor):
        os.kill(one, signal.SIGSTOP)
        busy = RunQueue(other)
        waits_until(busy, FEW_S / 3)  # what it waited for before it was stopped is told by now
        stopped = RunQueue(one)
        assert waits_until(busy, FEW_S) >= FEW_S
        assert stopped.waited_s() == 0


def test_a_thread_that_waits_is_seen_behind_a_main_thread_that_sleeps(processor: int) -> None:
    threaded = f"import threading\nthreading.Thread(target=exec, args=({BUSY!r},)).start()\n{ASLEEP}"
    with child(threaded, processor) as one, child(BUSY, processor):
        assert waits_until(RunQueue(one), FEW_S) >= FEW_S


def test_a_process_that_has_ended_waits_for_nothing(processor: int) -> None:
    with child(ASLEEP, processor) as pid:
        queue = RunQueue(pid)
    assert queue.waited_s() == 0
    assert RunQueue(pid).waited_s() == 0
