"""Pages of the API's lists: cursors, limits, sort orders, and the same list as CSV."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
import trio
from msgspec import Struct, structs

from web.http.answer import Answer
from web.http.request import BadRequest, Request
from web.http.routes import Parameter

DEFAULT_ROWS: Final = 50
MOST_ROWS: Final = 500
MOST_TABLE_ROWS: Final = 100_000
_TABLE_BLOCK: Final = 2000
_MAX_CURSOR: Final = 4096
_HIGHEST: Final = 2**63
_BOM: Final = b"\xef\xbb\xbf"
# A cell that begins like this is a formula to a spreadsheet.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

PAGE_QUERY: Final[Mapping[str, Parameter]] = {
    "limit": Parameter(
        f"Rows of a page, 1 to {MOST_ROWS}; {DEFAULT_ROWS} if not said",
        {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
        10,
    ),
    "cursor": Parameter("`next` of the page before", {"type": "string", "maxLength": _MAX_CURSOR}),
    "sort": Parameter("Column to sort by; with - before it, descending"),
    "format": Parameter(
        "csv for a table to download instead of JSON, of the whole list up to "
        f"{MOST_TABLE_ROWS} rows whatever ``limit`` says; so does Accept: text/csv",
        {"type": "string", "enum": ["json", "csv"]},
    ),
}


def page_query(columns: Iterable[str], *, without: Iterable[str] = ()) -> Mapping[str, Parameter]:
    """The parameters of a list that can be sorted by these columns."""
    ways = [way for column in columns for way in (column, f"-{column}")]
    sort = Parameter(PAGE_QUERY["sort"].description, {"type": "string", "enum": ways})
    asked = {**PAGE_QUERY, "sort": sort}
    return {name: parameter for name, parameter in asked.items() if name not in without}


def limit_of(request: Request) -> int:
    """raises: BadRequest"""
    text = request.parameter("limit") or str(DEFAULT_ROWS)
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= MOST_ROWS:
        raise BadRequest(f"limit is a number from 1 to {MOST_ROWS}.")
    return int(text)


def sort_of(request: Request, columns: Iterable[str], default: str) -> tuple[str, bool]:
    """(column, descending). raises: BadRequest"""
    asked = request.parameter("sort") or default
    column = asked.removeprefix("-")
    allowed = tuple(columns)
    if column not in allowed:
        raise BadRequest(f"sort is one of {', '.join(allowed)}, with - before it for descending.")
    return column, asked.startswith("-")


def cursor_text(after: Any) -> str | None:
    """The cursor as clients see it. It holds no more than the row that they have got."""
    if after is None:
        return None
    return base64.urlsafe_b64encode(msgspec.json.encode(after)).decode().rstrip("=")


def cursor_of(request: Request, kind: Any) -> Any:
    """The cursor of the request as ``kind``; None without one. raises: BadRequest"""
    text = request.parameter("cursor")
    if not text:
        return None
    try:
        if len(text) > _MAX_CURSOR:
            raise ValueError
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise BadRequest("The cursor is none of ours.") from None


def place_of(request: Request, kind: str) -> tuple[Any, int] | None:
    """Where the page begins in a list that goes on behind a sort value and a row's number; None: at its beginning.

    kind:   type of the sort value in PostgreSQL
    raises: BadRequest; the cursor may be forged
    """
    after: tuple[str | int | None, int] | None = cursor_of(request, tuple[str | int | None, int])
    if after is None:
        return None
    if not abs(after[1]) < _HIGHEST:
        raise BadRequest("The cursor is none of ours.")
    return _sort_value(after[0], kind), after[1]


def _sort_value(value: str | int | None, kind: str) -> Any:
    """A cursor's sort value as PostgreSQL wants it. raises: BadRequest"""
    try:
        match kind, value:
            case "timestamptz", str():
                return datetime.fromisoformat(value).astimezone(UTC)
            case "integer" | "bigint", int() if abs(value) < 2**31:
                return value
            case "bigint", int() if abs(value) < _HIGHEST:
                return value
            case "text", str():
                return value
    except (ValueError, OverflowError):
        pass
    raise BadRequest("The cursor is none of ours.")


def wants_csv(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return request.parameter("format") == "csv" or accepted.partition(",")[0].strip().startswith("text/csv")


def csv_answer(name: str, rows: Sequence[Any], *headers: tuple[str, str]) -> Answer:
    """The rows (Structs of one kind) as a table, as an attachment. No cell is a formula."""
    head = csv_head(rows[0].__struct_fields__) if rows else _BOM
    return Answer(200, (*_csv_headers(name), *headers), head + csv_lines(rows))


async def csv_of_pages(
    name: str, kind: type[Struct], pages: AsyncGenerator[Sequence[Struct], None]
) -> Answer:
    """A table of however many rows, sent page by page; as ``csv_answer``.

    kind:   of the rows
    raises: what the first page raises; where a later one fails the answer breaks off
    """
    try:
        first = await anext(pages)
    except StopAsyncIteration:
        first = ()

    async def body() -> AsyncGenerator[bytes, None]:
        async with aclosing(pages):
            yield csv_head(kind.__struct_fields__) + await trio.to_thread.run_sync(csv_lines, first)
            async for page in pages:
                yield await trio.to_thread.run_sync(csv_lines, page)

    return Answer(200, _csv_headers(name), body())


class Paged(Protocol):
    """A page of a list: its rows, and what the next one begins behind; None: this is the last one."""

    @property
    def rows(self) -> Sequence[Struct]: ...
    @property
    def after(self) -> Any: ...
    @property
    def total(self) -> int: ...
    @property
    def total_exact(self) -> bool: ...


async def csv_of_list(
    name: str,
    kind: type[Struct],
    read: Callable[[Any], Awaitable[Paged]],
    asked: Any,
    counted: Callable[[int], Awaitable[None]],
) -> Answer:
    """All of a list, up to ``MOST_TABLE_ROWS`` rows; what is cut off is told by the name of the file.

    read:     a page of what is ``asked`` for, which has a limit, a place to begin behind, and how far to count
    counted:  is told how many rows there are, before the first is sent
    raises:   what the first page raises
    """
    limits = {"limit": _TABLE_BLOCK, "counted_up_to": MOST_TABLE_ROWS}
    first = await read(structs.replace(asked, **limits))
    await counted(first.total)

    async def pages() -> AsyncGenerator[Sequence[Struct], None]:
        page, left = first, MOST_TABLE_ROWS
        while True:
            yield page.rows[:left]
            left -= len(page.rows)
            if page.after is None or left <= 0:
                return
            page = await read(structs.replace(asked, limit=_TABLE_BLOCK, counted_up_to=0, after=page.after))

    return await csv_of_pages(name if first.total_exact else f"{name}-first-{MOST_TABLE_ROWS}", kind, pages())


def csv_head(fields: Iterable[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(fields)
    return _BOM + out.getvalue().encode()


def csv_lines(rows: Sequence[Any]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow(_cell(value) for value in msgspec.to_builtins(row).values())
    return out.getvalue().encode("utf-8", "replace")


def _csv_headers(name: str) -> tuple[tuple[str, str], ...]:
    return (
        ("content-type", "text/csv; charset=utf-8"),
        ("content-disposition", f'attachment; filename="{name}.csv"'),
    )


def _cell(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    text = text.replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA) else text
