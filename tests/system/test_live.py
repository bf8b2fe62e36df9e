"""The live websocket and ``pacs-actors watch`` on the real server: news that cross workers, rights, logins that end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, open_websocket

from protocols.messages.live import STATES, Topic
from tests.system import peers
from tests.system.peers import wait_until
from tests.system.server import Server
from web.changes import merged

PASSWORD = "ten horses on the pier"
WITHIN_S = 20.0


def user_with(server: Server, name: str, actions: list[str], scope: dict[str, Any]) -> str:
    """Somebody new with a role of their own; their token."""
    role = {"name": f"{name}s", "actions": actions, "scope": scope}
    user = {"username": name, "password": PASSWORD, "roles": [f"{name}s"]}
    for path, body in (("roles", role), ("users", user)):
        status, answer = server.ask("POST", f"/api/v1/{path}", body, token=server.token)
        assert status == 201, answer
    return server.login(name, PASSWORD)


class Viewer:
    """A client that keeps the states."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.states: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}
        self.refused: set[str] = set()

    async def say(self, **words: Any) -> None:
        await self.connection.send_message(json.dumps(words))

    async def until(self, true: Any) -> None:
        with trio.fail_after(WITHIN_S):
            while not true():
                message = json.loads(await self.connection.get_message())
                topic = message["topic"]
                match message["kind"]:
                    case "refused":
                        self.refused.add(topic)
                        continue
                    case "snapshot":
                        self.states[topic] = message["state"]
                        msgspec.convert(message["state"], STATES[Topic(topic)])
                    case "change":
                        assert message["n"] == self.numbers[topic] + 1
                        self.states[topic] = merged(self.states[topic], message["changes"])
                self.numbers[topic] = message["n"]

    def studies(self) -> dict[str, Any]:
        found: dict[str, Any] = self.states.get("studies", {}).get("studies", {})
        return found


@asynccontextmanager
async def watching(server: Server, token: str, *topics: str) -> AsyncIterator[Viewer]:
    headers = [(b"Authorization", f"Bearer {token}".encode())]
    async with open_websocket(
        "127.0.0.1",
        server.web_port,
        "/api/v1/live",
        use_ssl=False,
        extra_headers=headers,
        max_message_size=2**24,
    ) as connection:
        viewer = Viewer(connection)
        await viewer.say(subscribe=topics)
        yield viewer


async def test_a_study_arrives_grows_and_goes_on_whatever_worker_one_watches(node: Server) -> None:
    """Enough viewers that every worker has one."""
    study = peers.make().study
    async with trio.open_nursery() as nursery:
        steps = [trio.Event() for _ in range(3)]
        ready = 0

        async def watch() -> None:
            nonlocal ready
            async with watching(node, node.token, "studies") as viewer:
                await viewer.until(lambda: "studies" in viewer.states)
                ready += 1
                await viewer.until(lambda: study in viewer.studies())
                assert viewer.studies()[study]["patient_id"] == "LIVE"
                await viewer.until(lambda: viewer.studies()[study]["number_of_instances"] == 3)
                steps[1].set()
                await viewer.until(lambda: study not in viewer.studies())

        for _ in range(6):
            nursery.start_soon(watch)
        with trio.fail_after(WITHIN_S):
            while ready < 6:
                await trio.sleep(0.02)
        series = peers.make().series
        for _ in range(3):
            instance = peers.make(StudyInstanceUID=study, SeriesInstanceUID=series, PatientID="LIVE")
            assert await trio.to_thread.run_sync(peers.send, node, instance) == [0]
        await steps[1].wait()
        status, body = await trio.to_thread.run_sync(node.ask, "DELETE", f"/api/v1/studies/{study}")
        assert status == 401, body
        delete = lambda: node.ask("DELETE", f"/api/v1/studies/{study}", token=node.token)  # noqa: E731
        status, body = await trio.to_thread.run_sync(delete)
        assert status in (200, 202), body


async def test_others_studies_and_topics_without_the_right_are_not_told(node: Server) -> None:
    mine, others = peers.make(Modality="US", PatientID="MINE"), peers.make(Modality="CT", PatientID="OTHERS")
    scope = {"everything": False, "rules": [{"modalities": ["US"]}]}
    token = user_with(node, "sonographer", ["study.search"], scope)
    async with watching(node, token, "studies", "system", "associations", "queues", "alerts") as viewer:
        await viewer.until(lambda: "studies" in viewer.states)
        assert await trio.to_thread.run_sync(peers.send, node, others, mine) == [0, 0]
        await viewer.until(lambda: mine.study in viewer.studies())
        assert others.study not in viewer.studies()
        assert all("US" in one["modalities"] for one in viewer.studies().values())
        assert viewer.refused == {"system", "associations", "queues", "alerts"}
        assert set(viewer.states) == {"studies"}


async def test_associations_and_queues_and_the_system_are_told(node: Server) -> None:
    async with watching(node, node.token, "system", "associations", "queues", "alerts") as viewer:
        await viewer.until(lambda: len(viewer.states) == 4)
        assert set(viewer.states["system"]["workers"]) == {"0", "1"}
        assert "ingest" in viewer.states["queues"]["mailboxes"]["1"]

        def calling() -> set[str]:
            return {one["calling_ae"] for one in viewer.states["associations"]["associations"].values()}

        with peers.opened(node, [(peers.CT, peers.EXPLICIT)], calling="ONAIR"):
            await viewer.until(lambda: "ONAIR" in calling())
        await viewer.until(lambda: "ONAIR" not in calling())


async def test_quarantine_raises_an_alert(node: Server) -> None:
    first = peers.make()
    other = peers.make(SOPInstanceUID=first.uid, PatientID="ANOTHER")
    for one in (first, other):
        await trio.to_thread.run_sync(peers.send, node, one)
    async with watching(node, node.token, "alerts") as viewer:
        await viewer.until(lambda: "quarantine" in viewer.states.get("alerts", {}).get("alerts", {}))
        alert = viewer.states["alerts"]["alerts"]["quarantine"]
        assert alert["severity"] == "warning"
        assert alert["since"].endswith("Z")


async def test_it_is_closed_soon_after_the_login_has_ended(node: Server) -> None:
    token = user_with(node, "leaver", ["system.read"], {"everything": True, "rules": []})
    async with watching(node, token, "system") as viewer:
        await viewer.until(lambda: "system" in viewer.states)
        assert node.ask("POST", "/api/v1/logout", {}, token=token)[0] == 204
        with pytest.raises(ConnectionClosed) as closed, trio.fail_after(20):
            while True:
                await viewer.connection.get_message()
        assert closed.value.reason.code == 4401


async def test_a_stranger_and_a_page_of_another_origin_hear_nothing(node: Server) -> None:
    with pytest.raises(ConnectionRejected) as refused:
        async with watching(node, "forged", "system"):
            pass
    assert refused.value.status_code == 401
    headers = [(b"Authorization", f"Bearer {node.token}".encode()), (b"Origin", b"http://evil.example")]
    with pytest.raises(ConnectionRejected) as refused:
        async with open_websocket(
            "127.0.0.1", node.web_port, "/api/v1/live", use_ssl=False, extra_headers=headers
        ):
            pass
    assert refused.value.status_code == 403


def watch(node: Server, tmp_path: Path, *options: str, token: str | None = None) -> subprocess.Popen[bytes]:
    given = tmp_path / "token"
    given.write_text(node.token if token is None else token)
    command = [
        sys.executable,
        "-m",
        "supervisors.cli",
        "watch",
        "--url",
        node.url,
        "--token-file",
        str(given),
        *options,
    ]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "errors").open("wb") as errors:
        return subprocess.Popen(
            command, stdout=out, stderr=errors, env={**os.environ, "PACS_TOKEN": ""}, preexec_fn=heed_interrupts,  # noqa: PLW1509
        )  # fmt: skip


def heed_interrupts() -> None:
    """As in a terminal: what a script starts in the background begins with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_watch_tails_what_happens_and_ends_cleanly(node: Server, tmp_path: Path) -> None:
    process = watch(node, tmp_path, "--topics", "studies,associations,system,queues,alerts")
    try:
        wait_until(lambda: "studies lately" in (tmp_path / "out").read_text(), "the first lines")
        instance = peers.make(Modality="MR", PatientName="Secret^Name\x1b")
        assert peers.send(node, instance, calling="TAILED") == [0]
        wait_until(lambda: instance.study in (tmp_path / "out").read_text(), "the study")
        with peers.opened(node, [(peers.CT, peers.EXPLICIT)], calling="TAILED"):
            wait_until(lambda: "+ TAILED at 127.0.0.1" in (tmp_path / "out").read_text(), "the association")
        text = (tmp_path / "out").read_text()
        assert "MR of no date" in text
        assert "Secret" not in text and "\x1b" not in text
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(10)
    assert code == 130
    assert "Traceback" not in (tmp_path / "errors").read_text()


def test_watch_gives_every_message_as_a_line_of_json(node: Server, tmp_path: Path) -> None:
    process = watch(node, tmp_path, "--topics", "system", "--json")
    try:
        wait_until(lambda: (tmp_path / "out").read_text().count("\n") >= 3, "three messages")
        lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()[:3]]
        assert [line["kind"] for line in lines] == ["snapshot", "change", "change"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


@pytest.mark.parametrize(
    ("options", "token", "says"),
    [
        ((), "forged", "does not take the token"),
        (("--topics", "weather"), None, "weather"),
        (("--topics", ","), None, "at least one"),
        (("--url", "ftp://x"), None, "--url"),
        (("--url", "http://127.0.0.1:notaport"), None, "--url"),
    ],
)
def test_watch_says_what_is_wrong(
    node: Server, tmp_path: Path, options: tuple[str, ...], token: str | None, says: str
) -> None:
    process = watch(node, tmp_path, *options, token=token)
    assert process.wait(15) == 2
    assert says in (tmp_path / "errors").read_text()


def test_watch_comes_back_to_a_server_that_is_not_there_yet(node: Server, tmp_path: Path) -> None:
    from tests.system.server import free_port

    process = watch(node, tmp_path, "--url", f"http://127.0.0.1:{free_port()}")
    try:
        wait_until(lambda: (tmp_path / "errors").read_text().count("no connection") >= 2, "two attempts")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
