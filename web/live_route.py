"""Who may open the live websocket, what they may hear, and for how long: the door in front of ``web.live``.

A client shows who it is in the handshake (session cookie, ``Authorization``) or, where it can send no header, in its first
message: ``{"token": "…"}``. Then it subscribes to topics; each needs its permission, and shows no more than the client's scope.
What is open is looked at again every ``CHECKED_EVERY_S``: it is closed when its login has ended, topics end with the right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec
import trio
from quart import Response, websocket
from quart_trio import QuartTrio

from pacs_actors.people.rights import Principal
from protocols.errors import Refusal, Unavailable
from protocols.messages.live import ClientMessage, Topic
from web.hosts import from_our_page
from web.http.gate import Gate
from web.http.request import Request
from web.live import LiveFanOut, Seat
from web.problems import problem

CHECKED_EVERY_S: Final = 5.0
NOT_UNDERSTOOD: Final = 4400
NOT_RECOGNISED: Final = 4401
_GOING_AWAY: Final = 1001
_TRY_LATER: Final = 1013
_INTRODUCED_WITHIN_S: Final = 5.0
_WHO: Final = "Log in first."
_MESSAGE: Final = msgspec.json.Decoder(ClientMessage)


class NotUnderstood(Exception):
    """A client says what is no message."""


def add_live(pages: QuartTrio, live: LiveFanOut, gate: Gate) -> None:
    @pages.websocket("/api/v1/live")
    async def watch() -> Response | None:
        """Snapshots and changes, see ``protocols.messages.live``; 403 for a page of another origin, 503 when full."""
        request = Request(websocket.scope, _nothing)  # type: ignore[arg-type]
        if not from_our_page(websocket.headers.get("Origin"), request.root):
            return problem(403, "This page comes from another origin.")
        principal = await gate.authenticator.identify(request)
        if principal is not None:
            with live.seat() as seat:
                await websocket.accept()
                await _Viewer(live, seat, principal, gate).serve()
            return None
        await websocket.accept()
        introduction = await _introduced(gate)
        if introduction is None:
            await websocket.close(NOT_RECOGNISED, _WHO)
            return None
        principal, first = introduction
        try:
            with live.seat() as seat:
                viewer = _Viewer(live, seat, principal, gate)
                viewer.hear(first)
                await viewer.serve()
        except Refusal as full:
            await websocket.close(_TRY_LATER, str(full))
        return None


async def _introduced(gate: Gate) -> tuple[Principal, ClientMessage] | None:
    """Whose token the first message brings, and what else it says; None if it brings none in time."""
    with trio.move_on_after(_INTRODUCED_WITHIN_S):
        try:
            said = await _heard()
            if said.token is not None:
                return await gate.authenticator.of_token(said.token), said
        except (NotUnderstood, Refusal):
            return None
    return None


class _Viewer:
    """One client: what it says, what it is told, whether it may still be here."""

    def __init__(self, live: LiveFanOut, seat: Seat, principal: Principal, gate: Gate) -> None:
        self._live, self._seat, self._gate = live, seat, gate
        self._principal = principal

    async def serve(self) -> None:
        """Until it leaves or has to."""
        code, why = _GOING_AWAY, "The server is going down."
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                nonlocal code, why
                try:
                    while True:
                        self.hear(await _heard())
                except NotUnderstood:
                    code, why = NOT_UNDERSTOOD, "That is no message."
                    nursery.cancel_scope.cancel()

            async def check() -> None:
                nonlocal code, why
                await self._until_shown_out()
                code, why = NOT_RECOGNISED, "The login has ended."
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            nursery.start_soon(check)
            while (message := await self._seat.next()) is not None:
                await websocket.send(message)
            nursery.cancel_scope.cancel()
        await websocket.close(code, why)

    def hear(self, said: ClientMessage) -> None:
        for name in said.unsubscribe:
            if (topic := _topic(name)) is not None:
                self._live.unsubscribe(self._seat, topic)
        for name in said.subscribe:
            self._subscribe(name)

    def _subscribe(self, name: str) -> None:
        topic = _topic(name)
        told = None if topic is None else self._live.topic(topic)
        if topic is None or told is None:
            self._live.refuse(self._seat, name, "There is no such topic.")
        elif not self._principal.may(told.action):
            self._live.unsubscribe(self._seat, topic)
            self._live.refuse(self._seat, name, f"This needs the permission {told.action.value}.")
        else:
            self._live.subscribe(self._seat, topic, self._principal.scope)

    async def _until_shown_out(self) -> None:
        """Until they are not who they were. While nobody can say, nobody can have been shown out either."""
        while True:
            await trio.sleep(CHECKED_EVERY_S)
            try:
                now = await self._gate.authenticator.holds(self._principal)
            except Unavailable:
                continue
            if now is None:
                return
            if (now.actions, now.scope) != (self._principal.actions, self._principal.scope):
                self._principal = now
                for topic in tuple(self._seat.feeds):  # refused now, or told of other studies
                    self._subscribe(topic.value)


def _topic(name: str) -> Topic | None:
    try:
        return Topic(name)
    except ValueError:
        return None


async def _heard() -> ClientMessage:
    """The next message. raises: NotUnderstood"""
    said = await websocket.receive()
    try:
        return _MESSAGE.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotUnderstood from None


async def _nothing() -> AsyncIterator[bytes]:
    """A websocket's handshake has no body."""
    return
    yield b""
