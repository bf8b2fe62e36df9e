"""Lists that are short enough to be read whole: sorted by any column, cut into pages, or as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from web.api.paging import csv_answer, cursor_of, cursor_text, limit_of, sort_of, wants_csv
from web.http.answer import Answer, json_answer
from web.http.request import Request


def whole_list(
    request: Request, name: str, rows: Sequence[Struct], columns: Sequence[str], usual: str = ""
) -> Answer:
    """The page that is asked for.

    name:     of the table to download
    columns:  those that it can be sorted by, the usual one first, unless ``usual`` says which
    raises:   BadRequest
    """
    column, descending = sort_of(request, columns, usual or columns[0])
    ordered = sorted(rows, key=lambda row: _sortable(getattr(row, column)), reverse=descending)
    if wants_csv(request):
        return csv_answer(name, ordered)
    limit, begin = limit_of(request), cursor_of(request, int) or 0
    begin = min(max(begin, 0), len(ordered))
    more = begin + limit < len(ordered)
    return json_answer(
        {
            "items": msgspec.to_builtins(ordered[begin : begin + limit]),
            "next": cursor_text(begin + limit) if more else None,
            "total": len(ordered),
            "total_exact": True,
        }
    )


def _sortable(value: Any) -> tuple[bool, Any]:
    """Nothing comes first, text without regard to case, lists as text."""
    if value is None:
        return False, ""
    if isinstance(value, str):
        return True, value.casefold()
    return True, " ".join(map(str, value)).casefold() if isinstance(value, (tuple, list)) else value
