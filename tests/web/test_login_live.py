"""Who may open the live websocket, and for how long (SECURITY 10)."""

from __future__ import annotations

import json

import msgspec
import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection

from pacs_actors.archive.scope import ScopeRule, StudyScope
from pacs_actors.people.rights import Action, Principal
from tests.fakes.node_status import STUDIES, study
from tests.fakes.people import ADMINISTRATOR, TOKEN
from tests.web.serving import Site, next_message, site
from web.http.answer import Answer
from web.http.request import Request
from web.http.routes import Access, Route
from web.live_route import NOT_RECOGNISED

pytestmark = pytest.mark.usefixtures("short_linger")

POWERLESS = Principal("nobody", frozenset({Action.SEARCH}), user_id=2, session="session:2")
ONE = STUDIES[0].study_instance_uid


def watch(here: Site, token: str, *topics: str):
    return here.watch(topics=topics or ("system",), extra_headers=[("Authorization", f"Bearer {token}")])


async def closed_with(connection: WebSocketConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed, trio.fail_after(10):
        while True:
            await connection.get_message()
    return closed.value.reason.code


async def test_a_token_in_the_handshake_or_in_the_first_message_opens_it():
    async with site(strangers=None) as here:
        async with watch(here, TOKEN) as connection:
            assert (await next_message(connection))["kind"] == "snapshot"
        async with here.watch(topics=()) as connection:
            await connection.send_message(json.dumps({"token": TOKEN, "subscribe": ["system"]}))
            assert (await next_message(connection))["kind"] == "snapshot"


async def test_a_stranger_hears_nothing_and_is_sent_away():
    first = ('{"token":"another"}', '{"subscribe":["system"]}', "", "[" * 4000, '{"token":7}', b"\xff\xfe")

    async def knock(here: Site, message: str | bytes) -> None:
        async with here.watch(topics=()) as connection:
            await connection.send_message(message)
            assert await closed_with(connection) == NOT_RECOGNISED

    async with site(strangers=None) as here, trio.open_nursery() as nursery:
        for message in first:
            nursery.start_soon(knock, here, message)


async def test_a_stranger_that_says_nothing_is_sent_away(monkeypatch):
    monkeypatch.setattr("web.live_route._INTRODUCED_WITHIN_S", 0.05)
    async with site(strangers=None) as here, here.watch(topics=()) as connection:
        assert await closed_with(connection) == NOT_RECOGNISED


async def test_a_forged_token_is_refused_in_the_handshake():
    async with site(strangers=None) as here:
        with pytest.raises(ConnectionRejected) as refused:
            async with watch(here, "forged"):
                pass
        assert refused.value.status_code == 401


async def test_a_topic_without_its_permission_is_refused_and_others_are_heard():
    async with site(strangers=None) as here:
        here.people.known["weak"] = POWERLESS
        async with watch(here, "weak", "system", "studies", "weather") as connection:
            refused = [await next_message(connection) for _ in range(2)]
            assert [(one["topic"], one["kind"]) for one in refused] == [
                ("system", "refused"),
                ("weather", "refused"),
            ]
            assert "system.read" in refused[0]["why"]
            heard = await next_message(connection)
            assert (heard["topic"], heard["kind"]) == ("studies", "snapshot")


async def test_it_is_closed_when_the_login_ends(monkeypatch):
    monkeypatch.setattr("web.live_route.CHECKED_EVERY_S", 0.05)
    async with site(strangers=None) as here, watch(here, TOKEN) as connection:
        await next_message(connection)
        del here.people.known[TOKEN]
        assert await closed_with(connection) == NOT_RECOGNISED


async def test_a_topic_ends_when_its_permission_is_taken_away(monkeypatch):
    monkeypatch.setattr("web.live_route.CHECKED_EVERY_S", 0.05)
    async with site(strangers=None) as here, watch(here, TOKEN, "system", "studies") as connection:
        await next_message(connection)
        here.people.known[TOKEN] = msgspec.structs.replace(
            ADMINISTRATOR,
            actions=frozenset({Action.SEARCH}),
            scope=StudyScope(rules=(ScopeRule(studies=(ONE,)),)),
        )
        refused = fewer = False
        while not (refused and fewer):
            message = await next_message(connection)
            refused |= (message["topic"], message["kind"]) == ("system", "refused")
            fewer |= message["topic"] == "studies" and list(message.get("state", {}).get("studies", {})) == [
                ONE
            ]
            assert not (refused and message["topic"] == "system" and message["kind"] != "refused")


async def test_what_a_client_may_not_see_is_not_told():
    scope = StudyScope(rules=(ScopeRule(studies=(ONE,)),))
    async with site(strangers=None) as here:
        here.people.known["limited"] = msgspec.structs.replace(
            ADMINISTRATOR, scope=scope, session="session:9"
        )
        async with watch(here, TOKEN, "studies") as all_seeing, watch(here, "limited", "studies") as limited:
            everything = (await next_message(all_seeing))["state"]["studies"]
            assert len(everything) == len(STUDIES)
            assert list((await next_message(limited))["state"]["studies"]) == [ONE]
            here.source.studies = (*STUDIES, study(6, "CT", "CT2"))
            change = await next_message(all_seeing)
            assert list(change["changes"]["studies"]) == ["1.2.826.0.1.3680043.10.1.6"]
            here.source.studies = (study(1, "CT", "CT_SCANNER_1", instances=999), study(6, "CT", "CT2"))
            change = await next_message(limited)
            assert change["changes"] == {"studies": {ONE: {"number_of_instances": 999}}}
            change = await next_message(all_seeing)
            gone = {uid for uid, now in change["changes"]["studies"].items() if now is None}
            assert gone == {one.study_instance_uid for one in STUDIES[1:]}


async def test_the_live_view_is_looked_at_again_often_enough():
    from web import live_route

    assert live_route.CHECKED_EVERY_S <= 60


async def test_the_status_needs_its_permission_and_health_needs_nobody():
    async with site(strangers=None) as here:
        assert (await here.get("/api/v1/status")).status == 401
        here.people.known["weak"] = POWERLESS
        assert (await here.get("/api/v1/status", "Authorization: Bearer weak")).status == 403
        assert (await here.get("/api/v1/status", f"Authorization: Bearer {TOKEN}")).status == 200
        for path in ("/healthz", "/readyz", "/", "/status", "/status/"):
            assert (await here.get(path)).status == 200


async def test_a_refused_request_whose_body_comes_later_leaves_the_connection_open():
    """As plain clients send it: the head first, then the body."""
    head = b"POST /api/v1/write HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    route = Route(
        method="POST", path="/api/v1/write", access=Access.SIGNED_IN, handler=_nothing, summary="", body=dict
    )
    async with site(strangers=None, routes=[route]) as here, await here.connect() as stream:
        for _ in range(2):
            await stream.send_all(head)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stream.send_all(b"{}")
            answer = b""
            with trio.fail_after(5):
                while b"Log in first" not in answer:
                    data = await stream.receive_some()
                    assert data, "closed"
                    answer += data
            assert answer.startswith(b"HTTP/1.1 401")


async def _nothing(_: Request) -> Answer:
    return Answer()
