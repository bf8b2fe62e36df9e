"""Who may open the live websocket, and for how long: the door in front of ``web.live``.

A client shows who it is in the handshake (session cookie, ``Authorization``) or, where it can send no header, in its first
message: ``{"token": "…"}``. What is open is closed within ``CHECKED_EVERY_S`` of the end of its login.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec
import trio
from msgspec import Struct
from quart import Response, websocket
from quart_trio import QuartTrio

from pacs_actors.people.rights import Action, Principal
from protocols.errors import Refusal, Unavailable
from web.hosts import same_origin
from web.http.gate import Gate
from web.http.request import Request
from web.live import LiveFanOut, Seat
from web.problems import problem

CHECKED_EVERY_S: Final = 10.0
NOT_RECOGNISED: Final = 4401
FORBIDDEN: Final = 4403
_GOING_AWAY: Final = 1001
_TRY_LATER: Final = 1013
_INTRODUCED_WITHIN_S: Final = 5.0
_WHO: Final = "Log in first."


class _Introduction(Struct, frozen=True):
    token: str


def add_live(pages: QuartTrio, live: LiveFanOut, gate: Gate) -> None:
    @pages.websocket("/api/v1/live")
    async def watch() -> Response | None:
        """Snapshot and changes, see ``web.live``; 403 for a page of another origin, 503 when full."""
        request = Request(websocket.scope, _nothing)  # type: ignore[arg-type]
        if not same_origin(websocket.headers.get("Origin"), request.root.partition("://")[2]):
            return problem(403, "This page comes from another origin.")
        principal = await gate.authenticator.identify(request)
        if principal is not None:
            if not _may_watch(principal):
                return problem(403, f"This needs the permission {Action.SYSTEM_READ.value}, and every study.")
            with live.seat() as seat:
                await websocket.accept()
                await _serve(seat, principal, gate)
            return None
        await websocket.accept()
        principal = await _introduced(gate)
        if principal is None or not _may_watch(principal):
            await websocket.close(NOT_RECOGNISED if principal is None else FORBIDDEN, _WHO)
            return None
        try:
            with live.seat() as seat:
                await _serve(seat, principal, gate)
        except Refusal as full:
            await websocket.close(_TRY_LATER, str(full))
        return None


def _may_watch(principal: Principal) -> bool:
    """The node's state tells of the last studies, whoever's they are."""
    return principal.may(Action.SYSTEM_READ) and principal.scope.everything


async def _introduced(gate: Gate) -> Principal | None:
    """Whose token the first message brings; None if it brings none in time."""
    with trio.move_on_after(_INTRODUCED_WITHIN_S):
        try:
            said = msgspec.json.decode(await websocket.receive(), type=_Introduction)
            return await gate.authenticator.of_token(said.token)
        except (msgspec.DecodeError, Refusal, UnicodeDecodeError):
            return None
    return None


async def _serve(seat: Seat, principal: Principal, gate: Gate) -> None:
    code, why = _GOING_AWAY, "The server is going down."
    async with trio.open_nursery() as nursery:

        async def check() -> None:
            nonlocal code, why
            await _until_shown_out(principal, gate)
            code, why = NOT_RECOGNISED, "The login has ended."
            nursery.cancel_scope.cancel()

        nursery.start_soon(_ignore_incoming)
        nursery.start_soon(check)
        while (message := await seat.next()) is not None:
            await websocket.send(message)
        nursery.cancel_scope.cancel()
    await websocket.close(code, why)


async def _until_shown_out(principal: Principal, gate: Gate) -> None:
    """Until they are not who they were. While nobody can say, nobody can have been shown out either."""
    while True:
        await trio.sleep(CHECKED_EVERY_S)
        try:
            now = await gate.authenticator.holds(principal)
        except Unavailable:
            continue
        if now is None or not _may_watch(now):
            return


async def _ignore_incoming() -> None:
    """Clients have nothing to say yet; unread messages would fill hypercorn's queue and stop its reading."""
    while True:
        await websocket.receive()


async def _nothing() -> AsyncIterator[bytes]:
    """A websocket's handshake has no body."""
    return
    yield b""
