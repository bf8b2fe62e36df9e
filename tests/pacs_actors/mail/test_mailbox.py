"""Mailboxes: bounded, answering, surviving the crash of their actor."""

from __future__ import annotations

import outcome
import pytest
import trio
import trio.testing

from pacs_actors.mail.mailbox import Answer, Mailbox
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


class Desk:
    """Begins questions and keeps them until somebody answers. Zero crashes it, what is negative is refused."""

    def __init__(self) -> None:
        self.under_way: dict[int, Answer] = {}

    def begin(self, message: Double, answer: Answer) -> None:
        if not message.number:
            raise ZeroDivisionError
        if message.number < 0:
            raise OutOfResources("no negatives")
        self.under_way[message.number] = answer

    def end(self, *numbers: int) -> None:
        for number in numbers:
            self.under_way.pop(number)(outcome.Value(2 * number))


class Asker:
    """Asks a mailbox; ``heard`` has what each question was answered with."""

    def __init__(self, mailbox: Mailbox[Double], nursery: trio.Nursery) -> None:
        self.mailbox, self.nursery, self.heard = mailbox, nursery, dict[int, object]()

    async def ask(self, *numbers: int) -> None:
        for number in numbers:
            self.nursery.start_soon(self._ask, number)
            await trio.testing.wait_all_tasks_blocked()

    async def _ask(self, number: int) -> None:
        try:
            self.heard[number] = await self.mailbox.ask(Double(number), within_s=5)
        except OutOfResources:
            self.heard[number] = "refused"
        except Unavailable as unavailable:
            self.heard[number] = str(unavailable)


async def test_many_are_under_way_and_each_is_answered_when_it_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mailbox: Mailbox[Double] = Mailbox("doubler", 8)
    desk = Desk()
    async with trio.open_nursery() as nursery:
        asker = Asker(mailbox, nursery)
        nursery.start_soon(mailbox.serve_many, desk.begin, 3)
        await asker.ask(1, -1, 2, 3, 4)
        assert sorted(desk.under_way) == [1, 2, 3], "no more than it may have"
        assert mailbox.depth == 1
        desk.end(2)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(desk.under_way) == [1, 3, 4]
        assert asker.heard == {-1: "refused", 2: 4}
        desk.end(1, 3, 4)
        mailbox.close()
    assert asker.heard == {-1: "refused", 1: 2, 2: 4, 3: 6, 4: 8}
    status = mailbox.statistics()
    assert (status.served, status.refused, status.crashed) == (4, 1, 0)


async def test_what_is_under_way_is_waited_for_before_serving_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mailbox: Mailbox[Double] = Mailbox("doubler", 8)
    desk, ended = Desk(), trio.Event()

    async def serve() -> None:
        await mailbox.serve_many(desk.begin, 3)
        ended.set()

    async with trio.open_nursery() as nursery:
        asker = Asker(mailbox, nursery)
        nursery.start_soon(serve)
        await asker.ask(1, 2)
        mailbox.close()
        desk.end(1)
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        desk.end(2)
    assert ended.is_set()
    assert asker.heard == {1: 2, 2: 4}


@pytest.mark.parametrize("at_the_end", [False, True], ids=["begin", "outcome"])
async def test_crash_on_one_of_many_answers_unavailable_and_leaves_the_others_under_way(
    at_the_end: bool, autojump_clock: trio.testing.MockClock
) -> None:
    mailbox: Mailbox[Double] = Mailbox("doubler", 8)
    desk, crashes = Desk(), list[BaseException]()

    async def serve() -> None:
        try:
            await mailbox.serve_many(desk.begin, 3)
        except ZeroDivisionError as crash:
            crashes.append(crash)
            await mailbox.serve_many(desk.begin, 3)

    async with trio.open_nursery() as nursery:
        asker = Asker(mailbox, nursery)
        nursery.start_soon(serve)
        await asker.ask(1)
        victim = 7 if at_the_end else 0
        await asker.ask(victim)
        if at_the_end:
            desk.under_way.pop(victim)(outcome.Error(ZeroDivisionError()))
            await trio.testing.wait_all_tasks_blocked()
        assert asker.heard == {victim: "the actor crashed on this message"}
        assert len(crashes) == 1
        await asker.ask(2)
        desk.end(1, 2)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.close()
    assert asker.heard == {victim: "the actor crashed on this message", 1: 2, 2: 4}
    assert mailbox.statistics().crashed == 1


async def test_question_that_was_given_up_is_not_begun(autojump_clock: trio.testing.MockClock) -> None:
    mailbox: Mailbox[Double] = Mailbox("doubler", 8)
    desk = Desk()
    with pytest.raises(Unavailable, match="no answer within 2 s"):
        await mailbox.ask(Double(1), within_s=2)
    mailbox.close()
    await mailbox.serve_many(desk.begin, 3)
    assert desk.under_way == {}
