"""Cursors that clients may have forged, limits, and tables that no spreadsheet takes for formulas."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from msgspec import Struct

from protocols.errors import Unavailable
from web.api import paging
from web.api.paging import csv_answer, csv_of_pages, cursor_of, cursor_text, limit_of, place_of, sort_of
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


@pytest.mark.parametrize(
    ("value", "kind"),
    [("now", "timestamptz"), ("0001-01-01T00:00:00+14:00", "timestamptz"), (7, "timestamptz"), ("7", "bigint"), (2**31, "integer"),
     (2**63, "bigint"), (None, "text"), (1, "text")],
)  # fmt: skip
def test_a_place_of_another_kind_is_refused(value: object, kind: str) -> None:
    with pytest.raises(BadRequest):
        place_of(request(f"cursor={cursor_text((value, 1))}"), kind)


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**30])
def test_a_place_behind_no_row_that_can_be_is_refused(number: int) -> None:
    with pytest.raises(BadRequest):
        place_of(request(f"cursor={cursor_text(('x', number))}"), "text")


async def test_a_table_of_many_pages_is_sent_page_by_page_and_asked_for_no_sooner() -> None:
    asked = []

    async def pages() -> AsyncGenerator[list[One], None]:
        try:
            for number in range(3):
                asked.append(number)
                yield [One(f"={number}"), One("x")]
        finally:
            asked.append(-1)

    body = (await csv_of_pages("rows", One, pages())).body
    assert isinstance(body, AsyncGenerator) and asked == [0]
    assert await anext(body) == b"\xef\xbb\xbfname\r\n'=0\r\nx\r\n"
    assert (await anext(body), asked) == (b"'=1\r\nx\r\n", [0, 1])
    await body.aclose()
    assert asked == [0, 1, -1], "whoever leaves ends the search as well"


async def test_a_table_that_fails_at_once_is_no_table() -> None:
    async def pages() -> AsyncGenerator[list[One], None]:
        raise Unavailable("away")
        yield []

    with pytest.raises(Unavailable):
        await csv_of_pages("rows", One, pages())


async def test_an_empty_table_has_its_head() -> None:
    async def pages() -> AsyncGenerator[list[One], None]:
        return
        yield []

    body = (await csv_of_pages("rows", One, pages())).body
    assert not isinstance(body, bytes)
    assert [piece async for piece in body] == [b"\xef\xbb\xbfname\r\n"]


class One(Struct, frozen=True):
    name: str


class Wanted(Struct, frozen=True):
    limit: int = 50
    after: int | None = None
    counted_up_to: int = 10


class Found(Struct, frozen=True):
    rows: list[One]
    after: int | None
    total: int
    total_exact: bool


class Listed:
    """A list of so many rows. asked: what was asked of it; told: how many rows were said to come"""

    def __init__(self, rows: int) -> None:
        self.rows, self.asked, self.told = rows, list[Wanted](), list[int]()

    async def page(self, wanted: Wanted) -> Found:
        self.asked.append(wanted)
        begin = wanted.after or 0
        end = min(self.rows, begin + wanted.limit)
        most = wanted.counted_up_to
        found = [One(str(number)) for number in range(begin, end)]
        return Found(found, end if end < self.rows else None, min(self.rows, most), self.rows <= most)

    async def tell(self, rows: int) -> None:
        self.told.append(rows)

    async def table(self) -> tuple[str, list[str]]:
        """Name of the file, and its lines."""
        answer = await paging.csv_of_list("rows", One, self.page, Wanted(limit=3), self.tell)
        assert not isinstance(answer.body, bytes)
        text = b"".join([piece async for piece in answer.body]).decode("utf-8-sig")
        name = dict(answer.headers)["content-disposition"].partition('filename="')[2].rstrip('"')
        return name, text.split()[1:]


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 9])
async def test_a_list_as_a_table_is_all_of_it(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "_TABLE_BLOCK", 4)
    listed = Listed(rows)
    assert await listed.table() == ("rows.csv", [str(number) for number in range(rows)])
    assert listed.told == [rows]
    assert {one.limit for one in listed.asked} == {4}, "whatever the page's limit is"
    assert all(one.counted_up_to == 0 for one in listed.asked[1:]), "it is counted once"


@pytest.mark.parametrize("most", [4, 6, 8])
async def test_a_table_that_would_be_too_long_is_cut_and_its_name_says_so(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "_TABLE_BLOCK", 4)
    monkeypatch.setattr(paging, "MOST_TABLE_ROWS", most)
    listed = Listed(9)
    assert await listed.table() == (f"rows-first-{most}.csv", [str(number) for number in range(most)])
    assert len(listed.asked) == -(-most // 4)
