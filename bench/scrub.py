"""Scrubbing beside a plain sequential read of the same segments, turn by turn, with nothing in the page cache.

    python -m bench.scrub                     # 12,000 CT, 6.3 GB, in a folder that is gone afterwards
    python -m bench.scrub --kind small --objects 500000

The plain read is what ``dd bs=4M iflag=direct`` does, and the same through the page cache. Each scrub is a process of its own, so
that its CPU time and its memory are its own, too; the clock begins when it is there, and includes the listing of the objects.
"""

from __future__ import annotations

import argparse
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Final, NamedTuple

import trio

from bench.archive import fill, folder
from bench.templates import template
from config.settings import StorageSettings
from pacs_actors.archive.objects.filesystem import O_DIRECT
from pacs_actors.archive.objects.keys import MAX_SLOT
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.lifecycle.integrity_reading import Pace
from pacs_actors.lifecycle.integrity_walk import Cursor
from pacs_actors.lifecycle.scrubbing import Portion, scrub
from pacs_actors.threads import NativePool

_PIECE_BYTES: Final = 4 * 1024 * 1024
_THREADS: Final = 4
_MB: Final = 1e6


class Turn(NamedTuple):
    """A scrub. peak_bytes: of the process's memory, libraries and all"""

    objects: int
    size_bytes: int
    seconds: float
    cpu_s: float
    peak_bytes: int


def scrubbed(root: Path) -> Turn:
    """Scrub a folder without an index, in this process."""
    objects = size_bytes = 0

    async def tell(portion: Portion) -> None:
        nonlocal objects, size_bytes
        assert not portion.damages, portion.damages[0]
        objects, size_bytes = objects + portion.objects, size_bytes + portion.size_bytes

    async def run() -> None:
        async with (
            LocalObjectStore(root, MAX_SLOT, StorageSettings(), node=0) as store,
            NativePool(_THREADS, "scrub") as pool,
        ):
            await scrub(store, None, pool, Pace(None), Cursor(), tell)

    began, cpu = perf_counter(), process_time()
    trio.run(run)
    seconds, cpu = perf_counter() - began, process_time() - cpu
    return Turn(objects, size_bytes, seconds, cpu, peak_bytes_of(os.getpid()))


def peak_bytes_of(pid: int) -> int:
    """Of a process's memory so far; 0 if it has ended. What wait4 tells of a child may be its parent's."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def plain_read(files: Sequence[Path], flags: int) -> float:
    """Seconds that one thread needs to read all files, one after the other. raises: OSError"""
    with mmap.mmap(-1, _PIECE_BYTES) as memory, memoryview(memory) as buffer:
        began = perf_counter()
        for path in files:
            fd = os.open(path, os.O_RDONLY | flags)
            try:
                while os.readv(fd, [buffer]):
                    pass
            finally:
                os.close(fd)
        return perf_counter() - began


def forget(files: Sequence[Path]) -> None:
    """Leave nothing of them in the page cache."""
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)  # what is not written yet would stay
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def turns(root: Path, count: int) -> Iterator[tuple[Turn, float, float]]:
    """A scrub, a read past the page cache and one through it, so many times."""
    files = sorted(path for path in (root / "objects").rglob("*") if path.is_file())
    with get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        for _ in range(count):
            forget(files)
            direct = plain_read(files, O_DIRECT)
            forget(files)
            turn = processes.apply(scrubbed, (root,))
            forget(files)
            yield turn, direct, plain_read(files, 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where the data goes (default: the system's)")
    parser.add_argument("--kind", default="ct", help="of image (default %(default)s)")
    parser.add_argument("--objects", type=int, default=12_000, help="(default %(default)s)")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with folder(options.folder, options.objects * len(template(options.kind).data)) as root:
        fill(root, options.objects, kind=options.kind, per_study=100, say=lambda _: None)
        found: list[tuple[Turn, float, float]] = []
        for turn, direct, buffered in turns(root, options.turns):
            assert turn.objects == options.objects
            found.append((turn, direct, buffered))
            print(
                f"scrub {turn.size_bytes / turn.seconds / _MB:6.0f} MB/s ({turn.cpu_s:.1f} s of CPU in {turn.seconds:.1f} s, "
                f"{turn.peak_bytes / _MB:.0f} MB of memory); plain read {turn.size_bytes / direct / _MB:6.0f} MB/s, "
                f"through the page cache {turn.size_bytes / buffered / _MB:6.0f} MB/s",
                flush=True,
            )
        ratio = median(min(direct, buffered) / turn.seconds for turn, direct, buffered in found)
        print(f"{100 * ratio:.0f} % of the faster plain read (median of {len(found)})")


if __name__ == "__main__":
    main()
