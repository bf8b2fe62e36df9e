"""A web client for tests: one connection a request, headers as they are sent."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from tests.system.server import Server

DICOM_JSON = "application/dicom+json"


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    raw: bytes

    @property
    def body(self) -> bytes:
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    def json(self) -> Any:
        return json.loads(self.body)


def fetch(
    server: Server,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    token: str | None = None,
) -> Reply:
    """As the administrator, unless a token is given; "" for a stranger."""
    connection = http.client.HTTPConnection("127.0.0.1", server.web_port, timeout=30)
    bearer = server.token if token is None else token
    own = {"authorization": f"Bearer {bearer}"} if bearer else {}
    try:
        connection.request(method, path, headers={**own, **(headers or {})})
        reply = connection.getresponse()
        return Reply(reply.status, reply.headers, reply.read())
    finally:
        connection.close()


def search(server: Server, path: str, *pairs: tuple[str, str], **keys: str) -> list[dict[str, Any]]:
    """The results of a search that succeeds."""
    query = urlencode([*keys.items(), *pairs], quote_via=quote)
    reply = fetch(server, f"/dicom-web/{path}?{query}", {"accept": DICOM_JSON})
    assert reply.status == 200, (reply.status, reply.body)
    results: list[dict[str, Any]] = reply.json()
    return results


def value(result: Mapping[str, Any], tag: str) -> Any:
    """The only value of an attribute; None if it has none."""
    values = result[tag].get("Value", [None])
    assert len(values) == 1, values
    return values[0]
