"""The live view: the actor alone, then over real websockets."""

from __future__ import annotations

import json
import random

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, open_websocket

from config.settings import WebSettings
from protocols.errors import Refusal
from tests.fakes.node_status import STUDIES, FakeStatus, association
from tests.web.serving import next_message, site
from web.changes import merged, state_of
from web.live import LiveFanOut, Seat
from web.studies import RecentStudies


def fan_out(source: FakeStatus, **settings: object) -> LiveFanOut:
    return LiveFanOut(source, WebSettings(**settings), RecentStudies(source))  # type: ignore[arg-type]


async def take(seat: Seat) -> dict:
    message = await seat.next()
    assert message is not None
    return json.loads(message)


async def test_a_client_gets_a_snapshot_and_then_numbered_changes():
    source = FakeStatus()
    live = fan_out(source)
    chance = random.Random(7)
    with live.seat() as seat:
        live.tick()
        first = await take(seat)
        assert (first["n"], first["kind"], first["resync"]) == (1, "snapshot", False)
        state = first["state"]
        for number in range(2, 8):
            source.advance(0.5, chance)
            live.tick()
            message = await take(seat)
            assert (message["n"], message["kind"]) == (number, "change")
            state = merged(state, message["changes"])
        assert state == state_of(source.value)


async def test_a_late_client_starts_with_the_state_that_the_next_change_applies_to():
    source = FakeStatus()
    live = fan_out(source)
    with live.seat() as early:
        live.tick()
        source.change_worker(0, backlog=77)
        live.tick()
        with live.seat() as late:
            snapshot = await take(late)
            source.change_worker(0, associations=(association("MR2"),))
            live.tick()
            change = await take(late)
            assert change["n"] == snapshot["n"] + 1
            assert merged(snapshot["state"], change["changes"]) == state_of(source.value)
        assert [(await take(early))["kind"] for _ in range(3)] == ["snapshot", "change", "change"]


async def test_a_message_is_encoded_once_for_all_clients():
    live = fan_out(FakeStatus())
    with live.seat() as one, live.seat() as other:
        live.tick()
        assert await one.next() is await other.next()
        live.tick()
        assert await one.next() is await other.next()


async def test_a_client_that_lags_alone_starts_over_with_a_fresh_snapshot():
    source = FakeStatus()
    live = fan_out(source, client_queue=2)
    with live.seat() as slow, live.seat() as quick:
        kinds = []
        for backlog in range(5):
            source.change_worker(0, backlog=backlog)
            live.tick()
            kinds.append((await take(quick))["kind"])
        assert kinds == ["snapshot", "change", "change", "change", "change"]
        message = await take(slow)  # 1 and 2 fill the queue, 3 starts over, 4 fits, 5 starts over again
        assert (message["n"], message["kind"], message["resync"]) == (5, "snapshot", True)
        assert message["state"] == state_of(source.value)
        assert (slow.resynchronised, quick.resynchronised) == (2, 0)


async def test_a_queue_of_one_still_brings_the_latest_state():
    source = FakeStatus()
    live = fan_out(source, client_queue=1)
    with live.seat() as seat:
        for backlog in range(4):
            source.change_worker(0, backlog=backlog)
            live.tick()
        assert (await take(seat))["state"]["workers"]["0"]["backlog"] == 3


async def test_places_are_limited_and_come_free_again():
    live = fan_out(FakeStatus(), max_clients=1)
    with live.seat(), pytest.raises(Refusal) as refused, live.seat():
        pass
    assert refused.value.http_status == 503
    with live.seat():
        pass


async def test_a_closed_view_sends_everybody_away_and_takes_nobody():
    live = fan_out(FakeStatus())
    with live.seat() as seat:
        live.tick()
        live.close()
        assert await seat.next() is None
    with pytest.raises(Refusal), live.seat():
        pass


async def test_nobody_watching_costs_nothing(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(live.run)
        await trio.sleep(60)
        assert source.calls == 0
        with live.seat() as seat:
            await take(seat)
        await trio.sleep(60)
        looked = source.calls
        await trio.sleep(60)
        assert source.calls == looked
        with live.seat() as seat:
            assert (await take(seat))["kind"] == "snapshot"
        nursery.cancel_scope.cancel()


async def test_a_crash_lets_the_clients_go_and_the_next_run_serves_again(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    source.crash = ValueError("broken page")
    with live.seat() as seat:
        with pytest.raises(ExceptionGroup):
            await live.run()
        assert await seat.next() is None
    source.crash = None
    async with trio.open_nursery() as nursery:
        await nursery.start(live.run)
        with live.seat() as seat:
            assert (await take(seat))["kind"] == "snapshot"
        nursery.cancel_scope.cancel()


async def test_studies_come_as_a_change_and_stay_while_the_index_is_away(autojump_clock):
    source = FakeStatus()
    live = fan_out(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(live.run)
        with live.seat() as seat:
            state = (await take(seat))["state"]
            while not state["last_studies"]:
                state = merged(state, (await take(seat))["changes"])
            assert len(state["last_studies"]) == len(STUDIES)
            as_of = state["studies_as_of"]
            source.studies = None
            await trio.sleep(30)
        with live.seat() as seat:
            state = (await take(seat))["state"]
            assert len(state["last_studies"]) == len(STUDIES)
            assert state["studies_as_of"] >= as_of
        nursery.cancel_scope.cancel()


async def test_a_hanging_index_does_not_hold_up_the_view(autojump_clock):
    class Hanging(FakeStatus):
        async def last_studies(self):
            await trio.sleep_forever()

    live = fan_out(Hanging())
    async with trio.open_nursery() as nursery:
        await nursery.start(live.run)
        with live.seat() as seat, trio.fail_after(3):
            for _ in range(5):
                await take(seat)
        nursery.cancel_scope.cancel()


async def test_over_a_websocket_changes_add_up_to_the_node():
    async with site() as here, here.watch() as connection:
        first = await next_message(connection)
        assert first["kind"] == "snapshot"
        state, number = first["state"], first["n"]
        here.source.change_worker(1, backlog=4321, associations=())
        while state["workers"]["1"]["backlog"] != 4321:
            message = await next_message(connection)
            number += 1
            assert (message["n"], message["kind"]) == (number, "change")
            state = merged(state, message["changes"])
        expected = state_of(here.source.value)
        assert state["workers"] == expected["workers"]


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


async def test_what_clients_say_is_ignored():
    async with site() as here, here.watch() as connection:
        for _ in range(50):
            await connection.send_message("hello")
        for _ in range(5):
            await next_message(connection)


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
