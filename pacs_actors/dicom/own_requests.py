"""Requests of our own on an association that the peer opened: they wait for a pause, and for their responses.

One is under way at a time: that is all that an association without an asynchronous operations window allows (PS3.7 D.3.3.3). The
peer's own requests may cross it; they are served as ever, and the response is known by its field and message ID.
"""

from __future__ import annotations

from collections import deque

import msgspec
import outcome
import trio
from msgspec import Struct

from protocols.dimse.commands import RESPONSE, Command, encode_command
from protocols.errors import Unavailable

_MESSAGE_IDS = 0xFFFF


class OwnRequest(Struct, eq=False):
    """A request that waits to be sent, or for its response.

    command:   encoded
    response:  what answers it: Command Field and Message ID Being Responded To
    """

    context_id: int
    command: bytes
    data_set: bytes | None
    response: tuple[int, int]
    answer: outcome.Outcome[Command]
    answered: trio.Event


class OwnRequests:
    """Those of one association."""

    def __init__(self) -> None:
        self._waiting: deque[OwnRequest] = deque()
        self._sent: OwnRequest | None = None
        self._message_id = 0
        self._ended = False

    def add(self, context_id: int, command: Command, data_set: bytes | None) -> OwnRequest:
        """Queue a request; its message ID is given here. raises: Unavailable if the association has ended"""
        if self._ended:
            raise Unavailable("the association has ended")
        self._message_id = self._message_id % _MESSAGE_IDS + 1
        numbered = msgspec.structs.replace(command, message_id=self._message_id)
        own = OwnRequest(
            context_id,
            encode_command(numbered),
            data_set,
            (command.command_field | RESPONSE, self._message_id),
            outcome.Error(Unavailable("the association has ended")),
            trio.Event(),
        )
        self._waiting.append(own)
        return own

    def withdraw(self, own: OwnRequest) -> None:
        """Nobody waits for it any more. If it has been sent, the next one still waits for its response."""
        if own in self._waiting:
            self._waiting.remove(own)

    @property
    def due(self) -> bool:
        """Whether one may be sent now."""
        return bool(self._waiting) and self._sent is None

    def next(self) -> OwnRequest:
        """The one to send, which counts as sent from now on; only if one is due."""
        self._sent = self._waiting.popleft()
        return self._sent

    def take(self, command: Command) -> bool:
        """Whether this is the response to the one that was sent; whoever asked hears it."""
        own = self._sent
        if own is None or (command.command_field, command.message_id_responded_to) != own.response:
            return False
        self._sent = None
        own.answer = outcome.Value(command)
        own.answered.set()
        return True

    def end(self) -> None:
        """The association has ended: nothing is sent or answered any more."""
        self._ended = True
        for own in (*self._waiting, *([self._sent] if self._sent else [])):
            own.answered.set()
        self._waiting.clear()
        self._sent = None
