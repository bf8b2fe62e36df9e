"""How long steps take: buckets, minutes, and what is told of them."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_actors.operations.step_times import (
    BUCKETS,
    MINUTES,
    MOST_PATHS,
    StepTimes,
    bucket_of,
    quantile,
    seconds_of,
    slowest,
    told,
)
from protocols.messages.status import PathTimes


@given(st.floats(min_value=1e-5, max_value=7000))
def test_a_time_lies_in_a_bucket_that_ends_at_most_a_quarter_later(seconds: float) -> None:
    end = seconds_of(bucket_of(seconds))
    assert seconds <= end <= seconds * 1.2500001


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_every_time_has_a_bucket_and_longer_ones_have_no_earlier_one(first: float, second: float) -> None:
    shorter, longer = sorted((bucket_of(first), bucket_of(second)))
    assert 0 <= shorter <= longer < BUCKETS
    assert (first <= second) == (bucket_of(first) <= bucket_of(second)) or shorter == longer


@pytest.mark.parametrize(("part", "rank"), [(0.5, 500), (0.99, 990), (1.0, 1000)])
def test_quantiles_are_those_of_the_sorted_times(part: float, rank: int) -> None:
    chance = random.Random(1)
    taken = [chance.lognormvariate(-5, 1) for _ in range(1000)]
    times = StepTimes()
    for one in taken:
        times.note(100.0 - one, 100.0)
    true = sorted(taken)[rank - 1]
    assert true <= quantile(times.counts(100.0), part) <= true * 1.26


def test_nothing_noted_is_nothing() -> None:
    assert StepTimes().counts(5000.0) == {} and quantile({}, 0.5) == 0.0
    assert told({"commit": StepTimes()}, 5000.0) == () and slowest([]) == []


def test_what_is_older_than_ten_minutes_is_forgotten_minute_by_minute() -> None:
    times = StepTimes()
    for minute in range(30):
        times.note(60.0 * minute, 60.0 * minute + 1)
        assert sum(times.counts(60.0 * minute + 59).values()) == min(minute + 1, MINUTES)
    assert sum(times.counts(60.0 * 30).values()) == MINUTES - 1
    assert sum(times.counts(60.0 * 38).values()) == 1
    assert times.counts(60.0 * 39) == {}
    times.note(60.0 * 1000, 60.0 * 1000)
    assert sum(times.counts(60.0 * 1000).values()) == 1


def test_a_note_that_comes_late_from_a_slow_thread_is_counted_and_brings_nothing_back() -> None:
    times = StepTimes()
    times.note(0.0, 60.0 * 20)
    times.note(0.0, 60.0 * 19.9)
    assert sum(times.counts(60.0 * 20).values()) == 2


def test_memory_does_not_grow() -> None:
    import tracemalloc

    times = StepTimes()

    def work(minutes: range) -> None:
        for minute in minutes:
            for step in range(200):
                times.note(60.0 * minute, 60.0 * minute + step / 1000)

    work(range(20))
    tracemalloc.start()
    try:
        work(range(20, 40))
        before = tracemalloc.get_traced_memory()[0]
        work(range(40, 400))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 16 * BUCKETS * 8, "a minute or two of buckets, however long it runs"


def test_workers_are_counted_together_and_the_slowest_path_comes_first() -> None:
    quick, slow = StepTimes(), StepTimes()
    for _ in range(99):
        quick.note(9.999, 10.0)
    quick.note(9.0, 10.0)
    slow.note(8.0, 10.0)
    workers = [
        told({"commit": quick, "put cold": slow, "open": StepTimes()}, 10.0),
        told({"commit": quick}, 10.0),
    ]
    first, second = slowest(workers)
    assert (first.name, first.count) == ("put cold", 1)
    assert (second.name, second.count) == ("commit", 200)
    assert 1.0 <= second.p50_ms <= 1.25 and 1.0 <= second.p99_ms <= 1.25
    assert 2000 <= first.p50_ms == first.p99_ms <= 2500


def test_what_a_worker_tells_is_bounded() -> None:
    full = StepTimes()
    for bucket in range(BUCKETS):
        for _ in range(1000):
            full.note(-seconds_of(bucket) * 0.99, 0.0)
    paths = told({f"verify {'x' * 32}{n}": full for n in range(100)}, 0.0)
    assert len(paths) == MOST_PATHS
    assert len(msgspec.json.encode(paths)) < 64 * 1024, "half of a snapshot"
    assert msgspec.json.decode(msgspec.json.encode(paths), type=tuple[PathTimes, ...]) == paths
