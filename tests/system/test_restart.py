"""What a server promises when it starts, and starts again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import peers
from tests.system.server import Server, free_port, running
from tests.system.test_commitment import MODEL, Reports, action, asking, listed, named, request

SUCCESS = 0x0000


@pytest.fixture(scope="module")
def report_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory, report_port: int) -> Iterator[Server]:
    """A server of this module's own: its tests stop and start it."""
    data = Path(tmp_path_factory.mktemp("restart")) / "data"
    with running(Server(data, nodes=[f"DEST=127.0.0.1:{report_port}"])) as server:
        yield server


def test_a_new_server_is_ready_only_when_it_has_its_tables(restarted: Server) -> None:
    """The fixture asks again as soon as it hears that the server is ready: the first answer counts."""
    assert restarted.get("/api/v1/status")[0] == 200
    assert restarted.sql("SELECT count(*) FROM studies") == ["0"]


@pytest.mark.parametrize(
    "end",
    [pytest.param(Server.stop, id="stopped", marks=pytest.mark.slow), pytest.param(Server.kill, id="killed")],
)
def test_a_commitment_that_was_promised_is_reported_after_a_restart(
    restarted: Server, report_port: int, end: Callable[[Server], Any]
) -> None:
    instance = peers.make()
    assert peers.send(restarted, instance) == [SUCCESS]
    information = action(named(instance))
    row = f"commitment_requests WHERE transaction_uid = '{information.TransactionUID}'"
    with asking(restarted, "DEST") as association:
        assert request(association, information) == SUCCESS
    end(restarted)
    restarted.start()
    assert restarted.sql(f"SELECT state FROM {row}") in (["received"], ["checked"]), (
        "nobody was there to hear it"
    )
    reports = Reports()
    with peers.listening(report_port, [(peers.CT, peers.EXPLICIT)], handlers=reports.handlers, scu=[MODEL]):
        restarted.sql(
            f"UPDATE {row.replace('WHERE', 'SET next_attempt_at = now() WHERE')}"
        )  # its time has come
        _, told = reports.wait()
    assert told.TransactionUID == information.TransactionUID
    assert listed(told) == set(named(instance))
    peers.wait_until(
        lambda: restarted.sql(f"SELECT state FROM {row}") == ["reported"], "the request to be done"
    )
    _, inbox = peers.get(restarted, [instance], "STUDY", {"StudyInstanceUID": instance.study})
    assert inbox.received[instance.uid] == (instance.syntax, instance.data)
