"""Share links: the rules, and what the database makes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import trio

from pacs_actors.archive.scope import EVERYTHING, ScopeRule, StudyScope, both
from pacs_actors.people import shares as book
from pacs_actors.people import tickets
from pacs_actors.people.accounts import Role, RoleRule, RoleScope, User
from pacs_actors.people.reception import SlowDown
from pacs_actors.people.rights import Action, Via
from pacs_actors.people.share_desk import NoSuchLink, PasswordNeeded, ShareDesk
from pacs_actors.people.share_rules import Link, actions_given, counters, principal_of_link, visible, why_not
from pacs_actors.people.shares import NewShare, Share
from tests.pacs_actors.people.conftest import Desk

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
ONE = StudyScope(rules=(ScopeRule(studies=("1.2.3",)),))
LOOKING = frozenset({Action.SEARCH, Action.VIEW})


def role(*actions: Action, everything: bool = True, rules: tuple[RoleRule, ...] = ()) -> Role:
    return Role("r", "", tuple(each.value for each in actions), RoleScope(everything, rules))


def link(*roles: Role, enabled: bool = True, revoked: bool = False, download: bool = False) -> Link:
    return Link(
        number=7, study_instance_uid="1.2.3", patient_id="P", password_hash="a hash", revoked=revoked, roles=roles,
        actions=("study.search", "study.view", *(("study.download",) if download else ())),
        expires_at=NOW + timedelta(seconds=1), maker=User(id=3, username="maker") if enabled else None,
    )  # fmt: skip


SHARING = role(Action.SEARCH, Action.VIEW, Action.DOWNLOAD, Action.SHARE, Action.DELETE, Action.PEOPLE_WRITE)


# -- rules ------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("actions", "download", "given"),
    [
        ({Action.SHARE, *LOOKING}, False, LOOKING),
        ({Action.SHARE, *LOOKING}, True, None),
        ({Action.SHARE, Action.DOWNLOAD, *LOOKING}, True, LOOKING | {Action.DOWNLOAD}),
        ({Action.SHARE, Action.VIEW}, False, None),
        ({Action.SHARE, Action.SEARCH}, False, None),
        (set(Action), False, LOOKING),
    ],
)
def test_a_link_allows_to_look_and_if_its_maker_may_to_download(
    actions: set[Action], download: bool, given: frozenset[Action] | None
) -> None:
    assert actions_given(frozenset(actions), download=download) == given


def test_whoever_opens_a_link_sees_its_study_as_far_as_its_maker_may_now() -> None:
    principal = principal_of_link(link(SHARING), 9)
    assert (principal.actions, principal.scope, principal.user_id) == (LOOKING, ONE, None)
    assert (principal.name, principal.via, principal.session, principal.cookie) == (
        "link 7",
        Via.SHARE,
        "share:9",
        True,
    )
    assert principal_of_link(link(SHARING, download=True), 9).actions == LOOKING | {Action.DOWNLOAD}
    fewer = role(
        Action.SEARCH, Action.VIEW, Action.SHARE, everything=False, rules=(RoleRule(modalities=("CT",)),)
    )
    principal = principal_of_link(link(fewer, download=True), 9)
    assert principal.actions == LOOKING
    assert principal.scope == both(ONE, StudyScope(rules=(ScopeRule(modalities=("CT",)),))) != ONE
    assert visible(link(role(Action.SHARE, everything=False))).within == StudyScope()


def test_a_link_opens_nothing_once_it_has_ended_or_its_maker_may_not_share() -> None:
    assert why_not(link(SHARING), NOW) is None
    assert why_not(link(SHARING), NOW + timedelta(seconds=1)) == "expired"
    assert why_not(link(SHARING, revoked=True), NOW) == "revoked"
    for one in (link(role(*LOOKING)), link(enabled=False)):
        assert why_not(one, NOW) == "whoever made it may not share any more"


def test_guesses_count_for_each_link_and_place() -> None:
    keys = [
        counter.key
        for counter in (*counters(1, "192.0.2.1"), *counters(2, "192.0.2.1"), *counters(1, "192.0.2.2"))
    ]
    assert len(set(keys)) == 5, "of one link that of all places is shared"
    assert keys[1] == keys[5]


def test_no_repr_shows_a_hash() -> None:
    assert "a hash" not in repr(link(SHARING))


# -- the database -----------------------------------------------------------------------------------------------------------------
@pytest.fixture
async def desk(people: Desk) -> AsyncIterator[ShareDesk]:
    yield ShareDesk(people, people.database)


async def add(desk: ShareDesk, user: User, secret: str, study: str = "1.2.3") -> Share | None:
    new = NewShare(
        user_id=user.id, study_instance_uid=study, patient_id="P", actions=("study.view",), note="",
        password_hash=None, lifetime_s=3600,
    )  # fmt: skip
    return await desk.shares.add(new, tickets.digest(secret))


async def test_links_in_force_are_counted_and_have_a_limit(
    people: Desk, desk: ShareDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "MOST_IN_FORCE", 2)
    user, other = await people.person("maker", "radiologist"), await people.person("other", "radiologist")
    first = await add(desk, user, "a")
    assert first is not None and await add(desk, user, "b") is not None
    assert await add(desk, user, "c") is None
    assert await add(desk, other, "d") is not None
    assert await desk.shares.revoke(first.id, EVERYTHING, user.id) is not None
    assert await add(desk, user, "c") is not None


async def test_a_link_has_a_limited_number_of_sessions_of_which_the_oldest_goes(
    people: Desk, desk: ShareDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "_MOST_SESSIONS", 3)
    share = await add(desk, await people.person("maker", "radiologist"), "a")
    assert share is not None
    until = datetime.now(UTC) + timedelta(hours=1)
    sessions = [tickets.digest(str(number)) for number in range(5)]
    for session in sessions:
        assert await desk.shares.open(share.id, session, until)
    there = [await desk.shares.session_of(session) is not None for session in sessions]
    assert there == [False, False, True, True, True]
    (listed,) = await desk.shares.listed(EVERYTHING, None, "1.2.3")
    assert listed.opened == 5


async def test_what_has_ended_is_forgotten_in_time(people: Desk, desk: ShareDesk) -> None:
    user = await people.person("maker", "radiologist")
    made = [await add(desk, user, secret) for secret in "abc"]
    kept, expired, revoked = (one.id for one in made if one is not None)
    await people.sql("UPDATE shares SET expires_at = now() - interval '31 days' WHERE id = $1", expired)
    await people.sql("UPDATE shares SET revoked_at = now() - interval '31 days' WHERE id = $1", revoked)
    assert not await desk.shares.open(expired, tickets.digest("x"), datetime.now(UTC))
    assert not await desk.shares.open(revoked, tickets.digest("x"), datetime.now(UTC))
    assert await desk.shares.open(kept, tickets.digest("x"), datetime.now(UTC) - timedelta(seconds=1))
    assert await desk.shares.session_of(tickets.digest("x")) is None
    await desk.shares.prune()
    assert [one.id for one in await desk.shares.listed(EVERYTHING, None, None)] == [kept]


async def test_links_end_with_the_user_who_made_them(people: Desk, desk: ShareDesk) -> None:
    user, secret = await people.person("maker", "radiologist"), tickets.new_secret(tickets.SHARE)
    await add(desk, user, secret)
    people.events()
    with pytest.raises(NoSuchLink):
        await desk.has_password(secret, "192.0.2.1")  # its study is in no archive
    assert [event[:2] for event in people.events()] == [("share_used", "failure")]
    await people.directory.delete(user.id)
    with pytest.raises(NoSuchLink):
        await desk.has_password(secret, "192.0.2.1")
    assert [event[:2] for event in people.events()] == [("denied", "refused")]
    assert await desk.shares.listed(EVERYTHING, None, None) == []


async def test_a_list_holds_links_of_studies_within_the_scope_only(people: Desk, desk: ShareDesk) -> None:
    await add(desk, await people.person("maker", "radiologist"), "a")
    assert len(await desk.shares.listed(EVERYTHING, None, None)) == 1
    assert await desk.shares.listed(ONE, None, None) == [], "there is no such study"


async def test_who_asks_for_links_that_there_are_not_does_not_fill_the_audit(
    people: Desk, desk: ShareDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def guess(times: int) -> None:
        for _ in range(times):
            with pytest.raises(NoSuchLink):
                await desk.open("lnk_guess", "", "192.0.2.1")

    await guess(100)
    assert people.events() == [("denied", "refused", "unknown link")] * 30
    later = trio.current_time() + 61
    monkeypatch.setattr(trio, "current_time", lambda: later)
    await guess(1)
    assert "after 70" in str(people.mailbox.receive_nowait().message.details["what"])


async def test_guesses_that_have_to_wait_are_one_row_a_link_address_and_minute(
    people: Desk, desk: ShareDesk
) -> None:
    user = await people.person("maker", "administrator")
    secrets = [tickets.new_secret(tickets.SHARE) for _ in range(2)]
    await people.sql("INSERT INTO patients (patient_id) VALUES ('P')")
    await people.sql("INSERT INTO studies (patient, study_instance_uid) SELECT id, '1.2.3' FROM patients")
    hashed = await people.hasher.hash("plum tree 7")
    for secret in secrets:
        new = NewShare(
            user_id=user.id, study_instance_uid="1.2.3", patient_id="P", actions=("study.view",), note="",
            password_hash=hashed, lifetime_s=3600,
        )  # fmt: skip
        assert await desk.shares.add(new, tickets.digest(secret)) is not None
    people.events()
    slowed = 0
    for secret in secrets:
        for address in ("192.0.2.1", "198.51.100.1"):
            for _ in range(12):
                try:
                    await desk.open(secret, "pear tree 7", address)
                except SlowDown:
                    slowed += 1
                except PasswordNeeded:
                    continue
    told = waiting_rows(people)
    assert len(told) == len(set(told)) == 4, "each link and address once"
    await desk.tell_throttled()
    assert waiting_rows(people) == [], "the minute is not over"
    await desk.tell_throttled(all_of_them=True)
    rest = waiting_rows(people)
    assert sorted(row[:2] for row in rest) == sorted(row[:2] for row in told)
    assert sum(row[2] for row in (*told, *rest)) == slowed > 8


def waiting_rows(people: Desk) -> list[tuple[str, str, int]]:
    """(link, address, attempts) of what the audit was told about those who had to wait."""
    rows = []
    while people.mailbox.depth:
        event = people.mailbox.receive_nowait().message
        if event.details.get("why") == "too many wrong passwords":
            assert (event.event, event.outcome, event.uids, event.patient_id) == (
                "share_used",
                "failure",
                ("1.2.3",),
                "P",
            )
            rows.append((event.who, event.address, int(event.details["attempts"])))
    return rows
