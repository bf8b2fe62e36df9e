"""Pages of the API's lists: cursors, limits, sort orders, and the same list as CSV."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from web.http.answer import Answer
from web.http.request import BadRequest, Request
from web.http.routes import Parameter

DEFAULT_ROWS: Final = 50
MOST_ROWS: Final = 500
_MAX_CURSOR: Final = 4096
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
        "csv for a table to download instead of JSON; so does Accept: text/csv",
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


def wants_csv(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return request.parameter("format") == "csv" or accepted.partition(",")[0].strip().startswith("text/csv")


def csv_answer(name: str, rows: Sequence[Any], *headers: tuple[str, str]) -> Answer:
    """The rows (Structs of one kind) as a table, as an attachment. No cell is a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    if rows:
        writer.writerow(rows[0].__struct_fields__)
    for row in rows:
        writer.writerow(_cell(value) for value in msgspec.to_builtins(row).values())
    return Answer(
        200,
        (
            ("content-type", "text/csv; charset=utf-8"),
            ("content-disposition", f'attachment; filename="{name}.csv"'),
            *headers,
        ),
        b"\xef\xbb\xbf" + out.getvalue().encode("utf-8", "replace"),
    )


def _cell(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    text = text.replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA) else text
