"""The raw limit of ingest, beside which the server's rate is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import disk, suites


def test_it_writes_groups_until_the_time_is_over_and_leaves_nothing(tmp_path: Path) -> None:
    plan = suites.Plan(mixes=("small", "mix", "cr"), clients=(1, 3), runs=1, seconds=0.05)
    try:
        cases = disk.cases(tmp_path, plan)
    except ValueError:
        pytest.skip("this file system takes no unbuffered writes")
    assert set(cases) == {"ingest/small/1", "ingest/small/3"}, (
        "one kind of image, and such as would be packed"
    )
    for name, case in cases.items():
        if case.error:
            pytest.skip(f"this file system takes no unbuffered writes: {case.error}")
        assert case.median["done"] >= 1, name
        assert case.median["per_s"] > 0
        assert case.median["p99_ms"] >= case.median["p50_ms"] > 0
    assert not list(tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_is_a_failed_case(tmp_path: Path) -> None:
    plan = suites.Plan(mixes=("small",), clients=(1,), runs=1, seconds=0.05)
    (case,) = disk.cases(tmp_path / "nowhere", plan).values()
    assert case.error
    assert not case.median
