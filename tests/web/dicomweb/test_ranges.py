"""Range, If-Range and If-None-Match (RFC 9110 sections 13 and 14), and the pieces that a range leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.dicomweb.ranges import NotSatisfiable, asked_range, cut, is_known
from web.http.request import Request

ETAG = '"v1"'


def request(**headers: str) -> Request:
    def nothing() -> AsyncIterator[bytes]:
        raise AssertionError

    scope: dict[str, Any] = {
        "method": "GET", "path": "/", "query_string": b"", "scheme": "http", "client": None,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    return Request(scope, nothing)  # type: ignore[arg-type]


@given(st.integers(0, 120), st.integers(0, 120), st.integers(1, 100))
def test_a_range_is_what_the_standard_says(first: int, last: int, size: int) -> None:
    asked = request(range=f"bytes={first}-{last}")
    if last < first:
        assert asked_range(asked, size, ETAG) is None
    elif first >= size:
        with pytest.raises(NotSatisfiable) as refused:
            asked_range(asked, size, ETAG)
        assert refused.value.http_status == 416
    else:
        assert asked_range(asked, size, ETAG) == (first, min(last + 1, size))


def test_ends_may_be_open() -> None:
    assert asked_range(request(range="bytes=3-"), 10, ETAG) == (3, 10)
    assert asked_range(request(range="bytes=-3"), 10, ETAG) == (7, 10)
    assert asked_range(request(range="bytes=-30"), 10, ETAG) == (0, 10)
    for nothing in ("bytes=10-", "bytes=-0"):
        with pytest.raises(NotSatisfiable):
            asked_range(request(range=nothing), 10, ETAG)


@pytest.mark.parametrize(
    "text", ["", "bytes=", "bytes=-", "bytes=1-2,3-4", "items=1-2", "bytes=a-b", "bytes=" + "1" * 30 + "-"]
)
def test_what_is_no_single_range_is_ignored(text: str) -> None:
    assert asked_range(request(range=text), 10, ETAG) is None


def test_a_range_of_another_version_is_ignored() -> None:
    assert asked_range(request(range="bytes=0-1", if_range='"v0"'), 10, ETAG) is None
    assert asked_range(request(range="bytes=0-1", if_range=ETAG), 10, ETAG) == (0, 2)


def test_a_client_that_has_it_is_known() -> None:
    for known in (ETAG, f'"v0", {ETAG}', f"W/{ETAG}", "*"):
        assert is_known(request(if_none_match=known), ETAG)
    for other in ('"v0"', "", "v1"):
        assert not is_known(request(if_none_match=other), ETAG)


@given(st.lists(st.binary(max_size=9), max_size=6), st.integers(0, 40), st.integers(0, 40))
def test_pieces_are_cut_where_the_whole_would_be(pieces: list[bytes], begins: int, ends: int) -> None:
    part = cut(pieces, begins, ends)
    assert b"".join(piece for piece in part if isinstance(piece, bytes)) == b"".join(pieces)[begins:ends]
    assert all(part)
