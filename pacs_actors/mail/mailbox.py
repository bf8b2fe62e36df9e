"""Mailboxes: how actors hear from each other.

A mailbox is bounded, outlives crashes of the actor that reads it, and knows how it is doing. Asks flow downstream only, so
full mailboxes cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar, cast

import outcome
import trio

from pacs_actors.operations import logs
from protocols.errors import PacsError, Unavailable
from protocols.messages import Ask, Message
from protocols.messages.status import MailboxStatus

M = TypeVar("M", bound=Message)
R = TypeVar("R")

Answer: TypeAlias = Callable[[outcome.Outcome[Any]], None]
"""Takes the outcome of the work on a message, once, on Trio's thread."""


class Envelope(Generic[M]):
    """A message on its way, and the place where its answer will be; None: the actor crashed on it."""

    __slots__ = ("abandoned", "answer", "answered", "message", "told_at")

    def __init__(self, message: M, told_at: float) -> None:
        self.message, self.told_at = message, told_at
        self.answered = trio.Event()
        self.abandoned = False
        self.answer: outcome.Outcome[Any] | None = None

    def unwrap(self) -> Any:
        """The answer, once there is one. raises: what the actor refused with; Unavailable if it crashed"""
        if self.answer is None:
            raise Unavailable("the actor crashed on this message")
        return self.answer.unwrap()


class _Life:
    """Of an actor that ``serve_many`` serves: from its start to its crash.

    under_way:  messages that it has begun and that are not answered
    """

    __slots__ = ("answered", "crash", "scope", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.answered = trio.Event()
        self.crash: BaseException | None = None
        self.scope = trio.CancelScope()

    async def until_answered(self) -> None:
        """Until one more is answered."""
        self.answered = trio.Event()
        await self.answered.wait()

    def end(self, crash: BaseException) -> None:
        if self.crash is None:
            self.crash = crash
            self.scope.cancel()
        else:  # the actor is being started again: this was left of its last life
            logs.error("work_crashed", exception=crash)


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
                try:
                    # ``tell`` lets other tasks run in any case; here it is waited right after.
                    envelope = self.tell_nowait(question)
                except Unavailable:
                    envelope = await self.tell(question)
                await envelope.answered.wait()
                return cast("R", envelope.unwrap())
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
                self._count_refusal(envelope, refusal)
                crashed = False
            finally:
                self._crashed += crashed
                envelope.answered.set()

    async def serve_many(self, begin: Callable[[M, Answer], None], most: int) -> None:
        """As ``serve``, for actors that have up to ``most`` messages under way. Returns once all of them are answered, too.

        begin:  starts the work on a message and does not wait; whoever ends the work calls the ``Answer``, once

        An outcome that is a PacsError answers the asker; any other exception, of ``begin`` or as an outcome, answers Unavailable
        and crashes the actor. What else is under way then goes on and is answered all the same.
        """
        life = _Life()
        with life.scope:
            with suppress(trio.EndOfChannel):
                while life.crash is None:
                    if life.under_way < most:
                        self._begin(await self._next(), begin, life)
                    else:
                        await life.until_answered()
            while life.under_way and life.crash is None:
                await life.until_answered()
        if life.crash is not None:
            raise life.crash

    async def _next(self) -> Envelope[M]:
        try:
            # The channel's ``receive`` always lets other tasks run, even when something waits.
            return self._take.receive_nowait()
        except trio.WouldBlock:
            return await self._take.receive()

    def _begin(self, envelope: Envelope[M], begin: Callable[[M, Answer], None], life: _Life) -> None:
        self._longest_wait_s = max(self._longest_wait_s, trio.current_time() - envelope.told_at)
        if envelope.abandoned:
            envelope.answered.set()
            return
        life.under_way += 1
        answer = partial(self._answer, envelope, life)
        try:
            begin(envelope.message, answer)
        except Exception as failure:
            answer(outcome.Error(failure))

    def _answer(self, envelope: Envelope[M], life: _Life, result: outcome.Outcome[Any]) -> None:
        if not isinstance(result, outcome.Error):
            envelope.answer = result
            self._served += 1
        elif isinstance(result.error, PacsError):
            envelope.answer = result
            self._count_refusal(envelope, result.error)
        else:
            self._crashed += 1
            life.end(result.error)
        life.under_way -= 1
        envelope.answered.set()
        life.answered.set()

    def _count_refusal(self, envelope: Envelope[M], refusal: PacsError) -> None:
        self._refused += 1
        logs.debug("refused", mailbox=self.name, message=type(envelope.message).__name__, why=str(refusal))

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
