"""What was told and not written yet is in files, which a killed process leaves behind and the next one writes: once."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from pacs_actors.audit import spool as spool_module
from pacs_actors.audit.audit import Audit
from pacs_actors.audit.auditor import Auditor
from pacs_actors.audit.matching import Listing
from pacs_actors.audit.spool import Spool, events_of
from pacs_actors.audit.spool_replayer import SpoolReplayer
from pacs_actors.audit.trail import Trail
from pacs_actors.mail.mailbox import Mailbox
from protocols.errors import Unavailable
from protocols.messages.audit import AuditEvent
from tests.pacs_actors.audit.rows import event, verified

AT = 1_770_000_000.123456


def kept(folder: Path) -> list[AuditEvent]:
    return [each for path in sorted(folder.iterdir()) for each in events_of(path)]


def number_of_files(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def test_what_is_told_is_in_a_file_before_the_teller_goes_on(tmp_path: Path) -> None:
    mailbox: Mailbox[AuditEvent] = Mailbox("audit", 10)
    audit = Audit(mailbox, Spool(tmp_path / "spool", 0, 1))
    await audit.note(event(patient_id="P\n1", details={"size": 2**40}))
    told = (await mailbox.receive()).message
    (found,) = kept(tmp_path / "spool")
    assert (found.who, found.patient_id, found.details, found.at) == ("CT1", "P\n1", {"size": 2**40}, told.at)
    assert [
        path.stat().st_mode & 0o777 for path in (tmp_path / "spool", *(tmp_path / "spool").iterdir())
    ] == [0o700, 0o600]


async def test_what_the_teller_was_cancelled_with_is_kept_all_the_same(tmp_path: Path) -> None:
    audit = Audit(Mailbox("audit", 10), Spool(tmp_path, 0, 1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await audit.note(event())
    assert len(kept(tmp_path)) == 1 and not audit.mailbox.depth


async def test_files_go_when_all_of_them_is_in_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "FILE_BYTES", 1000)
    spool = Spool(tmp_path, 0, 1)
    events = [spool.add(event(number, at=AT)) for number in range(40)]
    files = number_of_files(tmp_path)
    assert files > 3 and len(kept(tmp_path)) == 40
    await spool.settle(events[1:])
    assert number_of_files(tmp_path) == 2, "that of the first event, and the one that is appended to"
    await spool.settle(events[:1])
    assert number_of_files(tmp_path) == 1
    await spool.close()
    assert number_of_files(tmp_path) == 0


async def test_a_file_whose_events_are_all_settled_goes_when_the_next_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "FILE_BYTES", 1)
    spool = Spool(tmp_path, 0, 1)
    for number in range(5):
        await spool.settle([spool.add(event(number, at=AT))])
    assert number_of_files(tmp_path) == 1
    await spool.close()


async def test_what_is_not_settled_at_the_end_stays_for_the_next_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 3, 8)
    first, _ = spool.add(event(1, at=AT)), spool.add(event(2, at=AT))
    await spool.settle([first])
    await spool.close()
    again = Spool(tmp_path, 3, 8)
    assert len(again.left) == 1
    again.add(event(3, at=AT))
    assert [each.who for each in kept(tmp_path)] == ["CT1", "CT2", "CT3"], "nothing is overwritten"
    assert number_of_files(tmp_path) == 2
    await again.close()


def test_each_slot_takes_its_own_and_the_first_those_of_slots_that_are_no_more(tmp_path: Path) -> None:
    for name in ("0-00000001", "1-00000007", "1-00000008", "5-00000001", "12-00000001"):
        (tmp_path / f"{name}.jsonl").touch()
    for name in ("x", "1-1.jsonl", "1-00000001.jsonl.tmp", "-1-00000001.jsonl"):
        (tmp_path / name).touch()
    left = {slot: [path.stem for path in Spool(tmp_path, slot, 2).left] for slot in (0, 1)}
    assert left == {0: ["0-00000001", "5-00000001", "12-00000001"], 1: ["1-00000007", "1-00000008"]}


def test_damaged_and_cut_off_lines_spoil_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "0-00000001.jsonl"
    spool = Spool(tmp_path, 0, 1)
    spool.add(event(1, at=AT))
    with path.open("ab") as file:
        file.write(b'\n{"event":"store","outc')
    spool.add(event(2, at=AT))
    with path.open("ab") as file:
        file.write(b"\n\xff\0\n[]\n" + b"x" * 200_000 + b"\n" + b"[" * 60_000)
    assert [each.who for each in events_of(path)] == ["CT1", "CT2"]
    assert {record.message for record in caplog.records} == {"audit_spool_line_damaged"}


def test_a_disk_that_takes_nothing_is_said_once_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, full = os.write, True

    def refuse(fd: int, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", refuse)
    spool = Spool(tmp_path, 0, 1)
    assert [spool.add(event(number)).kept for number in range(3)] == [0, 0, 0]
    assert [record.message for record in caplog.records] == ["audit_spool_failed"]
    full = False
    assert spool.add(event()).kept == 1


def test_a_line_of_which_the_disk_takes_half_counts_as_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    spool = Spool(tmp_path, 0, 1)
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
    assert spool.add(event(1, at=AT)).kept == 0
    monkeypatch.undo()
    assert spool.add(event(2, at=AT)).kept == 1
    assert [each.who for each in kept(tmp_path)] == ["CT2"]


def test_the_spool_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MOST_BYTES", 2000)
    spool = Spool(tmp_path, 0, 1)
    places = [spool.add(event(number, at=AT)).kept for number in range(100)]
    assert places[0] and not places[-1]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert spool.add(event(details={"why": "x" * 100_000})).kept == 0


class FakeTrail:
    def __init__(self, *, away: int = 0, poison: str = "") -> None:
        self.away, self.poison, self.rows = away, poison, list[AuditEvent]()

    async def append(self, events: Sequence[AuditEvent]) -> None:
        await trio.lowlevel.checkpoint()
        self.rows += events

    async def append_missing(self, events: Sequence[AuditEvent]) -> int:
        await trio.lowlevel.checkpoint()
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        if self.poison in {each.event for each in events}:
            raise ValueError("not with us")
        self.rows += events
        return len(events)


async def test_what_the_auditor_has_written_needs_no_spool_any_more(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    mailbox: Mailbox[AuditEvent] = Mailbox("audit", 100)
    spool = Spool(tmp_path, 0, 1)
    audit, trail = Audit(mailbox, spool), FakeTrail()
    for number in range(20):
        await audit.note(event(number))
    mailbox.close()
    await audit.note(event(20))  # too late for the mailbox, not for the next start
    await Auditor(cast("Trail", trail), mailbox, spool).run()
    assert len(trail.rows) == 20
    await spool.close()
    assert [each.who for each in kept(tmp_path)][-1] == "CT20"
    assert len(Spool(tmp_path, 0, 1).left) == 1


def spooled(folder: Path, *events: AuditEvent) -> list[Path]:
    """Files as a killed process leaves them."""
    spool = Spool(folder, 0, 1)
    for each in events:
        spool.add(each)
    return Spool(folder, 0, 1).left


async def test_what_is_left_is_written_in_order_however_long_postgresql_is_away(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    left = spooled(tmp_path, *(event(number, at=AT + number) for number in range(1200)))
    trail = FakeTrail(away=50)
    await SpoolReplayer(cast("Trail", trail), left).run()
    assert [each.who for each in trail.rows] == [f"CT{number}" for number in range(1200)]
    assert number_of_files(tmp_path) == 0


async def test_a_row_that_postgresql_refuses_keeps_no_other_out_and_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = spooled(
        tmp_path, event(1, at=AT), event(2, at=AT, event="poison", patient_id="SECRET"), event(3, at=AT)
    )
    trail = FakeTrail(poison="poison")
    await SpoolReplayer(cast("Trail", trail), left).run()
    assert [each.who for each in trail.rows] == ["CT1", "CT3"]
    assert {"audit_row_refused", "audit_overflow"} <= {record.message for record in caplog.records}
    assert "SECRET" not in caplog.text and number_of_files(tmp_path) == 0


async def test_a_file_that_cannot_be_read_stays_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0-00000001.jsonl").mkdir()
    left = spooled(tmp_path, event(1, at=AT))
    assert len(left) == 2
    trail = FakeTrail()
    await SpoolReplayer(cast("Trail", trail), left).run()
    assert len(trail.rows) == 1 and number_of_files(tmp_path) == 1
    assert "audit_spool_unreadable" in {record.message for record in caplog.records}


async def test_what_is_in_the_database_already_is_not_written_again(
    trail: Trail, tmp_path: Path, dsn: str
) -> None:
    told: list[Any] = [
        event(1, at=AT, uids=("1.2",), details={"instances": 3, "why": 'ü \\ "'}),
        event(2, at=AT),
        event(2, at=AT + 0.000_002),
        event(3, at=AT, who="x" * 2000, event="y" * 2000),
        event(4, at=AT, uids=()),
        event(4, at=AT, uids=("1.2",)),
        event(5, at=AT, details={"why": "nul \0"}),
    ]
    await trail.append(told[:4])
    await SpoolReplayer(trail, spooled(tmp_path, *told)).run()
    page = await trail.search(Listing(descending=False))
    assert [row.who[:3] for row in page.rows] == ["CT1", "CT2", "CT2", "xxx", "CT4", "CT4", "CT5"]
    again = SpoolReplayer(trail, spooled(tmp_path, *told))
    await again.run()
    assert again.replayed == 0
    assert (await trail.search(Listing())).total == len(told)
    verifier = await verified(dsn)
    assert (verifier.rows, verifier.findings) == (len(told), [])
