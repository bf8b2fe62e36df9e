"""Which alerts there are, and when they were raised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from config.backup import BackupSettings
from config.settings import AuditSettings, Settings
from pacs_actors.archive.figures import Waiting
from protocols.messages.live import Severity
from protocols.messages.status import ActorStatus, MailboxStatus
from tests.fakes.live import FakeFigures
from tests.fakes.node_status import FakeStatus, worker
from web.topics.alerts import AlertWatch, findings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CALM = Waiting({}, 0, 0, None)
CRASHED = ActorStatus(1, "query responder 2", "crashed", 3, 4, "ValueError")
QUIET: dict[str, object] = {"backlog": 0, "actors": ()}


def node(**facts: object) -> FakeStatus:
    """Two workers, of which the second differs."""
    source = FakeStatus()
    source.change(workers=(worker(0, **QUIET), worker(1, **QUIET | facts)))
    return source


def raised(
    source: FakeStatus, waiting: Waiting | None = CALM, settings: Settings | None = None
) -> dict[str, Severity]:
    found = list(findings(source.value, waiting, settings or Settings(), NOW))
    assert len({one.name for one in found}) == len(found), "one name, one alert"
    return {one.name: one.severity for one in found}


def test_a_healthy_node_raises_none() -> None:
    assert raised(node()) == {}
    assert raised(node(), None) == {}


@pytest.mark.parametrize(
    ("facts", "name", "severity"),
    [
        ({"state": "down"}, "worker_down.1", Severity.CRITICAL),
        ({"state": "draining"}, "worker_down.1", Severity.CRITICAL),
        ({"accepting": False, "why_not": "read-only: fsync failed"}, "read_only.1", Severity.CRITICAL),
        ({"indexing": False}, "database.1", Severity.CRITICAL),
        ({"backlog": 10_000}, "index_lag.1", Severity.WARNING),
        ({"backlog": 20_000}, "index_lag.1", Severity.CRITICAL),
        ({"recovery": "recovery is incomplete"}, "recovery.1", Severity.WARNING),
        ({"uptime_s": 5.0}, "worker_restarted.1", Severity.WARNING),
        ({"free_bytes": 3 * 1024**3 // 2}, "low_space", Severity.WARNING),
        ({"free_bytes": 1024**3}, "low_space", Severity.CRITICAL),
        ({"actors": (CRASHED,)}, "actor.1.query_responder_2", Severity.CRITICAL),
        ({"mailboxes": (MailboxStatus("audit", 6000, 10_000, 0, 0, 0, 0, 0.0),)}, "audit_spool.1", Severity.CRITICAL),
        ({"counters": {"audit_syslog_lag": 10_000}}, "syslog", Severity.WARNING),
        ({"counters": {"replication_oldest_s": 901, "replication_waiting": 7}}, "replication.1", Severity.WARNING),
    ],
)  # fmt: skip
def test_each_trouble_raises_its_alert_and_no_other(
    facts: dict[str, object], name: str, severity: Severity
) -> None:
    assert raised(node(**facts)) == {name: severity}


@pytest.mark.parametrize(
    "facts",
    [
        {"state": "starting", "accepting": False},
        {"indexing": False, "state": "starting"},
        {"backlog": 9_999},
        {"free_bytes": 2 * 1024**3},
        {"actors": (ActorStatus(1, "not started yet", "down", 0, 0, ""),)},
        {"uptime_s": 93_760.0},  # started with the others
        {"uptime_s": 700.0},  # long ago
        {"counters": {"replication_oldest_s": 900, "replication_waiting": 7}},
    ],
)
def test_what_is_no_trouble_raises_none(facts: dict[str, object]) -> None:
    assert raised(node(**facts)) == {}


def test_a_database_that_starts_beside_the_workers_is_waited_for() -> None:
    source = FakeStatus()
    source.change(workers=(worker(0, **QUIET, indexing=False, uptime_s=3.0),))
    assert raised(source) == {}


def test_workers_that_have_not_said_anything_yet_are_no_trouble() -> None:
    """Who looks is a worker itself: while it knows of none, it has only just begun."""
    source = FakeStatus()
    source.change(workers=())
    assert raised(source) == {}


def test_what_the_database_says_is_told() -> None:
    assert raised(node(), Waiting({}, 0, 3, None)) == {"quarantine": Severity.WARNING}
    assert raised(node(), Waiting({}, 0, 0, NOW - timedelta(days=1))) == {"audit_damaged": Severity.CRITICAL}
    assert raised(node(), Waiting({}, 0, 0, NOW - timedelta(days=31))) == {}


def test_a_node_of_the_archive_that_is_gone_is_told_by_the_others() -> None:
    waiting = Waiting({}, 0, 0, None, nodes_down=(0, 7))
    assert raised(node(), waiting) == {"node_down.7": Severity.CRITICAL}, "we are node 0"


def test_a_backup_that_failed_or_is_late_is_told() -> None:
    scheduled = Settings(backup=BackupSettings(to="somewhere", incremental_every_h=24))
    failed = Waiting({}, 0, 0, None, "the disk is gone", NOW)
    assert raised(node(), failed) == {"backup": Severity.CRITICAL}
    for hours, expected in ((40, {}), (50, {"backup_late": Severity.WARNING})):
        waiting = Waiting({}, 0, 0, None, "", NOW - timedelta(hours=hours))
        assert raised(node(), waiting, scheduled) == expected
        assert raised(node(), waiting) == {}, "nobody wants any"
    assert raised(node(), CALM, scheduled) == {}, "the first one is being made"


def test_a_syslog_receiver_that_is_away_is_told_only_if_there_is_to_be_one() -> None:
    settings = Settings(audit=AuditSettings(syslog_host="syslog.example"))
    away = node(counters={"audit_syslog_connected": 0, "audit_syslog_lag": 5})
    assert raised(away, settings=settings) == {"syslog": Severity.WARNING}
    assert raised(away) == {}


def test_an_alert_keeps_its_beginning_until_it_is_cleared() -> None:
    source = node(backlog=10_000)
    archive = SimpleNamespace(settings=Settings(), page=SimpleNamespace(slot=0))
    watch = AlertWatch(cast(Any, SimpleNamespace(archive=archive, status=source)), cast(Any, FakeFigures()))
    watch.look(NOW)
    assert watch.alerts["index_lag.1"].since == "2026-01-02T03:04:05Z"
    source.change_worker(1, backlog=20_000)
    watch.look(NOW + timedelta(minutes=5))
    assert watch.alerts["index_lag.1"].since == "2026-01-02T03:04:05Z"
    assert watch.alerts["index_lag.1"].severity is Severity.CRITICAL
    source.change_worker(1, backlog=0)
    watch.look(NOW + timedelta(minutes=6))
    assert watch.alerts == {}
    source.change_worker(1, backlog=10_000)
    watch.look(NOW + timedelta(minutes=7))
    assert watch.alerts["index_lag.1"].since == "2026-01-02T03:11:05Z"
    assert msgspec.json.encode(watch.alerts)
