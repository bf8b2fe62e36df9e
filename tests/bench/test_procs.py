from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench import procs

BURN = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_cpu_of_children_and_grandchildren_counts() -> None:
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"
    before = procs.cpu_s([os.getpid()])
    with procs.Meter([os.getpid()]) as meter:
        subprocess.run([sys.executable, "-c", nested], check=True)
    assert procs.cpu_s([os.getpid()]) - before >= 0.28
    assert meter.cpu_s is not None and meter.cpu_s >= 0.28
    assert meter.peak_bytes is not None and meter.peak_bytes > 1e6
    assert 0 <= meter.foreign_share <= 1


def test_a_pid_that_is_gone_counts_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert procs.cpu_s([gone.pid]) == 0
    assert procs.memory_bytes([gone.pid]) == 0


def test_the_machine_is_described(tmp_path: Path) -> None:
    facts = procs.machine(tmp_path)
    assert facts["cores"] == os.cpu_count()
    assert all(facts[key] for key in ("cpu", "kernel", "filesystem", "commit", "python", "memory_mb"))
    assert procs.filesystem(Path("/proc/self")) == "proc"
