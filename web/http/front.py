"""Serves routes as a bare ASGI application: for what is asked so often that Quart's share of a request would show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, Final, cast

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from pacs_actors.operations import logs
from protocols.errors import PacsError
from web.http.answer import FILES, Answer, FileBody, of_error, problem_answer
from web.http.gate import Gate
from web.http.loggable import loggable
from web.http.request import BadRequest, Request
from web.http.routes import Route, RouteTable

_BODY_SILENCE_S: Final = 30.0


class Front:
    """An ASGI application for a table of routes. A handler that crashes is logged and answered 500."""

    def __init__(self, routes: Iterable[Route], gate: Gate) -> None:
        self.table, self._gate = RouteTable(routes), gate

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        body = _Body(receive)
        answer = await self._answer(scope, body)
        head = scope["method"] == "HEAD"
        if _is_short(answer) and not _has_body(scope):
            await _send(scope, send, answer, head=head)  # it is over before it would be worth watching
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(body.watch, nursery.cancel_scope)
            try:
                await _send(scope, send, answer, head=head)
            finally:
                nursery.cancel_scope.cancel()

    async def _answer(self, scope: HTTPScope, body: _Body) -> Answer:
        try:
            request = Request(scope, body.chunks, body.gone)
            found = self.table.find(request.method, request.path)
            if found is None:
                return problem_answer(404)
            if found.route is None:
                return problem_answer(405, "", ("allow", ", ".join(found.methods)))
            request.values = found.values
            await self._gate.admit(request, found.route)
            return await found.route.handler(request)
        except PacsError as refusal:
            return of_error(refusal)
        except Exception as crash:
            logs.error("request_crashed", crash, method=scope["method"], path=loggable(scope["path"]))
            return problem_answer(500)


class _Body:
    """The request's body, and then the news that the client has left."""

    def __init__(self, receive: ASGIReceiveCallable) -> None:
        self._receive = receive
        self._more = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """raises: BadRequest when the client leaves in the middle, or is silent for too long (408)"""
        while self._more:
            with trio.move_on_after(_BODY_SILENCE_S) as patience:
                message: Any = await self._receive()
            if patience.cancelled_caught:
                raise BadRequest("The body did not come in time.", 408)
            if message["type"] != "http.request":
                self._more = False
                raise BadRequest("The client left before the body was complete.")
            self._more = message.get("more_body", False)
            if message.get("body"):
                yield bytes(message["body"])

    async def gone(self) -> None:
        """Returns when the client has left; what is left of the body is lost."""
        while True:
            message: Any = await self._receive()
            if message["type"] == "http.disconnect":
                return

    async def watch(self, exchange: trio.CancelScope) -> None:
        """Ends the exchange when the client leaves, so that nobody reads on for it."""
        await self.gone()
        exchange.cancel()


def _is_short(answer: Answer) -> bool:
    return isinstance(answer.body, bytes) or (isinstance(answer.body, FileBody) and answer.body.short)


def _has_body(scope: HTTPScope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _send(scope: HTTPScope, send: ASGISendCallable, answer: Answer, *, head: bool) -> None:
    """The answer, or what refuses it before the first piece of its body is there: then nothing has been said yet."""
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.length_bytes is not None and answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % answer.length_bytes))
    start: Any = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": headers,
        "trailers": False,
    }
    end: Any = {"type": "http.response.body", "body": b"", "more_body": False}
    body = answer.body
    if isinstance(body, bytes):
        await send(start)
        await send({"type": "http.response.body", "body": b"" if head else body, "more_body": False})
        return
    name, parts = "body", cast(Any, body)
    if isinstance(body, FileBody) and FILES in scope["extensions"]:
        name, parts = FILES, body.groups()
    async with aclosing(parts):
        try:
            part = None if head else await anext(parts, None)
        except PacsError as refusal:
            await _send(scope, send, of_error(refusal), head=head)
            return
        await send(start)
        while part is not None:
            more: Any = {
                "type": "http.response.body",
                name: part,
                "more_body": True,
            }
            await send(more)
            part = await anext(parts, None)
        await send(end)
