"""The table of routes: fixed segments win, values are one segment each, HEAD is GET."""

from __future__ import annotations

import pytest

from web.http.answer import Answer
from web.http.request import Request
from web.http.routes import Access, Route, RouteTable


async def _nothing(_: Request) -> Answer:
    return Answer()


def _route(method: str, path: str) -> Route:
    return Route(method=method, path=path, access=Access.PUBLIC, handler=_nothing, summary="")


TABLE = RouteTable(
    [
        _route("GET", "/dicom-web/studies"),
        _route("POST", "/dicom-web/studies"),
        _route("GET", "/dicom-web/studies/{study}"),
        _route("GET", "/dicom-web/studies/{study}/series"),
        _route("GET", "/dicom-web/studies/recent/{day}"),
        _route("GET", "/dicom-web/studies/{study}/series/{series}/metadata"),
    ]
)


def test_values_of_the_path_are_named() -> None:
    found = TABLE.find("GET", "/dicom-web/studies/1.2/series/1.2.3/metadata")
    assert found is not None and found.route is not None
    assert found.values == {"study": "1.2", "series": "1.2.3"}


def test_a_fixed_segment_wins_and_gives_way_when_it_leads_nowhere() -> None:
    found = TABLE.find("GET", "/dicom-web/studies/recent/today")
    assert found is not None and found.values == {"day": "today"}
    found = TABLE.find("GET", "/dicom-web/studies/recent/series")
    assert found is not None and found.values == {"day": "series"}
    found = TABLE.find("GET", "/dicom-web/studies/recent/series/1/metadata")
    assert found is not None and found.values == {"study": "recent", "series": "1"}


def test_head_is_served_by_get_and_other_methods_are_named() -> None:
    found = TABLE.find("HEAD", "/dicom-web/studies")
    assert found is not None and found.route is not None and found.route.method == "GET"
    found = TABLE.find("PUT", "/dicom-web/studies")
    assert found is not None and found.route is None and set(found.methods) == {"GET", "POST"}


@pytest.mark.parametrize(
    "path", ["/", "/dicom-web", "/dicom-web//studies", "/dicom-web/studies/1/series/", "/x" * 5000]
)
def test_what_is_not_there_is_not_found(path: str) -> None:
    found = TABLE.find("GET", path)
    assert found is None or (
        found.route is not None and found.route.path == "/dicom-web/studies/{study}/series"
    )


def test_one_method_of_one_path_is_declared_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        RouteTable([_route("GET", "/a/{x}"), _route("GET", "/a/{y}")])
