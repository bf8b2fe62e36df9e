"""How long a step takes: counts in buckets that grow by a quarter of a power of two, of the last ten minutes. Pure.

Noting is a few additions: no lock, no memory that grows. Threads may note in the same one at once: then a count may get lost, and
nothing else goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import frexp
from typing import Final

from protocols.messages.status import PathFigures, PathTimes

MINUTES: Final = 10
_SHORTEST: Final = -17
"""Power of two of the first bucket's seconds: all below 8 µs is one."""
_OCTAVES: Final = 30
_OFFSET: Final = 4 * (1 + _SHORTEST) + 4
BUCKETS: Final = 4 * _OCTAVES
"""The last one begins below two hours, and has all that takes longer."""
MOST_PATHS: Final = 40

Counts = Mapping[int, int]
"""How many of each bucket; those without any are left out."""


class StepTimes:
    """Times are seconds of a clock that never goes back."""

    __slots__ = ("_minute", "_minutes", "_newest", "_until")

    def __init__(self) -> None:
        self._minute, self._until = 0, 60.0
        self._minutes = [[0] * BUCKETS for _ in range(MINUTES)]
        self._newest = self._minutes[0]

    def note(self, began: float, ended: float) -> None:
        if ended >= self._until:
            self._turn(int(ended) // 60)
        self._newest[bucket_of(ended - began)] += 1

    def counts(self, now: float) -> dict[int, int]:
        """Of this minute and the nine before."""
        if now >= self._until:
            self._turn(int(now) // 60)
        sums = map(sum, zip(*self._minutes, strict=True))
        return {bucket: count for bucket, count in enumerate(sums) if count}

    def _turn(self, minute: int) -> None:
        """Begin a minute. Whoever notes in an earlier one, because its thread was slow, notes in this one."""
        for passed in range(max(self._minute + 1, minute - MINUTES + 1), minute + 1):
            self._minutes[passed % MINUTES] = [0] * BUCKETS
        self._newest, self._minute, self._until = self._minutes[minute % MINUTES], minute, 60.0 * (minute + 1)


def bucket_of(seconds: float) -> int:
    if seconds <= 0.0:
        return 0
    mantissa, exponent = frexp(seconds)  # 0.5 <= mantissa < 1
    place = 4 * exponent + int(mantissa * 8) - _OFFSET
    return 0 if place < 0 else place if place < BUCKETS else BUCKETS - 1


def seconds_of(bucket: int) -> float:
    """Where it ends: what is in it took no longer, but for the last one."""
    octave, quarter = divmod(bucket, 4)
    return float(2.0 ** (octave + _SHORTEST) * (5 + quarter) / 4)


def quantile(counts: Counts, part: float) -> float:
    """Seconds in which a part (0 to 1) of them ended, at most a quarter too long; 0 of none."""
    left = part * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return seconds_of(bucket)
    return seconds_of(max(counts)) if counts else 0.0


def told(paths: Mapping[str, StepTimes], now: float) -> tuple[PathTimes, ...]:
    """For a worker's status: those that were walked, MOST_PATHS of them."""
    found = ((name, times.counts(now)) for name, times in paths.items())
    walked = [PathTimes(name, tuple(sorted(counts.items()))) for name, counts in found if counts]
    return tuple(walked[:MOST_PATHS])


def slowest(workers: Iterable[Iterable[PathTimes]]) -> list[PathFigures]:
    """What all workers have noted, together: the path first whose slowest hundredth takes longest."""
    sums: dict[str, dict[int, int]] = {}
    for worker in workers:
        for path in worker:
            counts = sums.setdefault(path.name, {})
            for bucket, count in path.counts:
                counts[bucket] = counts.get(bucket, 0) + count
    figures = [
        PathFigures(
            name,
            sum(counts.values()),
            _milliseconds(quantile(counts, 0.5)),
            _milliseconds(quantile(counts, 0.99)),
        )
        for name, counts in sums.items()
    ]
    return sorted(figures, key=lambda one: (-one.p99_ms, one.name))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
