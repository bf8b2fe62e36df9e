"""A request as handlers see it, bare ASGI and Quart alike: everything bounded before it is looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
import trio
from hypercorn.typing import HTTPScope

from pacs_actors.people.rights import Principal
from protocols.errors import Refusal, Unavailable
from protocols.messages.audit import Actor

MAX_QUERY_BYTES = 16384
MAX_PARAMETERS = 256
MAX_JSON_BYTES = 1024 * 1024
ROOT = "pacs.root"
"""Where the scope has the public root, which ``WebApp`` has found out."""
T = TypeVar("T")


class BadRequest(Refusal):
    """400 (or another 4xx): what the caller sent cannot be served."""

    def __init__(self, what: str, status: int = 400) -> None:
        super().__init__(what, dimse_status=0xC000, http_status=status)


class NotFound(Refusal):
    """404: it is not there, or not for the caller; the two look the same."""

    def __init__(self, what: str = "There is nothing here by that name.") -> None:
        super().__init__(what, dimse_status=0x0112, http_status=404)


class Forbidden(Refusal):
    """403: the caller is known and lacks the right."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0x0124, http_status=403)


class Unauthorised(Refusal):
    """401: nobody has shown who they are."""

    def __init__(self, what: str = "Log in first.") -> None:
        super().__init__(what, dimse_status=0x0124, http_status=401)


class Request:
    """One HTTP request.

    path:       decoded, without the query
    query:      (name, value) pairs in their order, percent-decoded UTF-8
    values:     what the route's template found in the path
    address:    the client's, behind trusted proxies the one they name
    root:       public root of this server without a trailing slash, such as ``https://pacs.example:8443``
    principal:  who asks; None on a public route for a stranger
    chunks:     makes the body's iterator; may be used once
    gone:       returns when the client has left; the body must have been read, or be none
    """

    def __init__(
        self,
        scope: HTTPScope,
        chunks: Callable[[], AsyncIterator[bytes]],
        gone: Callable[[], Awaitable[None]] = trio.sleep_forever,
    ) -> None:
        self.scope = scope
        self.method: str = scope.get("method", "GET")  # a websocket's has none
        self.path: str = scope["path"]
        self.headers: Mapping[str, str] = _headers(scope["headers"])
        self.query: Sequence[tuple[str, str]] = _query(scope["query_string"])
        self.values: dict[str, str] = {}
        client = scope.get("client")
        self.address: str = client[0] if client else ""
        self.root = str(scope.get(ROOT) or f"{scope['scheme']}://{self.headers.get('host', '')}")
        self.principal: Principal | None = None
        self._chunks, self._gone = chunks, gone

    @property
    def who(self) -> Principal:
        """Whoever asks, on a route that is not public. raises: Unauthorised"""
        if self.principal is None:
            raise Unauthorised
        return self.principal

    @property
    def actor(self) -> Actor:
        """Whoever asks, for the audit. raises: Unauthorised"""
        return Actor(self.who.name, self.who.via.value, self.address)

    def parameter(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return next((value for key, value in self.query if key == name), default)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; back-pressure reaches the client. raises: BadRequest if it breaks off"""
        return self._chunks()

    async def while_there(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do some expensive work as long as the client waits for it. raises: Unavailable when it has left"""
        done: list[T] = []
        failed: list[Exception] = []
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await self._gone()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                done.append(await work())
            except Exception as failure:
                failed.append(failure)  # raised outside: a nursery would wrap it in a group
            nursery.cancel_scope.cancel()
        if failed:
            raise failed[0]
        if not done:
            raise Unavailable("the client has left")
        return done[0]

    async def body(self, limit_bytes: int = MAX_JSON_BYTES) -> bytes:
        """The whole body. raises: BadRequest (413) if it is larger"""
        parts = bytearray()
        async for chunk in self.chunks():
            parts += chunk
            if len(parts) > limit_bytes:
                raise BadRequest(f"The body is larger than {limit_bytes} bytes.", 413)
        return bytes(parts)

    async def json(self, kind: type[T]) -> T:
        """The body as JSON of this shape. raises: BadRequest naming the field that does not fit"""
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise BadRequest("Send JSON, with Content-Type: application/json.", 415)
        try:
            return msgspec.json.decode(await self.body(), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"The body does not fit: {error}") from None


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in lower case; a repeated header's values joined by a comma (RFC 9110 section 5.3), cookies by a semicolon."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in headers:
            value = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
        headers[name] = value
    return headers


def _query(raw: bytes) -> list[tuple[str, str]]:
    if len(raw) > MAX_QUERY_BYTES:
        raise BadRequest("The query is too long.", 414)
    try:
        return parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict"
        )
    except (ValueError, UnicodeDecodeError):
        raise BadRequest("The query is malformed.") from None
