"""Cursors that clients may have forged, limits, and tables that no spreadsheet takes for formulas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Struct

from web.api.paging import csv_answer, cursor_of, cursor_text, limit_of, sort_of
from web.http.request import BadRequest, Request


def request(query: str) -> Request:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    scope: Any = {
        "type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": [], "scheme": "http",
        "client": ("127.0.0.1", 1),
    }  # fmt: skip
    return Request(scope, nothing)


@pytest.mark.parametrize("after", [("Müller", 7), (None, 2**40), (12, 1)])
def test_a_cursor_comes_back_as_it_went(after: tuple[Any, int]) -> None:
    text = cursor_text(after)
    assert text is not None and cursor_of(request(f"cursor={text}"), tuple[str | int | None, int]) == after


@pytest.mark.parametrize(
    "text", ["x", "%00", "WzFd", "bnVsbA", "A" * 5000, "W1tbW1tbW1tbW1tb", "-_-_", "WyJhIiwiYiJd"]
)
def test_a_forged_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        cursor_of(request(f"cursor={text}"), tuple[str | int | None, int])


@pytest.mark.parametrize("limit", ["0", "501", "-1", "1e3", "abc", "٣", "9" * 50])
def test_limits_are_bounded(limit: str) -> None:
    with pytest.raises(BadRequest):
        limit_of(request(f"limit={limit}"))


def test_only_declared_columns_sort() -> None:
    assert sort_of(request("sort=-b"), ("a", "b"), "a") == ("b", True)
    assert sort_of(request(""), ("a", "b"), "a") == ("a", False)
    with pytest.raises(BadRequest):
        sort_of(request("sort=id;DROP"), ("a", "b"), "a")


class Row(Struct):
    name: str
    modalities: list[str]
    count: int | None


def test_a_cell_is_never_a_formula() -> None:
    answer = csv_answer(
        "t", [Row('=HYPERLINK("x")', ["CT", "MR"], None), Row('a,b\n"c"', [], -3), Row("@x\0", [], 1)]
    )
    assert isinstance(answer.body, bytes)
    lines = answer.body.decode("utf-8-sig").splitlines()
    assert lines[0] == "name,modalities,count"
    assert lines[1] == '"\'=HYPERLINK(""x"")",CT MR,'
    assert lines[-1] == "'@x,,1"
