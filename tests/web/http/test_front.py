"""What refuses an answer before the first piece of its body is there is the answer; later the body breaks off."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from protocols.errors import Unavailable
from tests.fakes.people import ADMINISTRATOR, FixedAuthenticator
from web.http.answer import Answer
from web.http.front import Front
from web.http.gate import Gate
from web.http.request import Request
from web.http.routes import Access, Route


class _Away(Unavailable):
    retry_after_s = 7


async def asked(body: AsyncGenerator[bytes, None], method: str = "GET") -> list[Any]:
    """What is sent."""

    async def handler(_: Request) -> Answer:
        return Answer(200, (("content-length", "6"),), body)

    route = Route(method="GET", path="/x", access=Access.PUBLIC, handler=handler, summary="a test")
    front = Front([route], Gate(FixedAuthenticator(ADMINISTRATOR)))
    scope: Any = {
        "type": "http", "method": method, "path": "/x", "scheme": "http", "headers": [], "query_string": b"", "extensions": {},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        await front(scope, receive, send)
    except* Unavailable:
        sent.append("broken off")
    return sent


async def of(*pieces: bytes | Exception) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


async def test_a_body_that_cannot_begin_is_refused_with_its_reason() -> None:
    start, body = await asked(of(_Away("not now")))
    assert start["status"] == 503 and (b"retry-after", b"7") in start["headers"]
    assert (b"content-length", b"6") not in start["headers"]
    assert b"not now" in body["body"] and not body["more_body"]


async def test_a_body_that_ends_before_its_end_is_broken_off() -> None:
    start, first, last = await asked(of(b"abc", _Away("not now")))
    assert (start["status"], first["body"], last) == (200, b"abc", "broken off")


@pytest.mark.parametrize("pieces", [(), (b"abc", b"def")])
async def test_a_body_is_sent_in_its_pieces(pieces: tuple[bytes, ...]) -> None:
    start, *parts = await asked(of(*pieces))
    assert start["status"] == 200
    assert [part["body"] for part in parts] == [*pieces, b""]
    assert [part["more_body"] for part in parts] == [True] * len(pieces) + [False]


async def test_who_asks_for_the_head_costs_no_body() -> None:
    start, end = await asked(of(_Away("never asked for")), method="HEAD")
    assert (start["status"], end["body"]) == (200, b"")
