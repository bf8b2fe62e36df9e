"""What the server tells of its storage: how long its steps take, and what somebody has to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from tests.system import peers, stow
from tests.system.dicomweb import Client
from tests.system.raw_peer import eventually
from tests.system.server import Server, running


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "cold"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def server(cold: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("watched")
    config = root / "pacs.toml"
    config.write_text(f'[stores.cold]\nkind = "folder"\npath = "{cold}"\nreserve_bytes = 0\n')
    with running(Server(root / "data", workers=2, options=("--config", str(config)))) as started:
        yield started


def storage(server: Server, path: str = "", body: object = None) -> Any:
    method = "GET" if body is None else "POST"
    status, answer = server.ask(method, f"/api/v1/storage{path}", body, token=server.token, within_s=30)
    assert status < 300, answer
    return json.loads(answer)


def paths(server: Server) -> dict[str, Any]:
    return {one["name"]: one for one in storage(server)["paths"]}


def alerts(server: Server, event: str) -> set[str]:
    return {one["alert"] for one in server.logged(event)}


def moved(server: Server, study: str, **move: str) -> None:
    number = storage(server, "/moves", {"study_instance_uid": study, **move})["id"]

    def ended() -> bool:
        items = storage(server, "/moves?state=done,failed")["items"]
        return any(one["id"] == number and one["state"] == "done" for one in items)

    eventually(ended, what="the move")


def test_each_step_that_was_walked_is_told_and_the_slowest_comes_first(server: Server) -> None:
    study = generate_uid()
    series = {"StudyInstanceUID": study, "SeriesInstanceUID": generate_uid()}
    instances = [peers.make(**series) for _ in range(3)]
    assert stow.store(server, *instances).status == 200
    with Client(server) as client:
        assert len(json.loads(client.get(f"/studies/{study}/instances").body)) == 3
    moved(server, study, from_store="online", to_store="cold")
    with Client(server) as client:
        assert client.get(f"/studies/{study}").status == 200
    wanted = {"commit", "open", "index batch", "put cold", "verify cold", "get cold", "recall"}
    eventually(lambda: paths(server).keys() >= wanted, what="the status of all workers")
    told = storage(server)["paths"]
    assert all(0 < one["p50_ms"] <= one["p99_ms"] and one["count"] > 0 for one in told)
    assert [one["p99_ms"] for one in told] == sorted((one["p99_ms"] for one in told), reverse=True)
    assert paths(server)["put cold"]["count"] == 3
    assert paths(server)["commit"]["count"] >= 3


def test_a_clock_in_doubt_and_failed_moves_are_alerts_until_they_are_settled(server: Server) -> None:
    eventually(lambda: server.sql("SELECT 1 FROM lifecycle_clock"), what="the scheduler's first look")
    server.sql("UPDATE lifecycle_clock SET doubted_since = now()")
    server.sql(
        "INSERT INTO tier_moves (study_instance_uid, to_store, why, state, ended_at)"
        " VALUES ('1.2.3', 'cold', 'test', 'failed', now())"
    )
    wanted = {"clock_doubted", "moves_failed"}
    eventually(lambda: alerts(server, "alert_raised") >= wanted, what="the alerts")
    server.sql("UPDATE lifecycle_clock SET doubted_since = NULL")
    server.sql("DELETE FROM tier_moves WHERE study_instance_uid = '1.2.3'")
    eventually(lambda: alerts(server, "alert_cleared") >= wanted, what="their end")


@pytest.mark.slow
def test_a_store_that_is_away_for_a_minute_is_an_alert_until_it_is_back(server: Server, cold: Path) -> None:
    away = cold.with_name("away")
    cold.rename(away)
    try:
        eventually(
            lambda: "store_silent.cold" in alerts(server, "alert_raised"), what="the alert", within_s=180
        )
    finally:
        away.rename(cold)
    eventually(lambda: "store_silent.cold" in alerts(server, "alert_cleared"), within_s=90)


def test_a_store_that_is_away_is_said_to_be_so_at_once(server: Server, cold: Path) -> None:
    def problem() -> str:
        (store,) = storage(server)["stores"]
        return str(store["problem"])

    assert problem() == ""
    away = cold.with_name("away")
    cold.rename(away)
    try:
        assert "store cold" in problem()
    finally:
        away.rename(cold)
    assert problem() == ""
