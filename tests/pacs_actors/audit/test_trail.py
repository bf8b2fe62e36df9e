"""Searching the audit: what each filter finds, page by page, and that nothing which is asked is SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pacs_actors.archive.scope import EVERYTHING, NOTHING, ScopeRule, StudyScope, both
from pacs_actors.audit import trail as trail_module
from pacs_actors.audit.matching import SORTS, Listing
from pacs_actors.audit.trail import MOST_ROWS, Trail
from protocols.messages.audit import AuditQuery, AuditRow
from tests.pacs_actors.audit.rows import event, execute

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
        page = await filled.search(Listing(query=query))
        assert [row.id for row in page.rows] == ids, query
        assert (page.total, page.capped, page.after) == (len(ids), False, None), query


async def test_a_row_is_given_back_as_it_was_told(filled: Trail) -> None:
    (row,) = (await filled.search(Listing(query=AuditQuery(uid="1.2.3.4")))).rows
    told = LOGINS[2]
    assert (row.event, row.outcome, row.who, row.via, row.address) == (
        "viewed", "success", "anna", "session", told.address,
    )  # fmt: skip
    assert (row.uids, row.patient_id, row.at) == (told.uids, "P-1", DAY + timedelta(seconds=120))
    assert row.recorded_at > row.at
    assert len(row.hash) == 64


async def test_pages_follow_each_other_though_rows_come_meanwhile(filled: Trail) -> None:
    first = await filled.search(Listing(), limit=2)
    await filled.append([event(event="later")])
    second = await filled.search(Listing(after=first.after), limit=2)
    third = await filled.search(Listing(after=second.after), limit=2, count=False)
    assert [[row.id for row in page.rows] for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert (first.total, third.after, third.total) == (5, None, 1)


async def test_the_total_is_counted_up_to_a_limit(
    filled: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(trail_module, "MOST_COUNTED", 3)
    page = await filled.search(Listing())
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
    assert (await filled.search(Listing(query=everywhere))).rows == ()


@pytest.mark.parametrize("limit", [0, -5, 10**9])
async def test_limits_beyond_all_bounds_are_brought_within(filled: Trail, limit: int) -> None:
    page = await filled.search(Listing(), limit=limit)
    assert 1 <= len(page.rows) <= MOST_ROWS


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_in_any_order_hold_every_row_once(filled: Trail, sort: str, descending: bool) -> None:
    await filled.append(LOGINS)
    listing = Listing(sort=sort, descending=descending)
    (whole,) = [rows async for rows in filled.pages(listing, 100)]
    values = [(_value(row, sort), row.id) for row in whole]
    assert len(values) == 10 and values == sorted(values, reverse=descending)
    paged = [row async for rows in filled.pages(listing, 3) for row in rows]
    assert paged == list(whole)


def _value(row: AuditRow, sort: str) -> object:
    return (row.uids or ("",))[0] if sort == "uids" else getattr(row, sort)


async def test_what_is_taken_whole_ends_though_rows_come_meanwhile(filled: Trail) -> None:
    taken = []
    async for rows in filled.pages(Listing(descending=False), 2):
        taken += [row.id for row in rows]
        await filled.append(LOGINS)
    assert taken == [1, 2, 3, 4, 5]


ABOUT_STUDIES = [
    event(event="store", uids=("1.1",), patient_id="MINE"),
    event(event="store", uids=("9.9",), patient_id="THEIRS"),
    event(event="move", uids=("1.1", "1.2")),
    event(event="move", uids=("1.1", "9.9")),
    event(event="move", uids=("1.1", "7.7")),
    event(event="deleted", uids=("1.1", "1.1.5", "1.1.5.1")),
    event(event="deleted", uids=("9.9", "1.1")),
    event(event="store", uids=("7.7",), patient_id="GONE"),
    event(event="query"),
    event(event="login"),
]


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        (EVERYTHING, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (StudyScope(rules=(ScopeRule(modalities=("CT",)),)), [6, 3, 1]),
        (StudyScope(rules=(ScopeRule(studies=("1.2",)),)), []),
        (StudyScope(rules=(ScopeRule(studies=("1.1",)),)), [6, 1]),
        (StudyScope(rules=(ScopeRule(studies=("1.1", "9.9", "7.7")),)), [7, 6, 4, 2, 1]),
        (both(StudyScope(rules=(ScopeRule(studies=("1.1", "9.9")),)), StudyScope(rules=(ScopeRule(modalities=("MR",)),))), [7, 2]),
        (NOTHING, []),
    ],
)  # fmt: skip
async def test_rows_about_other_studies_than_one_may_see_are_not_there(
    trail: Trail, owner_dsn: str, scope: StudyScope, seen: list[int]
) -> None:
    """1.1 and 1.2 are CT, 9.9 is MR, 7.7 is there no more."""
    await execute(
        owner_dsn,
        "INSERT INTO patients (patient_id) VALUES ('P')",
        """INSERT INTO studies (patient, study_instance_uid, modalities_in_study) SELECT p.id, s.uid, s.modalities FROM patients p,
        (VALUES ('1.1', '{CT}'::text[]), ('1.2', '{CT}'), ('9.9', '{MR}')) s (uid, modalities)""",
    )
    await trail.append(ABOUT_STUDIES)
    page = await trail.search(Listing(scope=scope))
    assert ([row.id for row in page.rows], page.total) == (seen, len(seen))
    taken = [row.id async for rows in trail.pages(Listing(scope=scope), 2) for row in rows]
    assert taken == seen
    mine = await trail.search(Listing(scope=scope, query=AuditQuery(uid="7.7")))
    assert scope.everything or not mine.rows


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
