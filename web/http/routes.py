"""Routes, declared once: what is served where, to whom, and what it takes and gives.

The dispatchers, the OpenAPI document and the test of rights (every route, every role) are all made from these declarations:
a route that does not say who may use it cannot be declared.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

from msgspec import Struct, field

from pacs_actors.people.rights import Action
from web.http.answer import Answer
from web.http.request import Request

Handler = Callable[[Request], Awaitable[Answer]]


class Access(Enum):
    """Who may use a route that asks for no action."""

    PUBLIC = "anyone"
    SIGNED_IN = "anyone who has logged in"
    IN_PERSON = "anyone who has logged in, but no API token"


class Parameter(Struct, frozen=True):
    """A query parameter. schema: what it may be, as JSON Schema; repeated: it may come several times"""

    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    example: str | int | None = None
    repeated: bool = False


class Route(Struct, frozen=True, kw_only=True):
    """One method on one path.

    path:     a template, ``/api/v1/users/{user_id}``; a value is one segment, never empty
    access:   the action that the caller needs, or who else may use it
    handler:  raises PacsError for what it refuses
    summary:  one line for the API's description
    body:     shape of the JSON body; none: no body, or one of another kind
    answer:   shape of the JSON answer
    media:    media types of an answer that has no shape, and of other forms of one that has
    query:    name -> description of query parameters
    objects:  the path names a study or something in it, so the study's scope counts as well
    """

    method: str
    path: str
    access: Action | Access
    handler: Handler
    summary: str
    body: Any = None
    answer: Any = None
    status: int = 200
    media: tuple[str, ...] = ()
    query: Mapping[str, str | Parameter] = {}
    objects: bool = False
    tag: str = ""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """``query``, each told in full."""
        return {
            name: told if isinstance(told, Parameter) else Parameter(told)
            for name, told in self.query.items()
        }

    def __post_init__(self) -> None:
        if not isinstance(self.access, Action | Access):
            raise TypeError(f"{self.method} {self.path} does not say who may use it")


class Found(Struct, frozen=True):
    """A route for a path, and the values of its template; without a route, the methods that the path has."""

    route: Route | None
    values: dict[str, str]
    methods: tuple[str, ...]


class RouteTable:
    """Finds the route of a request in one step a path segment."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes: Final = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node, names = self._root, []
        for segment in route.path.strip("/").split("/"):
            if match := _TEMPLATE.fullmatch(segment):
                names.append(match[1])
                if node.any_value is None:
                    node.any_value = _Node()
                node = node.any_value
            else:
                node = node.fixed.setdefault(segment, _Node())
        if route.method in node.routes:
            raise ValueError(f"{route.method} {route.path} is declared twice")
        node.routes[route.method] = (route, tuple(names))

    def find(self, method: str, path: str) -> Found | None:
        """None if no route has this path. HEAD is served by GET."""
        found = self._walk(self._root, path.strip("/").split("/"), 0, ())
        if found is None:
            return None
        node, values = found
        methods = tuple(node.routes)
        entry = node.routes.get(method) or (node.routes.get("GET") if method == "HEAD" else None)
        if entry is None:
            return Found(None, {}, methods)
        route, names = entry
        return Found(route, dict(zip(names, values, strict=True)), methods)

    def _walk(
        self, node: _Node, segments: list[str], at: int, values: tuple[str, ...]
    ) -> tuple[_Node, tuple[str, ...]] | None:
        """Fixed segments win over values."""
        if at == len(segments):
            return (node, values) if node.routes else None
        fixed = node.fixed.get(segments[at])
        if fixed is not None and (found := self._walk(fixed, segments, at + 1, values)):
            return found
        if node.any_value is not None and segments[at]:
            return self._walk(node.any_value, segments, at + 1, (*values, segments[at]))
        return None


_TEMPLATE: Final = re.compile(r"\{([a-z_]+)\}")


class _Node:
    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.any_value: _Node | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}
