"""How much work something is, in a unit that a slow or busy machine changes as well."""

from __future__ import annotations

import time
from collections.abc import Callable


def work_of(call: Callable[[], object]) -> float:
    """CPU time of a call, in that of counting to a million in the same process: some 30 ms on a machine of today."""
    before = _count()
    began_s = time.process_time()
    call()
    took_s = time.process_time() - began_s
    return took_s / max(before, _count())


def _count() -> float:
    began_s = time.process_time()
    number = 0
    while number < 1_000_000:
        number += 1
    return time.process_time() - began_s
