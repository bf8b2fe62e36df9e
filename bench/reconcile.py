"""How long it takes to make the index of many objects again, to hold the two against each other, and to read every object.

    python -m bench.reconcile                       # 1,000,000 objects, 6 GB, in a folder that is gone afterwards
    python -m bench.reconcile --objects 100000      # memory is to be the same

The objects are small CT, 100 a study, put into segments by the object store; then ``pacs-actors index rebuild``, ``reconcile`` and
``scrub`` run on them, each with nothing of the objects in the page cache. Memory is the command's own, at its highest; CPU time is
that of its whole tree, PostgreSQL included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Final, NamedTuple

from bench.archive import fill, folder
from bench.scrub import forget, peak_bytes_of

_BYTES_EACH: Final = 6_000  # one block of the segment, and its row
_LOOK_EVERY_S: Final = 0.1
_ROOT: Final = Path(__file__).resolve().parents[1]


class Ran(NamedTuple):
    answer: Any
    seconds: float
    cpu_s: float
    peak_bytes: int


def run(data: Path, words: Sequence[str]) -> Ran:
    """A command, with its answer as JSON. raises: SystemExit with what it says if it fails"""
    whole = [sys.executable, "-m", "supervisors.cli", *words, "--data", str(data), "--json"]
    began, peak_bytes = perf_counter(), 0
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(whole, cwd=_ROOT, stdout=said) as process:
        before = os.times()
        while process.poll() is None:
            peak_bytes = max(peak_bytes, peak_bytes_of(process.pid))
            sleep(_LOOK_EVERY_S)
        seconds, after = perf_counter() - began, os.times()
        said.seek(0)
        answer = said.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}: {answer}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Ran(json.loads(answer), seconds, cpu_s, peak_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where the data goes (default: the system's)")
    parser.add_argument("--objects", type=int, default=1_000_000, help="(default %(default)s)")
    options = parser.parse_args()
    objects: int = options.objects
    with folder(options.folder, objects * _BYTES_EACH) as data:
        began = perf_counter()
        fill(data, objects, kind="small", per_study=100, say=lambda _: None)
        print(f"{objects:,} objects stored in {perf_counter() - began:.0f} s", flush=True)
        for words, count in (
            (("index", "rebuild"), "indexed"),
            (("reconcile",), "objects"),
            (("scrub",), "objects"),
        ):
            forget([path for path in (data / "objects").rglob("*") if path.is_file()])
            ran = run(data, words)
            assert ran.answer[count] == objects, ran.answer
            print(
                f"{' '.join(words):<14} {ran.seconds:6.0f} s, {ran.cpu_s:6.0f} s of CPU, {ran.peak_bytes / 1e6:4.0f} MB of memory",
                flush=True,
            )


if __name__ == "__main__":
    main()
