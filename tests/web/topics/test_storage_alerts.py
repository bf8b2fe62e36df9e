"""Alerts of where studies are kept: each is raised and cleared."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from config.settings import Settings, StorageSettings
from pacs_actors.archive.figures import Waiting
from pacs_actors.lifecycle.storage_figures import Outlook
from protocols.messages.live import Severity
from tests.fakes.node_status import FakeStatus, worker
from web.topics.alerts import findings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CALM = Waiting({}, 0, 0, None)
ROOMY = Outlook(1000 * 10**9, 500 * 10**9, None)


def raised(
    counters: dict[str, int] | None = None,
    waiting: Waiting = CALM,
    outlook: Outlook | None = ROOMY,
    settings: Settings | None = None,
    **facts: object,
) -> dict[str, Severity]:
    source = FakeStatus()
    source.change(workers=(worker(0, backlog=0, actors=(), counters=counters or {}, **facts),))
    found = findings(source.value, waiting, settings or Settings(), NOW, outlook)
    return {one.name: one.severity for one in found}


@pytest.mark.parametrize(
    ("silent", "expected"),
    [
        ({}, {}),
        ({"cold": 59}, {}),
        ({"cold": 60}, {"store_silent.cold": Severity.CRITICAL}),
        ({"cold": 5, "far-away": 3600}, {"store_silent.far-away": Severity.CRITICAL}),
        (
            {"cold": 60, "far-away": 60},
            {"store_silent.cold": Severity.CRITICAL, "store_silent.far-away": Severity.CRITICAL},
        ),
    ],
)
def test_a_store_that_is_silent_for_a_minute_is_told_until_it_answers(
    silent: dict[str, int], expected: dict[str, Severity]
) -> None:
    assert raised({f"store_silent_s.{name}": seconds for name, seconds in silent.items()}) == expected


def test_what_a_worker_said_before_it_went_is_no_news_of_a_store() -> None:
    told = raised({"store_silent_s.cold": 600}, state="down")
    assert "store_silent.cold" not in told and "worker_down.0" in told


def test_moves_that_failed_are_told() -> None:
    assert raised(waiting=Waiting({}, 0, 0, None, moves_failed=3)) == {"moves_failed": Severity.WARNING}
    assert raised() == {}


def test_a_clock_in_doubt_is_told() -> None:
    doubted = Waiting({}, 0, 0, None, clock_doubted_since=NOW)
    assert raised(waiting=doubted) == {"clock_doubted": Severity.WARNING}
    assert raised() == {}


@pytest.mark.parametrize(
    ("days", "full_on", "expected"),
    [
        (14, NOW.date() + timedelta(days=14), {"full_soon": Severity.WARNING}),
        (14, NOW.date(), {"full_soon": Severity.WARNING}),
        (14, NOW.date() + timedelta(days=15), {}),
        (14, None, {}),
        (90, NOW.date() + timedelta(days=15), {"full_soon": Severity.WARNING}),
        (0, NOW.date(), {}),
    ],
)
def test_a_disk_that_will_be_full_soon_is_told(
    days: int, full_on: date | None, expected: dict[str, Severity]
) -> None:
    settings = Settings(storage=StorageSettings(full_warning_days=days))
    outlook = Outlook(ROOMY.total_bytes, ROOMY.free_bytes, full_on)
    assert raised(outlook=outlook, settings=settings) == expected


def test_less_than_a_tenth_of_room_is_told() -> None:
    tenth = ROOMY.total_bytes // 10
    assert raised(outlook=Outlook(ROOMY.total_bytes, tenth, None)) == {}
    little = raised(outlook=Outlook(ROOMY.total_bytes, tenth - 1, None))
    assert little == {"little_room": Severity.WARNING}
    assert raised(outlook=None) == {}, "not known yet"
