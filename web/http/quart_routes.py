"""Serves routes through Quart-Trio: everything that is not hot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from pacs_actors.operations import logs
from protocols.errors import PacsError
from web.http.answer import Answer, of_error, problem_answer
from web.http.gate import Gate
from web.http.request import BadRequest, Request
from web.http.routes import Route

_DRAINED_BYTES: Final = 64 * 1024
_DRAINED_WITHIN_S: Final = 1.0


def add_routes(pages: QuartTrio, routes: Iterable[Route], gate: Gate) -> None:
    for route in routes:
        path = route.path.replace("{", "<").replace("}", ">")
        pages.add_url_rule(
            path,
            f"{route.method} {route.path}",
            partial(_serve, route, gate),
            methods=[route.method],
            provide_automatic_options=False,
        )


async def _serve(route: Route, gate: Gate, **values: str) -> Response:
    try:
        ours = Request(request.scope, _chunks)  # type: ignore[arg-type]
        ours.values = values
        await gate.admit(ours, route)
        answer = await route.handler(ours)
    except PacsError as refusal:
        answer = of_error(refusal)
        await _drain()
    except Exception as crash:
        logs.error("request_crashed", crash, method=route.method, path=route.path)
        answer = problem_answer(500)
    return response_of(answer)


def response_of(answer: Answer) -> Response:
    response = Response(answer.body, status=answer.status)
    response.headers.clear()
    for name, value in answer.headers:
        response.headers.add(name, value)
    if answer.length_bytes is not None and answer.status not in (204, 304):
        response.headers["content-length"] = str(answer.length_bytes)
    return response


async def _drain() -> None:
    """Read what is left of a short body that was refused unread: who sends head and body one after the other would find
    the connection closed instead of an answer.
    """
    if 0 < (request.content_length or 0) <= _DRAINED_BYTES:
        with trio.move_on_after(_DRAINED_WITHIN_S), suppress(BadRequest):
            async for _ in _chunks():
                continue


async def _chunks() -> AsyncIterator[bytes]:
    """raises: BadRequest when there is too much of it (413), or it does not come in time (408)"""
    body: Any = request.body
    try:
        async for chunk in body:
            yield chunk
    except HTTPException as error:
        raise BadRequest(error.description or "The body cannot be read.", error.code or 400) from None
