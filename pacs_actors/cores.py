"""Which cores a worker runs on.

Its Trio loop and the thread that packs what the loop receives hand every image to each other, and Python lets one of them run at a
time. On one core they do so without waking another core, and twice as many objects share a write. Its pools' threads, the
database's and its processes go where there is room; the few that ``trio.to_thread`` starts stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pacs_actors.operations import logs

_LIMITS: Final = Path("/sys/fs/cgroup")  # where a container finds its own

_given: Final = set[int]()  # before we settled


def available() -> set[int]:
    """The cores that this process was given."""
    return set(_given) or os.sched_getaffinity(0)


def share(limits: Path = _LIMITS) -> int:
    """How many cores' time this process may use, at least 1: a container may have a part of what it sees.

    limits: folder of the control group (cgroup v2) that we are in
    """
    cores = len(available())
    try:
        quota, period = (limits / "cpu.max").read_text().split()
        return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError, ZeroDivisionError):
        return cores


def settle(number: int, workers: int) -> int | None:
    """Keep the calling thread, and those it starts from now on, to the worker's own core; which that is.

    None, and nothing is changed, while there are more cores than workers: then a worker's threads have one each.
    """
    cores = sorted(available())
    if not workers or workers < len(cores):
        return None
    own = cores[number % len(cores)]
    try:
        os.sched_setaffinity(0, {own})
    except OSError as error:  # a sandbox may refuse it; it costs speed, no more
        logs.warning("core_not_settled", core=own, why=error.strerror)
        return None
    _given.update(cores)
    return own


@contextmanager
def roaming() -> Iterator[None]:
    """Around the start of a thread or a process that is not to stay on the caller's core."""
    if not _given:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _given)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)
