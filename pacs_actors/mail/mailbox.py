"""Mailboxes: how actors hear from each other.

A mailbox is bounded, outlives crashes of the actor that reads it, and knows how it is doing. Asks flow downstream only, so
full mailboxes cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

import outcome
import trio

from pacs_actors.operations import logs
from protocols.errors import PacsError, Unavailable
from protocols.messages import Ask, Message
from protocols.messages.status import MailboxStatus

M = TypeVar("M", bound=Message)
R = TypeVar("R")


class Envelope(Generic[M]):
    """A message on its way, and the place where its answer will be."""

    __slots__ = ("abandoned", "answer", "answered", "message", "told_at")

    def __init__(self, message: M, told_at: float) -> None:
        self.message, self.told_at = message, told_at
        self.answered = trio.Event()
        self.abandoned = False
        self.answer: outcome.Outcome[Any] = outcome.Error(Unavailable("the actor crashed on this message"))


class Mailbox(Generic[M]):
    def __init__(self, name: str, capacity: int) -> None:
        self.name, self.capacity = name, capacity
        self._put, self._take = trio.open_memory_channel[Envelope[M]](capacity)
        self._told = self._served = self._refused = self._crashed = 0
        self._longest_wait_s = 0.0

    def close(self) -> None:
        """Take no more; what is queued is still served, then ``serve`` returns."""
        self._put.close()

    @property
    def depth(self) -> int:
        return self._put.statistics().current_buffer_used

    def statistics(self) -> MailboxStatus:
        """Depth and capacity in messages; the longest wait is that since the last reading."""
        wait_ms, self._longest_wait_s = self._longest_wait_s * 1e3, 0.0
        return MailboxStatus(
            self.name,
            self.depth,
            self.capacity,
            self._told,
            self._served,
            self._refused,
            self._crashed,
            round(wait_ms, 1),
        )

    async def tell(self, message: M) -> Envelope[M]:
        """Queue a message; waits while the mailbox is full. Raises Unavailable once it drains."""
        envelope = Envelope(message, trio.current_time())
        try:
            await self._put.send(envelope)
        except trio.ClosedResourceError:
            raise Unavailable(f"{self.name} is draining") from None
        self._told += 1
        return envelope

    def tell_nowait(self, message: M) -> Envelope[M]:
        """As ``tell``, but a full mailbox raises Unavailable instead of waiting."""
        envelope = Envelope(message, trio.current_time())
        try:
            self._put.send_nowait(envelope)
        except trio.ClosedResourceError:
            raise Unavailable(f"{self.name} is draining") from None
        except trio.WouldBlock:
            raise Unavailable(f"{self.name} is full") from None
        self._told += 1
        return envelope

    async def ask(self: Mailbox[Any], question: Ask[R], *, within_s: float) -> R:
        """Tell and wait for the answer. Raises what the actor refused with, or Unavailable."""
        envelope: Envelope[Any] | None = None
        try:
            with trio.move_on_after(within_s):
                envelope = await self.tell(question)
                await envelope.answered.wait()
                return cast("R", envelope.answer.unwrap())
        finally:
            if envelope is not None:
                envelope.abandoned = True
        raise Unavailable(f"{self.name}: no answer within {within_s:g} s")

    async def serve(self, handle: Callable[[M], Awaitable[object]]) -> None:
        """Serve messages until the mailbox is closed and empty. Several actors may serve one mailbox.

        A PacsError answers the asker; any other exception answers Unavailable and crashes the actor.
        """
        while True:
            try:
                envelope = await self._take.receive()
            except trio.EndOfChannel:
                return
            self._longest_wait_s = max(self._longest_wait_s, trio.current_time() - envelope.told_at)
            if envelope.abandoned:
                envelope.answered.set()
                continue
            crashed = True
            try:
                envelope.answer = outcome.Value(await handle(envelope.message))
                self._served += 1
                crashed = False
            except PacsError as refusal:
                envelope.answer = outcome.Error(refusal)
                self._refused += 1
                crashed = False
                logs.debug(
                    "refused", mailbox=self.name, message=type(envelope.message).__name__, why=str(refusal)
                )
            finally:
                self._crashed += crashed
                envelope.answered.set()

    async def receive(self) -> Envelope[M]:
        """The next envelope, for actors that batch: they set its answer. Raises trio.EndOfChannel when drained."""
        return self._opened(await self._take.receive())

    def receive_nowait(self) -> Envelope[M]:
        """As ``receive``; raises trio.WouldBlock when nothing waits."""
        return self._opened(self._take.receive_nowait())

    def _opened(self, envelope: Envelope[M]) -> Envelope[M]:
        self._longest_wait_s = max(self._longest_wait_s, trio.current_time() - envelope.told_at)
        self._served += 1
        return envelope
