"""Whatever happens beside a move, and between two of its steps: no instance is left without a copy that is good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from pacs_actors.lifecycle import tier_mover
from protocols.errors import Unavailable
from tests.pacs_actors.lifecycle.moving import NEAR, STUDY, Archive, open_archive

UIDS = ("1.2.3.1", "1.2.3.2", "1.2.3.3")


@pytest.fixture
async def archive(tmp_path: Path, dsn: str) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path, dsn) as archive:
        yield archive


async def test_what_was_recalled_counts_as_cached_until_it_is_released(archive: Archive) -> None:
    await archive.store(*UIDS)
    recalled = f"SELECT recalled_at IS NOT NULL FROM study_storage WHERE study_instance_uid = '{STUDY}'"
    assert (await archive.moved("online", NEAR)).state == "done"
    assert (True,) not in await archive.sql(recalled)
    assert (await archive.moved("", "online")).state == "done"
    assert await archive.sql(recalled) == [(True,)]
    assert (await archive.moved("online", "")).state == "done"
    assert await archive.sql(recalled) == [(False,)]


async def test_a_database_that_goes_away_in_the_middle_of_a_copy_crashes_no_mover(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease cannot be renewed, and what has arrived cannot be noted: two failures at once."""
    await archive.store(*UIDS)
    await archive.order("online", NEAR)
    move = await archive.taken()
    copying, renewals = trio.Event(), 0
    real_copy, real_progress = archive.carrier.copy_out, archive.moves.progress

    async def copy(*arguments: Any) -> Any:
        if copying.is_set():
            await trio.sleep_forever()
        copying.set()
        return await real_copy(*arguments)

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("PostgreSQL: away")

    async def progress(*arguments: Any, **named: Any) -> bool:
        nonlocal renewals
        renewals += 1
        return await (away() if renewals > 1 else real_progress(*arguments, **named))

    monkeypatch.setattr(tier_mover, "_RENEW_S", 0.01)
    monkeypatch.setattr(archive.carrier, "copy_out", copy)
    monkeypatch.setattr(archive.moves, "progress", progress)
    monkeypatch.setattr(archive.copies, "add", away)
    with trio.fail_after(60):
        await archive.mover.serve(move)
    assert "away" in (await archive.last()).problem
