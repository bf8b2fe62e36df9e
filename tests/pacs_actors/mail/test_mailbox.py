"""Mailboxes: bounded, answering, surviving the crash of their actor."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pacs_actors.mail.mailbox import Mailbox
from protocols.errors import OutOfResources, Unavailable
from protocols.messages import Ask, Message


class Double(Ask[int], frozen=True):
    number: int


class Note(Message, frozen=True):
    text: str


async def test_ask_is_answered(autojump_clock: trio.testing.MockClock) -> None:
    mailbox: Mailbox[Double] = Mailbox("doubler", 4)

    async def handle(message: Double) -> int:
        return message.number * 2

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.serve, handle)
        assert await mailbox.ask(Double(21), within_s=1) == 42
        mailbox.close()
    assert mailbox.statistics().served == 1


async def test_a_refusal_reaches_the_asker_and_the_actor_lives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mailbox: Mailbox[Double] = Mailbox("doubler", 4)

    async def handle(message: Double) -> int:
        if message.number < 0:
            raise OutOfResources("no negatives")
        return message.number * 2

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.serve, handle)
        with pytest.raises(OutOfResources):
            await mailbox.ask(Double(-1), within_s=1)
        assert await mailbox.ask(Double(1), within_s=1) == 2
        mailbox.close()
    assert mailbox.statistics().refused == 1


async def test_a_crash_answers_unavailable_and_keeps_the_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mailbox: Mailbox[Double] = Mailbox("doubler", 4)
    heard: list[object] = []

    async def handle(message: Double) -> int:
        if message.number == 0:
            raise ZeroDivisionError
        return message.number * 2

    async def asking(number: int) -> None:
        try:
            heard.append(await mailbox.ask(Double(number), within_s=5))
        except Unavailable:
            heard.append("unavailable")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asking, 0)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(asking, 8)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ZeroDivisionError):
            await mailbox.serve(handle)
        mailbox.close()
        await mailbox.serve(handle)
    assert heard == ["unavailable", 16]
    assert mailbox.statistics().crashed == 1


async def test_a_full_mailbox_makes_the_teller_wait(autojump_clock: trio.testing.MockClock) -> None:
    mailbox: Mailbox[Note] = Mailbox("notes", 1)
    await mailbox.tell(Note("first"))
    with trio.move_on_after(5) as patience:
        await mailbox.tell(Note("second"))
    assert patience.cancelled_caught
    with pytest.raises(Unavailable, match="full"):
        mailbox.tell_nowait(Note("third"))
    assert mailbox.depth == 1


async def test_no_answer_in_time_is_unavailable_and_the_question_is_not_served_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mailbox: Mailbox[Double] = Mailbox("doubler", 4)
    served: list[int] = []

    async def handle(message: Double) -> int:
        served.append(message.number)
        return 0

    with pytest.raises(Unavailable, match="no answer within 2 s"):
        await mailbox.ask(Double(1), within_s=2)
    mailbox.close()
    await mailbox.serve(handle)
    assert served == []


async def test_a_closed_mailbox_serves_what_it_has_and_takes_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mailbox: Mailbox[Note] = Mailbox("notes", 4)
    seen: list[str] = []

    async def handle(message: Note) -> None:
        seen.append(message.text)

    await mailbox.tell(Note("kept"))
    mailbox.close()
    with pytest.raises(Unavailable, match="draining"):
        await mailbox.tell(Note("late"))
    await mailbox.serve(handle)
    assert seen == ["kept"]


async def test_several_actors_serve_one_mailbox(autojump_clock: trio.testing.MockClock) -> None:
    mailbox: Mailbox[Double] = Mailbox("doublers", 16)

    async def handle(message: Double) -> int:
        await trio.sleep(1)
        return message.number * 2

    answers: list[int] = []

    async def asking(number: int) -> None:
        answers.append(await mailbox.ask(Double(number), within_s=30))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(mailbox.serve, handle)
        async with trio.open_nursery() as askers:
            for number in range(8):
                askers.start_soon(asking, number)
        mailbox.close()
    assert sorted(answers) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert trio.current_time() - began == pytest.approx(2)
