"""Searching the audit: what each filter finds, page by page, and that nothing which is asked is SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pacs_actors.audit import trail as trail_module
from pacs_actors.audit.trail import MOST_ROWS, Trail
from protocols.messages.audit import AuditQuery
from tests.pacs_actors.audit.rows import event

DAY = datetime(2026, 3, 1, tzinfo=UTC)
LOGINS = [
    event(event="login", who="anna", via="session", address="10.0.0.1", at=DAY.timestamp()),
    event(event="login", who="anna", via="session", address="10.0.0.2", outcome="failure", at=DAY.timestamp() + 60),
    event(event="viewed", who="anna", via="session", uids=("1.2.3", "1.2.3.4"), patient_id="P-1", at=DAY.timestamp() + 120),
    event(event="store", who="CT1", via="ae", uids=("1.2.3",), patient_id="P-1", at=DAY.timestamp() + 180),
    event(event="query", who="WS 1", via="ae", details={"level": "STUDY", "keys": "PatientID 100%_\\"}, at=DAY.timestamp() + 240),
]  # fmt: skip

WANTED = [
    (AuditQuery(), [5, 4, 3, 2, 1]),
    (AuditQuery(events=("login",)), [2, 1]),
    (AuditQuery(events=("login", "store")), [4, 2, 1]),
    (AuditQuery(outcomes=("failure", "refused")), [2]),
    (AuditQuery(who="anna"), [3, 2, 1]),
    (AuditQuery(who="ann"), []),
    (AuditQuery(via="ae"), [5, 4]),
    (AuditQuery(address="10.0.0.2"), [2]),
    (AuditQuery(patient_id="P-1"), [4, 3]),
    (AuditQuery(uid="1.2.3"), [4, 3]),
    (AuditQuery(uid="1.2.3.4"), [3]),
    (AuditQuery(uid="1.2"), []),
    (AuditQuery(since=DAY + timedelta(seconds=60), until=DAY + timedelta(seconds=180)), [3, 2]),
    (AuditQuery(text="STUDY"), [5]),
    (AuditQuery(text="study"), [5]),
    (AuditQuery(text="100%_"), [5]),
    (AuditQuery(text="1%0"), []),
    (AuditQuery(text="ws 1"), [5]),
    (AuditQuery(who="anna", events=("login",), outcomes=("success",), text="10.0.0.1"), [1]),
]


@pytest.fixture
async def filled(trail: Trail) -> Trail:
    await trail.append(LOGINS)
    return trail


async def test_every_filter_finds_its_rows(filled: Trail) -> None:
    for query, ids in WANTED:
        page = await filled.search(query)
        assert [row.id for row in page.rows] == ids, query
        assert (page.total, page.capped, page.before) == (len(ids), False, None), query


async def test_a_row_is_given_back_as_it_was_told(filled: Trail) -> None:
    (row,) = (await filled.search(AuditQuery(uid="1.2.3.4"))).rows
    told = LOGINS[2]
    assert (row.event, row.outcome, row.who, row.via, row.address) == (
        "viewed", "success", "anna", "session", told.address,
    )  # fmt: skip
    assert (row.uids, row.patient_id, row.at) == (told.uids, "P-1", DAY + timedelta(seconds=120))
    assert row.recorded_at > row.at
    assert len(row.hash) == 64


async def test_pages_follow_each_other_though_rows_come_meanwhile(filled: Trail) -> None:
    first = await filled.search(AuditQuery(), limit=2)
    await filled.append([event(event="later")])
    second = await filled.search(AuditQuery(), before=first.before, limit=2)
    third = await filled.search(AuditQuery(), before=second.before, limit=2, count=False)
    assert [[row.id for row in page.rows] for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert (first.total, third.before, third.total) == (5, None, 1)


async def test_the_history_of_a_study_is_what_names_it(filled: Trail) -> None:
    assert [row.event for row in (await filled.of_study("1.2.3")).rows] == ["store", "viewed"]
    assert [row.event for row in (await filled.of_study("1.2.3", limit=1)).rows] == ["store"]


async def test_the_total_is_counted_up_to_a_limit(
    filled: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(trail_module, "MOST_COUNTED", 3)
    page = await filled.search(AuditQuery())
    assert (page.total, page.capped) == (3, True)


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "\0", "\ud800", "$1", "%", "\\", "{}", "1.2.3')", "x" * 100_000]
)
async def test_what_is_asked_is_never_sql(filled: Trail, text: str) -> None:
    everywhere = AuditQuery(
        events=(text,),
        outcomes=(text,),
        who=text,
        via=text,
        address=text,
        patient_id=text,
        uid=text,
        text=text,
    )
    assert (await filled.search(everywhere)).rows == ()


@pytest.mark.parametrize(
    ("before", "limit"), [(-1, 10), (0, 10), (10**30, 10), (-(10**30), 10), (6, 0), (6, -5), (6, 10**9)]
)
async def test_page_bounds_beyond_all_bounds_are_brought_within(filled: Trail, before: int, limit: int) -> None:  # fmt: skip
    page = await filled.search(AuditQuery(), before=before, limit=limit)
    assert len(page.rows) <= MOST_ROWS
    assert all(row.id < max(before, 0) for row in page.rows)


async def test_who_delivers_is_one_until_it_is_silent_for_too_long(filled: Trail) -> None:
    assert await filled.hold_delivery("r", "a", 60) == 0
    assert await filled.hold_delivery("r", "b", 60) is None
    await filled.delivered("r", "b", 5)
    assert await filled.lag("r") == 5, "only who holds it says how far it is"
    await filled.delivered("r", "a", 3)
    await filled.delivered("r", "a", 2)
    assert await filled.lag("r") == 2, "never backwards"
    assert await filled.hold_delivery("r", "a", 0.0) == 3
    assert await filled.hold_delivery("r", "b", 60) == 3
    assert [row.id for row in await filled.after(3, 10)] == [4, 5]
