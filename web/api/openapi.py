"""The API's description (OpenAPI 3.1), made from the declared routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Final

import msgspec

from pacs_actors.people.rights import Action
from web.http.routes import Access, Parameter, Route

_VALUE: Final = re.compile(r"\{([a-z_]+)\}")
_REF: Final = "#/components/schemas/{name}"
_UID: Final = {"type": "string", "pattern": "^[0-9.]{1,64}$", "maxLength": 64}
_NUMBER: Final = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
# What stands in the path by these names; of others nothing is known but that they are not empty.
_VALUES: Final[Mapping[str, Mapping[str, Any]]] = {
    "study": _UID,
    "series": _UID,
    "instance": _UID,
    "user_id": _NUMBER,
    "token_id": _NUMBER,
    "search_id": _NUMBER,
    "patient": _NUMBER,
    "ae_title": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,16}$"},
    "key": {"type": "string", "pattern": "^[a-z]+\\.[a-z_]+$"},
}
_PLAIN: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that says what to do"},
    },
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """An OpenAPI 3.1 document as plain data."""
    declared = [route for route in routes if route.path.startswith("/api/")]
    kinds = [kind for route in declared for kind in (route.body, route.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF) if kinds else ((), {})
    of_kind = dict(zip(map(_key, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in declared:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, of_kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pacs-actors",
            "version": metadata.version("pacs-actors"),
            "description": "What the panel uses, for everybody. DICOMweb is at /dicom-web.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "access_token of a login, or an API token",
                },
                "session": {"type": "apiKey", "in": "cookie", "name": "pacs_session"},
            },
            "responses": {
                "Problem": {
                    "description": "Refused; the body says why (RFC 9457)",
                    "content": {
                        "application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}
                    },
                }
            },
        },
    }


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(route: Route, of_kind: dict[str, Any]) -> dict[str, Any]:
    names = _VALUE.findall(route.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _VALUES.get(name, _PLAIN)} for name in names
    ]
    parameters += [_query_parameter(name, told) for name, told in route.parameters.items()]
    done: dict[str, Any] = {"description": "Done"}
    content: dict[str, Any] = {media: {} for media in route.media}
    if "format" in route.query:
        content["text/csv"] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": of_kind[_key(route.answer)]}
    if content:
        done["content"] = content
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.tag or route.path.split("/")[3]],
        "responses": {str(route.status): done, "4XX": {"$ref": "#/components/responses/Problem"}},
    }
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": of_kind[_key(route.body)]}},
        }  # fmt: skip
    if route.access is Access.PUBLIC:
        operation["security"] = []
    elif isinstance(route.access, Action):
        operation["description"] = f"Needs the permission `{route.access.value}`."
    return operation


def _query_parameter(name: str, given: Parameter) -> dict[str, Any]:
    schema = {"type": "array", "items": given.schema} if given.repeated else dict(given.schema)
    parameter = {"name": name, "in": "query", "description": given.description, "schema": schema}
    return parameter if given.example is None else {**parameter, "example": given.example}


def _operation_id(route: Route) -> str:
    words = [re.sub(r"[^a-z0-9]", "_", part) for part in route.path.removeprefix("/api/v1/").split("/")]
    return "_".join([route.method.lower(), *(word.strip("_") for word in words)])
