"""Expensive work lasts as long as somebody waits for it, and fails as it would by itself."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from protocols.errors import Unavailable
from web.http.request import NotFound, Request


def request(gone: trio.Event) -> Request:
    scope: Any = {"path": "/", "scheme": "http", "headers": [], "query_string": b""}

    async def nothing() -> Any:
        return
        yield b""

    return Request(scope, nothing, gone.wait)


async def test_work_is_done_for_who_waits() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert await request(trio.Event()).while_there(work) == 7


async def test_work_ends_when_the_client_leaves() -> None:
    gone, cancelled = trio.Event(), []

    async def work() -> None:
        gone.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(True)
            raise

    with pytest.raises(Unavailable, match="left"):
        await request(gone).while_there(work)
    assert cancelled


async def test_a_refusal_comes_out_as_itself_and_in_no_group() -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise NotFound

    with pytest.raises(NotFound):
        await request(trio.Event()).while_there(work)


async def test_who_is_cancelled_from_outside_is_cancelled() -> None:
    with trio.move_on_after(0) as scope:
        await request(trio.Event()).while_there(trio.sleep_forever)
    assert scope.cancelled_caught
