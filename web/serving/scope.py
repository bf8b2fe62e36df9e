"""ASGI's scope of a request."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from web.serving.wire import Wire


def scope_of(
    wire: Wire, version: str, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    """raises: UnicodeDecodeError unless method and target are ASCII"""
    path, _, query = target.partition(b"?")
    text = path.decode("ascii")
    return {
        "type": "http",
        "http_version": version,
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": method.decode("ascii"),
        "scheme": wire.scheme,
        "path": unquote(text) if "%" in text else text,
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": wire.client,
        "server": wire.server,
        "state": {},
        "extensions": {},
    }
