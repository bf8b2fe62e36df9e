"""The live view: the actor alone, then over real websockets."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, open_websocket, wrap_client_stream

from config.settings import WebSettings
from pacs_actors.archive.scope import EVERYTHING, NOTHING, ScopeRule, StudyScope
from pacs_actors.people.rights import Action
from protocols.errors import Refusal
from protocols.messages.live import STATES, ServerMessage, Snapshot, Topic
from tests.fakes.live import FakeStudies, fake_live
from tests.fakes.node_status import STUDIES, FakeStatus, association
from tests.web.serving import next_message, site
from web.changes import merged
from web.live import LiveFanOut, Seat
from web.live_route import NOT_UNDERSTOOD
from web.topics.system import system_state

pytestmark = pytest.mark.usefixtures("short_linger")


def fan_out(source: FakeStatus, *more: object, **settings: object) -> LiveFanOut:
    chosen = msgspec.convert({"live_interval_s": 0.5} | settings, WebSettings)
    return fake_live(source, chosen, *more)


@asynccontextmanager
async def watching(live: LiveFanOut, *topics: Topic, scope: StudyScope = EVERYTHING) -> AsyncIterator[Seat]:
    with live.seat() as seat:
        for topic in topics:
            live.subscribe(seat, topic, scope)
        yield seat


@asynccontextmanager
async def running(live: LiveFanOut) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(live.run)
        yield
        nursery.cancel_scope.cancel()


async def take(seat: Seat) -> dict:
    message = await seat.next()
    assert message is not None
    return json.loads(message)


def state_of(source: FakeStatus) -> dict:
    return json.loads(msgspec.json.encode(system_state(source.value)))


async def test_a_client_gets_a_snapshot_and_then_numbered_changes(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    chance = random.Random(7)
    async with running(live), watching(live, Topic.SYSTEM) as seat:
        first = await take(seat)
        assert (first["topic"], first["n"], first["kind"], first["resync"]) == (
            "system",
            1,
            "snapshot",
            False,
        )
        state = first["state"]
        for number in range(2, 8):
            source.advance(0.5, chance)
            message = await take(seat)
            assert (message["topic"], message["n"], message["kind"]) == ("system", number, "change")
            state = merged(state, message["changes"])
        assert state == state_of(source)


async def test_every_message_is_as_the_schema_says(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    async with (
        running(live),
        watching(live, Topic.SYSTEM, Topic.ASSOCIATIONS, Topic.QUEUES, Topic.STUDIES) as seat,
    ):
        live.refuse(seat, "alerts", "no")
        seen: set[tuple[str, str]] = set()
        while len(seen) < 6:
            source.advance(0.5, random.Random(1))
            text = await seat.next()
            assert text is not None
            message = msgspec.json.decode(text, type=ServerMessage)
            seen.add((type(message).__name__, message.topic))
            if isinstance(message, Snapshot):
                msgspec.convert(message.state, STATES[Topic(message.topic)])
        assert ("Refused", "alerts") in seen


async def test_nothing_is_said_while_nothing_changes(autojump_clock):
    live = fan_out(FakeStatus())
    async with running(live), watching(live, Topic.STUDIES, Topic.ASSOCIATIONS) as seat:
        assert {(await take(seat))["topic"] for _ in range(2)} == {"studies", "associations"}
        with trio.move_on_after(30) as patience:
            await seat.next()
        assert patience.cancelled_caught


async def test_a_late_client_starts_with_the_state_that_the_next_change_applies_to(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    async with running(live), watching(live, Topic.SYSTEM) as early:
        await take(early)
        source.change_worker(0, backlog=77)
        await take(early)
        async with watching(live, Topic.SYSTEM) as late:
            snapshot = await take(late)
            assert snapshot["n"] == 2
            source.change_worker(0, loop_lag_ms=4.5)
            change = await take(late)
            assert change["n"] == snapshot["n"] + 1
            assert merged(snapshot["state"], change["changes"]) == state_of(source)
        assert (await take(early))["n"] == 3


async def test_a_message_is_encoded_once_for_all_who_see_the_same(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    scope = StudyScope(rules=(ScopeRule(studies=("1",)),))
    async with (
        running(live),
        watching(live, Topic.SYSTEM) as one,
        watching(live, Topic.SYSTEM, scope=scope) as other,
    ):
        assert await one.next() is await other.next()
        source.change_worker(0, backlog=77)
        assert await one.next() is await other.next()


async def test_studies_are_looked_at_once_for_each_scope(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    studies = live.topic(Topic.STUDIES)
    assert isinstance(studies, FakeStudies)
    narrow = StudyScope(rules=(ScopeRule(studies=(STUDIES[0].study_instance_uid,)),))
    async with running(live), AsyncExitStack() as stack:
        seats = [
            await stack.enter_async_context(watching(live, Topic.STUDIES, scope=scope))
            for scope in (EVERYTHING, narrow, NOTHING) * 20
        ]
        counts = [len((await take(seat))["state"]["studies"]) for seat in seats]
        assert counts == [len(STUDIES), 1, 0] * 20
        studies.looks.clear()
        await trio.sleep(2)
        rounds = len(studies.looks) // 3
        assert 2 <= rounds <= 5
        assert all(studies.looks.count(scope) == rounds for scope in (EVERYTHING, narrow, NOTHING))


async def test_a_client_that_lags_alone_starts_over_with_fresh_snapshots(autojump_clock):
    source = FakeStatus()
    live = fan_out(source, client_queue=1)
    async with (
        running(live),
        watching(live, Topic.SYSTEM, Topic.STUDIES) as slow,
        watching(live, Topic.SYSTEM) as quick,
    ):
        kinds = []
        for backlog in range(12):
            source.change_worker(0, backlog=backlog + 1000)
            kinds.append((await take(quick))["kind"])
        assert kinds == ["snapshot"] + ["change"] * 11
        told = [await take(slow) for _ in range(2)]
        assert {(one["topic"], one["kind"], one["resync"]) for one in told} == {
            ("system", "snapshot", True),
            ("studies", "snapshot", True),
        }
        state = next(one for one in told if one["topic"] == "system")
        number = state["n"]
        while number < 12:
            change = await take(slow)
            number += 1
            assert change["n"] == number
            state["state"] = merged(state["state"], change["changes"])
        assert state["state"] == state_of(source)
        assert (slow.resynchronised, quick.resynchronised) == (1, 0)


async def test_a_client_that_only_asks_again_and_again_holds_a_bounded_queue(autojump_clock):
    live = fan_out(FakeStatus(), client_queue=4)
    async with running(live), watching(live, Topic.SYSTEM) as seat:
        await take(seat)
        for _ in range(500):
            live.subscribe(seat, Topic.SYSTEM, EVERYTHING)
            live.refuse(seat, "nothing", "There is no such topic.")
        waiting = 0
        with trio.move_on_after(0.1):
            while True:
                await take(seat)
                waiting += 1
        assert 0 < waiting <= 8


async def test_an_unsubscribed_topic_falls_silent(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    async with running(live), watching(live, Topic.SYSTEM, Topic.QUEUES) as seat:
        assert {(await take(seat))["topic"] for _ in range(2)} == {"system", "queues"}
        live.unsubscribe(seat, Topic.SYSTEM)
        source.change_worker(0, backlog=5)
        assert (await take(seat))["topic"] == "queues"
        with trio.move_on_after(10) as patience:
            await take(seat)
        assert patience.cancelled_caught


async def test_places_are_limited_and_come_free_again():
    live = fan_out(FakeStatus(), max_clients=1)
    with live.seat(), pytest.raises(Refusal) as refused, live.seat():
        pass
    assert refused.value.http_status == 503
    with live.seat():
        pass


async def test_a_closed_view_sends_everybody_away_and_takes_nobody(autojump_clock):
    live = fan_out(FakeStatus())
    async with running(live), watching(live, Topic.SYSTEM) as seat:
        live.close()
        assert await seat.next() is None
        with pytest.raises(Refusal), live.seat():
            pass


async def test_nobody_watching_costs_nothing(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    async with running(live):
        await trio.sleep(60)
        assert source.calls == 0
        async with watching(live, Topic.SYSTEM) as seat:
            await take(seat)
        await trio.sleep(60)
        looked = source.calls
        await trio.sleep(60)
        assert source.calls == looked
        async with watching(live, Topic.SYSTEM) as seat:
            assert (await take(seat))["kind"] == "snapshot"


async def test_a_crash_lets_the_clients_go_and_the_next_run_serves_again(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    source.crash = ValueError("broken page")
    async with watching(live, Topic.SYSTEM) as seat:
        with pytest.raises(ExceptionGroup):
            await live.run()
        assert await seat.next() is None
    source.crash = None
    async with running(live), watching(live, Topic.SYSTEM) as seat:
        assert (await take(seat))["kind"] == "snapshot"


async def test_the_last_studies_stay_while_the_index_is_away(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    async with running(live), watching(live, Topic.STUDIES) as early:
        assert len((await take(early))["state"]["studies"]) == len(STUDIES)
        source.studies = None
        await trio.sleep(30)
        async with watching(live, Topic.STUDIES) as late:
            assert len((await take(late))["state"]["studies"]) == len(STUDIES)
        source.studies = STUDIES[:2]
        gone = (await take(early))["changes"]["studies"]
        assert gone == {one.study_instance_uid: None for one in STUDIES[2:]}


async def test_a_topic_that_hangs_holds_up_no_other_one(autojump_clock):
    class Hanging:
        name, action, scoped, every_s = Topic.ALERTS, Action.SYSTEM_READ, False, 0.0

        async def look(self, _):
            await trio.sleep_forever()

    source = FakeStatus()
    live = fan_out(source, Hanging())
    async with running(live), watching(live, Topic.ALERTS, Topic.SYSTEM) as seat:
        with trio.fail_after(4):
            for number in range(1, 6):
                source.change_worker(0, backlog=number)
                assert (await take(seat))["n"] == number


async def test_a_topic_that_is_slow_to_look_at_is_looked_at_less_often(autojump_clock):
    class Slow:
        name, action, scoped, every_s = Topic.ALERTS, Action.SYSTEM_READ, False, 0.0
        looks = 0

        async def look(self, _):
            self.looks += 1
            await trio.sleep(2)
            return {"n": self.looks}

    slow = Slow()
    live = fan_out(FakeStatus(), slow)
    async with running(live), watching(live, Topic.ALERTS) as seat:
        await take(seat)
        await trio.sleep(200)
        assert slow.looks <= 12


async def test_two_hundred_clients_do_not_notice_one_that_is_stuck():
    """Over real sockets: each of the others gets every number, without a gap and without a resynchronisation."""
    async with site(busy(), client_queue=4, write_deadline_s=30) as here, trio.open_nursery() as nursery:
        stuck = await here.connect(receive_buffer=4096)
        connection = await wrap_client_stream(
            nursery, stuck, "127.0.0.1", "/api/v1/live", message_queue_size=0, max_message_size=2**24
        )
        await connection.send_message('{"subscribe":["associations"]}')
        done = 0

        async def watch() -> None:
            nonlocal done
            async with here.watch(topics=("system",)) as viewer:
                number = (await next_message(viewer))["n"]
                for _ in range(5):
                    message = await next_message(viewer)
                    number += 1
                    assert (message["n"], message["kind"]) == (number, "change")
            done += 1

        async with trio.open_nursery() as viewers:
            for _ in range(200):
                viewers.start_soon(watch)
        assert done == 200
        nursery.cancel_scope.cancel()


def busy() -> FakeStatus:
    """Something of ``system`` changes at each look, and much of ``associations``."""

    class Busy(FakeStatus):
        def node(self):
            self.change(at=self.value.at + 0.5)
            many = [association(f"AE{n}", doing=f"{self.calls} {'x' * 400}", place=n) for n in range(200)]
            self.change_worker(0, associations=tuple(many))
            return super().node()

    return Busy()


async def test_over_a_websocket_changes_add_up_to_the_node():
    async with site() as here, here.watch(topics=("associations",)) as connection:
        first = await next_message(connection)
        assert first["kind"] == "snapshot"
        state, number = first["state"], first["n"]
        assert sorted(state["associations"]) == ["0.0", "0.1", "1.0"]
        here.source.change_worker(0, associations=(association("MR9", place=7),))
        message = await next_message(connection)
        assert (message["n"], message["kind"]) == (number + 1, "change")
        state = merged(state, message["changes"])
        assert sorted(state["associations"]) == ["0.7", "1.0"]
        assert state["associations"]["0.7"]["calling_ae"] == "MR9"


async def test_a_page_of_another_origin_is_refused():
    async with site() as here:
        with pytest.raises(ConnectionRejected) as refused:
            async with here.watch(extra_headers=[("Origin", "http://evil.example")]):
                pass
        assert refused.value.status_code == 403
        own = [("Origin", f"http://127.0.0.1:{here.port}")]
        async with here.watch(extra_headers=own) as connection:
            assert (await next_message(connection))["kind"] == "snapshot"


async def test_too_many_clients_are_refused_until_one_leaves():
    async with site(max_clients=1) as here:
        async with here.watch() as connection:
            await next_message(connection)
            with pytest.raises(ConnectionRejected) as refused:
                async with here.watch():
                    pass
            assert refused.value.status_code == 503
        with trio.fail_after(5):
            while True:
                try:
                    async with here.watch() as connection:
                        assert (await next_message(connection))["kind"] == "snapshot"
                        break
                except ConnectionRejected:  # the server has not noticed the first one's leaving yet
                    await trio.lowlevel.checkpoint()


async def test_an_unknown_websocket_is_refused():
    async with site() as here:
        with pytest.raises(ConnectionRejected) as refused:
            async with open_websocket("127.0.0.1", here.port, "/api/v1/other", use_ssl=False):
                pass
        assert refused.value.status_code == 404


@pytest.mark.parametrize(
    "said", ["hello", "[]", '{"subscribe":"system"}', '{"subscribe":[1]}', '{"more":1}', b"\xff\xfe"]
)
async def test_what_is_no_message_ends_the_connection(said):
    async with site() as here, here.watch() as connection:
        await next_message(connection)
        await connection.send_message(said)
        with pytest.raises(ConnectionClosed) as closed, trio.fail_after(5):
            while True:
                await connection.get_message()
        assert closed.value.reason.code == NOT_UNDERSTOOD


async def test_topics_can_be_left_and_taken_again():
    async with site() as here, here.watch() as connection:
        await next_message(connection)
        await connection.send_message('{"unsubscribe":["system"],"subscribe":["queues"]}')
        while (await next_message(connection))["topic"] != "queues":
            pass
        await connection.send_message('{"subscribe":["system"]}')
        message = await next_message(connection)
        assert (message["topic"], message["kind"]) == ("system", "snapshot")


@pytest.mark.parametrize("message", ["x" * 5000, b"x" * 60_000])
async def test_a_client_that_says_too_much_is_closed(message):
    async with site() as here, here.watch() as connection:
        await next_message(connection)
        with pytest.raises(ConnectionClosed), trio.fail_after(5):
            await connection.send_message(message)
            while True:
                await connection.get_message()


async def test_a_client_that_chatters_is_closed():
    async with site() as here, here.watch() as connection:
        await next_message(connection)
        with pytest.raises(ConnectionClosed), trio.fail_after(5):
            while True:
                await connection.send_message("x" * 1000)
                await connection.get_message()


async def test_websockets_are_not_compressed():
    request = (
        b"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    async with site() as here, await here.connect() as stream:
        await stream.send_all(request)
        answer = b""
        with trio.fail_after(5):
            while b"\r\n\r\n" not in answer:
                answer += await stream.receive_some()
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 101")
        assert b"extensions" not in head
