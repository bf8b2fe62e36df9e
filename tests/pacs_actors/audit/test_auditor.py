"""The auditor loses nothing that it was told, whatever PostgreSQL does; and what ``Audit`` tells for each kind of event."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import cast

import pytest
import trio
import trio.testing

from pacs_actors.audit import events
from pacs_actors.audit.audit import OURSELVES, Audit, made
from pacs_actors.audit.auditor import Auditor
from pacs_actors.audit.trail import Trail
from pacs_actors.mail.mailbox import Mailbox
from protocols.errors import Unavailable
from protocols.messages.audit import Actor, AuditEvent
from tests.pacs_actors.audit.rows import event

ANNA = Actor("anna", "session", "10.0.0.1")


class Party:
    calling_ae, called_ae, address = "CT1", "PACS", "10.0.0.9"


class FakeTrail:
    """away: how often PostgreSQL is away; poison: an event that it does not take"""

    def __init__(self, *, away: int = 0, poison: str = "") -> None:
        self.away, self.poison = away, poison
        self.rows: list[AuditEvent] = []
        self.batches: list[int] = []

    async def append(self, events: Sequence[AuditEvent]) -> None:
        await trio.lowlevel.checkpoint()
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        if self.poison in {each.event for each in events}:
            raise ValueError("not with us")
        self.batches.append(len(events))
        self.rows += events


def auditor(trail: FakeTrail, places: int = 10_000) -> tuple[Auditor, Mailbox[AuditEvent]]:
    mailbox: Mailbox[AuditEvent] = Mailbox("audit", places)
    return Auditor(cast("Trail", trail), mailbox), mailbox


async def test_events_are_written_in_order_and_in_batches(autojump_clock: trio.testing.MockClock) -> None:
    trail = FakeTrail()
    actor, mailbox = auditor(trail)
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        for number in range(1200):
            await mailbox.tell(event(number))
        mailbox.close()
    assert [each.who for each in trail.rows] == [f"CT{number}" for number in range(1200)]
    assert max(trail.batches) == 500
    assert len(trail.batches) <= 5
    assert actor.written == 1200


async def test_nothing_is_lost_while_postgresql_is_away(autojump_clock: trio.testing.MockClock) -> None:
    trail = FakeTrail(away=20)
    actor, mailbox = auditor(trail)
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        for number in range(30):
            await mailbox.tell(event(number))
        mailbox.close()
    assert len(trail.rows) == 30


async def test_what_is_not_written_when_there_is_no_time_left_is_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    trail = FakeTrail(away=1_000_000)
    actor, mailbox = auditor(trail)
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        for number in range(700):
            await mailbox.tell(event(number))
        await trio.sleep(5)
        left = [each.who for each in actor.unwritten()]
        nursery.cancel_scope.cancel()
    assert left == [f"CT{number}" for number in range(700)] and not trail.rows
    assert not mailbox.depth


async def test_a_row_that_postgresql_refuses_goes_to_the_log_and_keeps_no_other_out(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    trail = FakeTrail(poison="poison")
    actor, mailbox = auditor(trail)
    for each in (event(1), event(2, event="poison", patient_id="SECRET"), event(3)):
        await mailbox.tell(each)
    mailbox.close()
    with pytest.raises(ValueError, match="not with us"):
        await actor.run()
    await actor.run()  # as its supervisor does
    assert [each.who for each in trail.rows] == ["CT1", "CT3"]
    assert [record.message for record in caplog.records] == ["audit_row_refused"]
    assert "SECRET" not in caplog.text


async def test_what_is_recorded_is_in_the_database_when_that_returns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    trail = FakeTrail(away=2)
    actor, mailbox = auditor(trail)
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        await Audit(mailbox).record(made(events.DELETED, ANNA, {}, ("1.2",), "P1"))
        assert [each.event for each in trail.rows] == ["deleted"]
        mailbox.close()


async def test_what_cannot_be_recorded_in_time_is_unavailable(
    autojump_clock: trio.testing.MockClock,
) -> None:
    actor, mailbox = auditor(FakeTrail(away=10**6))
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        with pytest.raises(Unavailable):
            await Audit(mailbox).record(event())
        nursery.cancel_scope.cancel()


async def test_what_a_full_mailbox_does_not_take_is_in_the_log(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    _, mailbox = auditor(FakeTrail(), places=1)
    audit = Audit(mailbox)
    await audit.login(ANNA)
    await audit.login(ANNA)
    assert [record.message for record in caplog.records] == ["audit_overflow"]
    mailbox.close()
    await audit.logout(ANNA)
    assert len(caplog.records) == 2


async def told(audit: Audit) -> AuditEvent:
    return (await audit.mailbox.receive()).message


async def test_an_event_has_the_time_when_it_happened_and_who_by_what_from_where() -> None:
    audit = Audit(Mailbox("audit", 10))
    await audit.viewed(ANNA, "1.2", "P1", how="viewer")
    found = await told(audit)
    assert (found.event, found.outcome, found.who, found.via, found.address) == (
        "viewed", "success", "anna", "session", "10.0.0.1",
    )  # fmt: skip
    assert (found.uids, found.patient_id, found.details) == (("1.2",), "P1", {"how": "viewer"})
    assert found.at > 1.7e9
    await audit.stored(Party(), "1.2", "P1", 3)
    found = await told(audit)
    assert (found.event, found.who, found.via, found.details) == ("store", "CT1", "ae", {"instances": 3})


async def test_what_came_over_one_association_is_a_row_a_study() -> None:
    audit = Audit(Mailbox("audit", 10))
    await audit.transferred(
        Party(), {("1.2", "P1", "9.1"): 3, ("1.3", "P2", "9.1"): 1, ("1.2", "P1", "9.2"): 2}
    )
    first, second = await told(audit), await told(audit)
    assert (first.uids, first.patient_id) == (("1.2",), "P1")
    assert first.details == {"instances": 5, "sop_classes": "9.1=3 9.2=2"}
    assert (second.uids, second.details) == (("1.3",), {"instances": 1, "sop_classes": "9.1=1"})


async def test_long_lists_of_studies_are_counted() -> None:
    audit = Audit(Mailbox("audit", 10))
    await audit.downloaded(ANNA, (f"1.{n}" for n in range(120)))
    found = await told(audit)
    assert len(found.uids) == 50
    assert found.details == {"more_uids": 70}


WANTED: dict[str, tuple[tuple[object, ...], str, str]] = {
    "association_opened": ((Party(),), "association", "success"),
    "association_rejected": ((Party(), "unknown"), "association", "refused"),
    "stored": ((ANNA, "1.2", "P", 5), "store", "success"),
    "transferred": ((Party(), {("1.2", "P", "1.9"): 5}), "store", "success"),
    "imported": ((ANNA, "1.2", "P", 5), "imported", "success"),
    "store_refused": ((Party(), "1.2", "full"), "store", "refused"),
    "queried": ((ANNA, "STUDY", {}, 5, "success"), "query", "success"),
    "retrieved": ((Party(), "move", ("1.2",), {}, "warning"), "move", "warning"),
    "viewed": ((ANNA, "1.2"), "viewed", "success"),
    "downloaded": ((ANNA, ["1.2"]), "downloaded", "success"),
    "exported": ((ANNA, ["1.2"]), "exported", "success"),
    "deleted": ((ANNA, "1.2", "P", "1.3"), "deleted", "success"),
    "undeleted": ((ANNA, "1.2", "P"), "undeleted", "success"),
    "erased": ((OURSELVES, "1.2", "P"), "erased", "success"),
    "login": ((ANNA,), "login", "success"),
    "login_failed": ((ANNA, "password"), "login", "failure"),
    "logout": ((ANNA,), "logout", "success"),
    "denied": ((ANNA, "DELETE /studies"), "denied", "refused"),
    "share_created": ((ANNA, "1.2", "P", "7"), "share_created", "success"),
    "share_used": ((ANNA, "1.2", "P", "7", "failure"), "share_used", "failure"),
    "share_revoked": ((ANNA, "1.2", "P", "7"), "share_revoked", "success"),
    "user_changed": ((ANNA, "bert", "created"), "user_changed", "success"),
    "permission_changed": ((ANNA, "viewer", "study.delete added"), "permission_changed", "success"),
    "settings_changed": ((ANNA, "web.hosts"), "settings_changed", "success"),
    "storage_asked": ((ANNA, "hold", "1.2"), "storage_asked", "success"),
    "node_changed": ((ANNA, "CT2", "added"), "node_changed", "success"),
    "audit_read": ((ANNA, "search"), "audit_read", "success"),
    "audit_damaged": (("row 5",), "audit_damaged", "failure"),
    "started": ((0,), "started", "success"),
    "stopped": ((0,), "stopped", "success"),
}


async def test_every_kind_of_event_is_told_under_its_own_name() -> None:
    methods = {name for name, _ in inspect.getmembers(Audit, inspect.isfunction) if not name.startswith("_")}
    assert methods - {"note", "record"} == set(WANTED)
    audit = Audit(Mailbox("audit", 10))
    for name, (arguments, kind, outcome) in WANTED.items():
        await getattr(audit, name)(*arguments)
        found = await told(audit)
        assert (found.event, found.outcome) == (kind, outcome), name
        assert found.event in events.ALL
        assert found.via, name
