"""Which worker takes a storage commitment request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from config.settings import DatabaseSettings
from pacs_actors.archive.commitment_book import HEAD_START_S, CommitmentBook
from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.database import Database
from pacs_actors.dicom import commitment_agent
from protocols.dimse.commitment import CommitmentRequest, Reference

LEASE_S = 60.0
REQUEST = CommitmentRequest("1.2.3", (Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"),))


@pytest.fixture
async def book(dsn: str) -> AsyncIterator[CommitmentBook]:
    async with Database(dsn, DatabaseSettings(connections=1)) as database:
        yield CommitmentBook(database)


async def taken(book: CommitmentBook, *asked_here: int) -> list[int]:
    return [one.number for one in await book.take_due(8, asked_here, lease_s=LEASE_S)]


async def pass_s(book: CommitmentBook, seconds: float) -> None:
    async def unit(connection: asyncpg.Connection) -> None:
        await connection.execute(
            "UPDATE commitment_requests SET next_attempt_at = next_attempt_at - make_interval(secs => $1)",
            seconds,
        )

    await book.database.run(unit)


async def test_the_worker_with_the_association_comes_first_for_it_alone_can_report_there(
    book: CommitmentBook,
) -> None:
    number = await book.write("CLIENT", REQUEST, EVERYTHING)
    assert await taken(book) == []
    assert await taken(book, number) == [number]
    assert await taken(book, number) == [], "while it is at it"


async def test_any_worker_takes_what_that_worker_does_not(book: CommitmentBook) -> None:
    number = await book.write("CLIENT", REQUEST, EVERYTHING)
    await pass_s(book, HEAD_START_S)
    assert await taken(book) == [number]
    assert await taken(book, number) == []
    await pass_s(book, LEASE_S)
    assert await taken(book, number) == [number]


async def test_what_is_put_off_waits_as_long_as_it_is_to_and_then_in_the_same_order(
    book: CommitmentBook,
) -> None:
    number = await book.write("CLIENT", REQUEST, EVERYTHING)
    assert await taken(book, number) == [number]
    await book.put_off(number, 10.0, given_up=False)
    assert await taken(book, number) == []
    await pass_s(book, 10.0)
    assert await taken(book) == []
    assert await taken(book, number) == [number]


async def test_a_transaction_that_is_asked_for_again_is_due_as_if_it_were_new(book: CommitmentBook) -> None:
    number = await book.write("CLIENT", REQUEST, EVERYTHING)
    assert await taken(book, number) == [number]
    assert await book.write("CLIENT", REQUEST, EVERYTHING) == number
    assert await taken(book) == []
    assert await taken(book, number) == [number]


def test_an_agent_looks_at_least_once_within_its_head_start() -> None:
    assert commitment_agent._LOOK_EVERY_S < HEAD_START_S
