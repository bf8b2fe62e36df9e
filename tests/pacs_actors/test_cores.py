"""Which cores a worker's threads and processes run on, tried in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pacs_actors import cores

GIVEN = sorted(os.sched_getaffinity(0))
SEVERAL = pytest.mark.skipif(len(GIVEN) < 2, reason="one core")


def says(program: str) -> str:
    """What a new process prints. cores, given, mine() are there for it."""
    before = (
        "import os, subprocess, sys, threading\n"
        "from pacs_actors import cores\n"
        f"given = {GIVEN}\n"
        "def mine(): return sorted(os.sched_getaffinity(0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", before + program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def seen_in_thread(how: str) -> str:
    return (
        "cores.settle(1, len(given))\n"
        "seen = []\n"
        "thread = threading.Thread(target=lambda: seen.append(mine()))\n"
        f"{how}\n"
        "thread.join()\n"
        "print(seen[0], mine())"
    )


@SEVERAL
def test_each_worker_has_a_core_of_its_own() -> None:
    printed = "print(cores.settle({0}, len(given)), mine())"
    assert says(printed.format(0)) == f"{GIVEN[0]} [{GIVEN[0]}]"
    assert says(printed.format(1)) == f"{GIVEN[1]} [{GIVEN[1]}]"


@SEVERAL
def test_more_workers_than_cores_share_them_in_turn() -> None:
    assert says("print(cores.settle(len(given), len(given) + 1))") == str(GIVEN[0])


@SEVERAL
@pytest.mark.parametrize("workers", [0, 1])
def test_with_cores_to_spare_the_kernel_decides(workers: int) -> None:
    assert says(f"print(cores.settle(0, {workers}), mine() == given)") == "None True"


@SEVERAL
def test_a_thread_that_belongs_to_the_loop_is_on_its_core() -> None:
    assert says(seen_in_thread("thread.start()")) == f"[{GIVEN[1]}] [{GIVEN[1]}]"


@SEVERAL
def test_other_threads_go_where_there_is_room() -> None:
    assert says(seen_in_thread("with cores.roaming(): thread.start()")) == f"{GIVEN} [{GIVEN[1]}]"


@SEVERAL
def test_what_is_available_is_what_the_process_was_given() -> None:
    assert says("cores.settle(0, len(given)); print(sorted(cores.available()) == given)") == "True"


@pytest.mark.parametrize(
    ("limit", "share"),
    [
        ("max 100000", len(GIVEN)),
        ("100000 100000", 1),
        ("110000 100000", min(2, len(GIVEN))),
        ("1000 100000", 1),
        ("6400000 100000", len(GIVEN)),
        ("100000 0", len(GIVEN)),
        ("", len(GIVEN)),
        ("some words here", len(GIVEN)),
    ],
)
def test_a_container_has_as_many_workers_as_it_has_cores_time(tmp_path: Path, limit: str, share: int) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert cores.share(tmp_path) == share


def test_without_limits_all_cores_are_ours(tmp_path: Path) -> None:
    assert cores.share(tmp_path / "none") == len(GIVEN)


def test_a_refusal_costs_speed_only() -> None:
    refuse = (
        "def refuse(pid, mask): raise PermissionError(1, 'not permitted')\n"
        "os.sched_setaffinity = refuse\n"
        "print(cores.settle(0, len(given)))\n"
        "with cores.roaming(): print(mine() == given)"
    )
    assert says(refuse) == "None\nTrue"
