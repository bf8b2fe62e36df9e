"""Moves as somebody who watches sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from config.settings import DatabaseSettings
from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.database import Database
from pacs_actors.lifecycle.moves import MOST_WATCHED, Move, Moves, Order
from protocols.messages.live import MovesState
from web.topics.moves import MovesTopic, live_move


@pytest.fixture
async def moves(dsn: str) -> AsyncIterator[Moves]:
    async with Database(dsn, DatabaseSettings(connections=2)) as database:
        yield Moves(database)


async def watched(moves: Moves) -> MovesState:
    context: Any = SimpleNamespace(archive=SimpleNamespace(lifecycle=SimpleNamespace(moves=moves)))
    return msgspec.convert(await MovesTopic(context).look(EVERYTHING), MovesState)


async def test_one_that_runs_shows_how_far_it_is_and_one_that_failed_why(moves: Moves) -> None:
    assert await watched(moves) == MovesState({}, {})
    await moves.order(
        [Order("1.2.3", "online", "nas", "Old CT", priority=200), Order("1.2.4", "", "online", "retrieval")]
    )
    first = cast(Move, await moves.take(["nas"], 60))
    assert first.study_instance_uid == "1.2.4", "the more urgent one"
    await moves.progress(first, 60, of=(10, 1000), done=(4, 400))
    state = await watched(moves)
    assert state.counts == {"running": 1, "waiting": 1}
    running = state.moves[str(first.id)]
    assert (running.state, running.done, running.instances, running.done_bytes) == ("running", 4, 10, 400)
    assert running.begun_at.endswith("Z") and running.ended_at == ""
    await moves.end(first, "failed", "the store does not answer")
    failed = (await watched(moves)).moves[str(first.id)]
    assert (failed.state, failed.problem) == ("failed", "the store does not answer")


async def test_however_many_there_are_only_the_next_ones_are_listed(moves: Moves) -> None:
    orders = [
        Order(f"1.2.{n}", "online", "nas", "Old CT", priority=100 + n) for n in range(MOST_WATCHED + 20)
    ]
    await moves.order(orders)
    state = await watched(moves)
    assert state.counts == {"waiting": MOST_WATCHED + 20}
    assert {one.priority for one in state.moves.values()} == set(range(100, 100 + MOST_WATCHED))


def test_what_has_not_happened_yet_is_no_null() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    move = Move(
        1, "1.2", "", "online", "plain", "asked for", "", 10, "waiting", at, None, None, 0, 0, 0, 0, 0, ""
    )
    told = live_move(move)
    assert (told.asked_at, told.begun_at, told.ended_at) == ("2026-01-02T03:04:05Z", "", "")


async def test_of_one_study_there_is_one_move_at_a_time(moves: Moves) -> None:
    await moves.order(
        [Order("1.2.3", "", "nas", "a"), Order("1.2.3", "nas", "", "b"), Order("1.2.4", "", "nas", "c")]
    )
    taken = [await moves.take(["nas"], 60) for _ in range(3)]
    assert [move and move.study_instance_uid for move in taken] == ["1.2.3", "1.2.4", None]
    await moves.end(cast(Move, taken[0]), "done")
    after = await moves.take(["nas"], 60)
    assert after is not None and after.from_store == "nas"


async def test_whoever_was_too_slow_changes_nothing_any_more(moves: Moves) -> None:
    """Its lease ran out, and another mover goes on."""
    await moves.order([Order("1.2.3", "", "nas", "a")])
    slow = cast(Move, await moves.take(["nas"], -1))
    quick = cast(Move, await moves.take(["nas"], 60))
    assert quick.id == slow.id
    assert not await moves.progress(slow, 60, of=(1, 1), done=(0, 0))
    await moves.end(slow, "failed", "too slow")
    await moves.put_off(slow, 1000, "too slow")
    await moves.hand_over(slow, 1, "too slow")
    assert await moves.progress(quick, 60, of=(1, 1), done=(1, 1))


async def test_what_is_asked_for_every_second_is_not_tried_every_second(moves: Moves) -> None:
    await moves.order([Order("1.2.3", "", "online", "retrieval")])
    move = cast(Move, await moves.take([], 60))
    await moves.put_off(move, 1000, "the store is away")
    await moves.order([Order("1.2.3", "", "online", "retrieval")])
    assert await moves.take([], 60) is None


async def test_a_study_that_somebody_wants_back_is_not_let_go_next(moves: Moves) -> None:
    by_policy = Order("1.2.3", "online", "nas", "Old CT")
    by_hand = Order("1.2.4", "online", "nas", "asked for", asked_by="somebody")
    await moves.order([by_policy, by_hand])
    await moves.order([Order(study, "", "online", "retrieval") for study in ("1.2.3", "1.2.4")])
    [cancelled] = await moves.listed(["cancelled"], before=None, most=10)
    assert (cancelled.study_instance_uid, cancelled.problem) == ("1.2.3", "recalled")
    assert await moves.counts() == {"cancelled": 1, "waiting": 3}
