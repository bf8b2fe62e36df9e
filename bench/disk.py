"""What the disk itself takes: a writer that does nothing but what a durable segment needs.

    python -m bench.disk --data FOLDER --mix ct,mr --clients 1,8

As many objects are in flight as associations store at once, shared out to as many segments as there are processors: per group one
unbuffered ``pwritev`` behind the last, into blocks taken in advance, and one ``fdatasync``. No network, no header, no index. The
calls release the interpreter, and there are two of them for a whole group: in C it is no faster.
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Final

from bench import procs, report, suites, templates

_BLOCK: Final = 4096
_STEP: Final = 64 * 1024 * 1024
_MOST: Final = 1024 * 1024 * 1024  # then it begins anew, so that a run does not fill the disk


class Writer:
    """One segment.

    size_bytes:  of each object; group: objects of one write
    """

    def __init__(self, path: Path, size_bytes: int, group: int) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_DIRECT", 0), 0o600)
        size = size_bytes + -size_bytes % _BLOCK
        self._memory = mmap.mmap(-1, size * group)
        with suppress(OSError, AttributeError):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._memory.write(os.urandom(size) * group)
        whole = memoryview(self._memory)
        self._views = [whole[n * size : (n + 1) * size] for n in range(group)]
        self._group_bytes = size * group
        self._taken = self._used = 0
        self.waits_s: list[float] = []

    def run(self, until: float) -> None:
        """Write groups until that reading of the clock. raises: OSError"""
        while (now := perf_counter()) < until:
            if self._used + self._group_bytes > _MOST:
                os.ftruncate(self._fd, 0)
                self._taken = self._used = 0
            while self._used + self._group_bytes > self._taken:
                os.posix_fallocate(self._fd, self._taken, _STEP)
                self._taken += _STEP
            if os.pwritev(self._fd, self._views, self._used) != self._group_bytes:
                raise OSError("a write was cut short")
            os.fdatasync(self._fd)
            self._used += self._group_bytes
            self.waits_s.append(perf_counter() - now)

    def close(self) -> None:
        os.close(self._fd)


def measure(folder: Path, size_bytes: int, clients: int, seconds: float) -> dict[str, float]:
    """One run: the figures of an ingest case, as far as a disk has them. raises: OSError"""
    segments = min(clients, os.cpu_count() or 1)
    group = max(1, clients // segments)
    os.sync()
    with tempfile.TemporaryDirectory(dir=folder) as inside, procs.Meter((os.getpid(),)) as meter:
        writers = [Writer(Path(inside, str(number)), size_bytes, group) for number in range(segments)]
        began = perf_counter()
        threads = [threading.Thread(target=writer.run, args=(began + seconds,)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = perf_counter() - began
        for writer in writers:
            writer.close()
    waits = sorted(wait for writer in writers for wait in writer.waits_s)
    objects = len(waits) * group
    figures = {
        "done": objects,
        "failed": 0.0,
        "items": objects,
        "seconds": took,
        "per_s": objects / took,
        "items_per_s": objects / took,
        "items_each": 1.0,
        "mb_s": objects * size_bytes / took / 1e6,
        "p50_ms": 1000 * waits[len(waits) // 2],
        "p90_ms": 1000 * waits[len(waits) * 9 // 10],
        "p99_ms": 1000 * waits[len(waits) * 99 // 100],
        "max_ms": 1000 * waits[-1],
        "foreign_share": meter.foreign_share,
    }
    if meter.cpu_s is not None:
        figures["server_cpu_ms_each"] = 1000 * meter.cpu_s / max(1, objects)
    return figures


def cases(folder: Path, plan: suites.Plan) -> dict[str, suites.Case]:
    """The cases of suite ``ingest`` that send one kind of image, small enough to be packed."""
    found: dict[str, suites.Case] = {}
    for mix in plan.mixes:
        names = list(suites.MIXES[mix])
        size_bytes = len(templates.template(names[0]).data)
        if len(names) > 1 or size_bytes > 1024 * 1024:
            continue
        for clients in plan.clients:
            case = suites.Case()
            try:
                case.runs = [measure(folder, size_bytes, clients, plan.seconds) for _ in range(plan.runs)]
                case.median = {key: statistics.median(run[key] for run in case.runs) for key in case.runs[0]}
            except OSError as error:
                case.error = f"{folder}: {error.strerror or error}"
            found[f"ingest/{mix}/{clients}"] = case
            print(report.line(f"ingest/{mix}/{clients}", case), flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the disk under a folder; 1 if it could not be."""
    made = argparse.ArgumentParser(
        prog="python -m bench.disk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk")
    made.add_argument("--mix", default="ct,mr", help="kinds of images, comma list (default %(default)s)")
    made.add_argument("--clients", default="1,8", help="objects in flight, comma list (default %(default)s)")
    made.add_argument("--runs", type=int, default=3, help="of each case; medians count (default %(default)s)")
    made.add_argument("--seconds", type=float, default=3.0, help="length of a run (default %(default)s)")
    options = made.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    plan = suites.Plan(
        mixes=tuple(options.mix.split(",")),
        clients=tuple(map(int, options.clients.split(","))),
        runs=options.runs,
        seconds=options.seconds,
    )
    return int(any(case.error for case in cases(options.data, plan).values()))


if __name__ == "__main__":
    sys.exit(main())
