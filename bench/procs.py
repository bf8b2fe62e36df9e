"""What /proc tells: CPU and memory of process trees, the load of others, and what machine this is."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Final, Self

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PROC: Final = Path("/proc")


def _processes() -> dict[int, tuple[int, float]]:
    """pid -> (parent pid, CPU seconds including reaped children)."""
    found: dict[int, tuple[int, float]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The name in parentheses may hold anything, so fields are counted from its end (proc(5)).
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15])) / TICKS_PER_S
    return found


def _tree(roots: Iterable[int], processes: dict[int, tuple[int, float]]) -> set[int]:
    members = {pid for pid in roots if pid in processes}
    while grown := {pid for pid, (parent, _) in processes.items() if parent in members} - members:
        members |= grown
    return members


def cpu_s(roots: Iterable[int]) -> float:
    """CPU seconds that the trees under these pids have used so far, user and system."""
    processes = _processes()
    return sum(processes[pid][1] for pid in _tree(roots, processes))


def memory_bytes(roots: Iterable[int]) -> int:
    """Proportional set size of the trees: shared pages are counted once."""
    total = 0
    for pid in _tree(roots, _processes()):
        try:
            rollup = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        if match := re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE):
            total += int(match[1]) * 1024
    return total


def machine_busy_s() -> float:
    """CPU seconds that the whole machine has spent on anything but idling and waiting."""
    fields = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / TICKS_PER_S


class Meter:
    """Measures the server's and everybody else's share while a case runs. Use as a context manager.

    cpu_s:         server's CPU seconds, None without pids
    peak_bytes:    server's highest memory of samples twice a second, None without pids
    foreign_share: of the machine's CPU, used by neither the server nor the bench; 0 to 1
    """

    def __init__(self, server_pids: Iterable[int]) -> None:
        self.pids = tuple(server_pids)
        self.cpu_s: float | None = None
        self.peak_bytes: int | None = None
        self.foreign_share = 0.0
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._done.wait(0.5):
            self.peak_bytes = max(self.peak_bytes or 0, memory_bytes(self.pids))

    def _read(self) -> tuple[float, float, float, float]:
        ours = cpu_s((os.getpid(), *self.pids))
        return cpu_s(self.pids), ours, machine_busy_s(), perf_counter()

    def __enter__(self) -> Self:
        self._before = self._read()
        if self.pids:
            self.peak_bytes = memory_bytes(self.pids)
            self._sampler.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        changes = zip(self._read(), self._before, strict=True)
        server, ours, busy, elapsed = (after - before for after, before in changes)
        if self.pids:
            self._sampler.join()
            self.cpu_s = server
        self.foreign_share = max(0.0, busy - ours) / (elapsed * (os.cpu_count() or 1))


def machine(data: Path | None = None) -> dict[str, str | int]:
    """Facts without which no figure means anything. data: a folder on the file system under test."""
    model = re.search(r"^model name\s*:\s*(.+)$", (PROC / "cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", (PROC / "meminfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_mb": int(memory[1]) // 1024 if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "filesystem": filesystem(data or Path.cwd()),
        "commit": _commit(),
    }


def filesystem(path: Path) -> str:
    """Type of the file system that holds a path, by its longest mount point."""
    resolved = path.resolve()
    best, kind = "", "unknown"
    for line in (PROC / "mounts").read_text().splitlines():
        _, mount, mount_kind = line.split()[:3]
        mount = mount.replace("\\040", " ")
        if resolved.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, mount_kind
    return kind


def _commit() -> str:
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip()
