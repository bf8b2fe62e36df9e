"""Which cores a worker runs on.

Its Trio loop and the thread that packs what the loop receives hand every image to each other, and Python lets one of them run at a
time. On one core they do so without waking another core, and twice as many objects share a write. All its other threads and
processes go where there is room.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pacs_actors.operations import logs

_given: set[int] | None = None  # before we settled


def available() -> set[int]:
    """The cores that this process was given."""
    return os.sched_getaffinity(0) if _given is None else _given


def settle(number: int, workers: int) -> int | None:
    """Keep the calling thread, and those it starts from now on, to the worker's own core; which that is.

    None, and nothing is changed, while there are more cores than workers: then a worker's threads have one each.
    """
    global _given
    cores = sorted(available())
    if not workers or workers < len(cores):
        return None
    own = cores[number % len(cores)]
    try:
        os.sched_setaffinity(0, {own})
    except OSError as error:  # a sandbox may refuse it; it costs speed, no more
        logs.warning("core_not_settled", core=own, why=error.strerror)
        return None
    _given = set(cores)
    return own


@contextmanager
def roaming() -> Iterator[None]:
    """Around the start of a thread or a process that is not to stay on the caller's core."""
    if _given is None:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _given)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)
