"""Anchors survive crashes and are held against the audit."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from config.settings import AuditSettings
from pacs_actors.audit import anchor_keeper, anchors
from pacs_actors.audit.anchor_keeper import AnchorKeeper
from pacs_actors.audit.audit import Audit
from pacs_actors.audit.chain import Anchor
from pacs_actors.audit.trail import Trail
from pacs_actors.mail.mailbox import Mailbox
from protocols.messages.audit import AuditEvent
from tests.pacs_actors.audit.rows import event, tamper, verified

ONE, TWO = (
    Anchor("2026-01-01T00:00:00+00:00", 1, "aa" * 32),
    Anchor("2026-01-02T00:00:00+00:00", 2, "bb" * 32),
)


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    file = anchors.file_of(tmp_path)
    assert anchors.read(file) == ([], [])
    anchors.append(file, ONE)
    anchors.append(file, TWO)
    assert anchors.read(file) == ([ONE, TWO], [])
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_half_a_line_that_a_crash_left_costs_that_line_only(tmp_path: Path, cut: int) -> None:
    file = anchors.file_of(tmp_path)
    anchors.append(file, ONE)
    anchors.append(file, TWO)
    file.write_bytes(file.read_bytes()[:-cut])
    anchors.append(file, ONE)
    known, unreadable = anchors.read(file)
    assert known[0] == known[-1] == ONE
    assert unreadable == ([2] if cut > 1 else [])


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"[]", b'{"id": "x"}', b"null", b"\0" * 100])
def test_lines_that_are_no_anchors_are_counted(tmp_path: Path, garbage: bytes) -> None:
    file = anchors.file_of(tmp_path)
    anchors.append(file, ONE)
    with file.open("ab") as also:
        also.write(garbage + b"\n")
    anchors.append(file, TWO)
    assert anchors.read(file) == ([ONE, TWO], [2])


def keeper(trail: Trail, folder: Path, **settings: float) -> AnchorKeeper:
    mailbox: Mailbox[AuditEvent] = Mailbox("audit", 10)
    return AnchorKeeper(AuditSettings(**settings), trail, Audit(mailbox), folder)  # type: ignore[arg-type]


async def until_anchored(actor: AnchorKeeper, row: int) -> None:
    with trio.fail_after(10):
        while actor.anchored != row:
            await trio.sleep(0.01)


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor_keeper, "_LOOK_EVERY_S", 0.01)


async def test_the_end_is_noted_after_so_many_rows(
    owner_dsn: str, trail: Trail, tmp_path: Path, looks_often: None
) -> None:
    actor = keeper(trail, tmp_path, anchor_rows=3)
    await trail.append([event(1)])
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        await until_anchored(actor, 1)  # at the start whatever is there
        await trail.append([event(2), event(3), event(4)])
        await until_anchored(actor, 4)
        nursery.cancel_scope.cancel()
    known, _ = anchors.read(actor.file)
    assert [anchor.id for anchor in known] == [1, 4]
    assert (await verified(owner_dsn, known)).findings == []


async def test_the_end_is_noted_after_some_time(trail: Trail, tmp_path: Path, looks_often: None) -> None:
    actor = keeper(trail, tmp_path, anchor_s=1)
    await trail.append([event(1)])
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        await until_anchored(actor, 1)
        await trail.append([event(2)])
        await until_anchored(actor, 2)
        nursery.cancel_scope.cancel()


async def test_no_new_rows_make_no_new_anchor(trail: Trail, tmp_path: Path) -> None:
    actor = keeper(trail, tmp_path)
    await actor.anchor()
    assert not actor.file.exists()
    await trail.append([event(1)])
    await actor.anchor()
    await actor.anchor()
    assert len(anchors.read(actor.file)[0]) == 1


async def test_a_cut_end_is_noticed_at_the_next_start(
    owner_dsn: str, trail: Trail, tmp_path: Path, looks_often: None, caplog: pytest.LogCaptureFixture
) -> None:
    await trail.append([event(1), event(2), event(3)])
    await keeper(trail, tmp_path).anchor()
    await tamper(owner_dsn, "DELETE FROM audit_events WHERE id = 3")
    actor = keeper(trail, tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        with trio.fail_after(10):
            told = (await actor.audit.mailbox.receive()).message
        nursery.cancel_scope.cancel()
    assert (told.event, told.outcome) == ("audit_damaged", "failure")
    assert "audit_damaged" in [record.message for record in caplog.records]


async def test_a_folder_that_cannot_be_written_does_not_end_the_keeper(
    trail: Trail, tmp_path: Path, looks_often: None, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit").write_text("in the way")
    actor = keeper(trail, tmp_path)
    await trail.append([event(1)])
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        with trio.fail_after(10):
            while "audit_not_anchored" not in [record.message for record in caplog.records]:
                await trio.sleep(0.01)
        (tmp_path / "audit").unlink()
        await until_anchored(actor, 1)
        nursery.cancel_scope.cancel()
