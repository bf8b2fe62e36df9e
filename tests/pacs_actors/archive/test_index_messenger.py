"""Nodes ask each other whether they have indexed what they answered; who does not answer is not waited for again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from config.settings import DatabaseSettings
from pacs_actors.archive import index_messenger
from pacs_actors.archive.index_messenger import IndexMessenger
from pacs_actors.archive.progress import IndexProgress, wait_until_indexed
from pacs_actors.database import Database
from pacs_actors.node_page import NodePage
from pacs_actors.nodes import Nodes

SETTINGS = DatabaseSettings(connections=2)
ASKED_FOR_S = index_messenger.ANSWER_WITHIN_S


class Node:
    """A node's first worker, as far as its index goes."""

    def __init__(self, dsn: str, database: Database, number: int) -> None:
        page = NodePage.create(1)
        page.slot = 0
        page.set_recovered()
        self.page, self.progress = page, IndexProgress(page, lambda: 1)
        self.messenger = IndexMessenger(dsn, SETTINGS, database, self.progress, number, 0)
        self.progress.others = self.messenger


@asynccontextmanager
async def nodes(dsn: str, database: Database, count: int) -> AsyncIterator[list[Node]]:
    """That know each other."""
    made = [Node(dsn, database, number) for number in range(count)]
    for number in range(count):
        await Nodes(database).claim(number, f"folder {number}")
    async with trio.open_nursery() as nursery:
        for one in made:
            await nursery.start(one.messenger.run)
        with trio.fail_after(30):
            for one in made:
                while (asked := one.messenger.ask()) is None or len(asked.of) < count - 1:
                    await trio.sleep(0.005)
                await one.messenger.answered(asked)  # nothing is on its way any more
                while one.messenger.silent:  # on a busy machine
                    await trio.sleep(0.005)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(index_messenger, "ANSWER_WITHIN_S", 30.0)  # a busy machine may answer late
            yield made
        nursery.cancel_scope.cancel()


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, SETTINGS) as database:
        yield database


async def test_a_query_waits_for_what_another_node_has_answered_and_not_for_what_comes_later(
    dsn: str, database: Database
) -> None:
    async with nodes(dsn, database, 3) as (asker, busy, idle):
        busy.page.count_answered(2)
        idle.page.count_answered()
        idle.page.count_indexed(1)
        found = trio.Event()

        async def ask() -> None:
            assert await wait_until_indexed(asker.progress, within_s=10)
            found.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with trio.fail_after(30):
                await busy.progress.hurry.wait()  # it was asked
            assert not found.is_set()
            busy.page.count_answered()
            busy.page.count_indexed(2)
            with trio.fail_after(30):
                await found.wait()
        assert not asker.messenger.silent


async def test_an_answer_to_a_process_that_had_our_number_before_us_is_none_to_us(
    dsn: str, database: Database
) -> None:
    async with nodes(dsn, database, 2) as (asker, busy):
        busy.page.count_answered()
        asked = asker.messenger.ask()
        assert asked is not None
        with trio.fail_after(30):
            await busy.progress.hurry.wait()
        for number in range(1000):
            asker.messenger.hear(f"!0.0.{number}.1")
        assert not asked.done.is_set()
        busy.page.count_indexed(1)
        with trio.fail_after(30):
            await asked.done.wait()


async def test_queries_that_come_together_ask_together(dsn: str, database: Database) -> None:
    async with nodes(dsn, database, 2) as (asker, _):
        asker.messenger.asked = 0
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(lambda: wait_until_indexed(asker.progress, within_s=10))
        assert 1 <= asker.messenger.asked <= 50


async def test_a_node_that_does_not_answer_is_waited_for_once_until_it_answers_again(
    dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(dsn, database, 2) as (asker, busy):
        monkeypatch.setattr(index_messenger, "ANSWER_WITHIN_S", ASKED_FOR_S)
        busy.page.count_answered()
        assert await wait_until_indexed(asker.progress, within_s=10), "it is answered from what there is"
        assert asker.messenger.silent == {1}
        assert asker.messenger.ask() is None, "nobody is left to wait for"
        busy.page.count_indexed(1)
        with trio.fail_after(30):
            while asker.messenger.silent:
                await trio.sleep(0.01)
        assert asker.messenger.ask() is not None


@pytest.mark.parametrize(
    "word",
    ["", "?", "?1", "?1.0.", "?111.0.1", "?1.0.1.1.1", "!0.0.1", "!0.5.1.1", "!9.0.1.1", "!0.0.99999.1", "+", "x1", "?0.0.1",
     "?1.0.1; DROP TABLE instances", "+١", "!" * 8000],
)  # fmt: skip
def test_what_is_no_word_for_us_changes_nothing(word: str) -> None:
    page = NodePage.create(1)
    messenger = IndexMessenger(
        "", SETTINGS, Database("", SETTINGS), IndexProgress(page, lambda: 1), node=0, worker=0
    )
    messenger.hear(word)
    assert not messenger.others and not messenger._questions and not messenger.silent


def test_questions_are_bounded() -> None:
    messenger = IndexMessenger(
        "", SETTINGS, Database("", SETTINGS), IndexProgress(NodePage.create(1), lambda: 1), node=0, worker=0
    )
    for number in range(20_000):
        messenger.hear(f"?1.0.{number}")
    assert len(messenger._questions) == 10_000
