"""``pacs-actors index rebuild``: the index is a copy, and can be made again from the objects."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisors.node import own_data_folder
from tests.system import peers
from tests.system.command_line import Done, ran
from tests.system.peers import Instance
from tests.system.server import Server, running

SUCCESS = 0x0000
EVERYTHING = (
    "SELECT (SELECT count(*) FROM patients), (SELECT count(*) FROM studies), (SELECT count(*) FROM instances)"
)
WHOSE = "SELECT p.patient_id FROM studies s JOIN patients p ON p.id = s.patient WHERE s.study_instance_uid = "


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of this module's own: its tests stop it and break its database."""
    with running(Server(Path(tmp_path_factory.mktemp("rebuild")) / "data", workers=1)) as server:
        yield server


@pytest.fixture(scope="module")
def instances(server: Server) -> list[Instance]:
    """The first says nothing of its patient, the second of the same study does."""
    instances = [peers.make(PatientID="")]
    instances.append(peers.make(StudyInstanceUID=instances[0].study, PatientID="KNOWN"))
    instances += [peers.make(PatientID=f"P{n}") for n in range(4)]
    assert peers.send(server, *instances) == [SUCCESS] * 6
    peers.wait_until(lambda: server.sql(EVERYTHING) == ["5|5|6"], "all to be indexed")
    return instances


def rebuild(server: Server, *options: str) -> Done:
    return ran("index", "rebuild", "--json", "--data", server.data, *options)


def told(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def all_are_found(server: Server, instances: list[Instance]) -> None:
    assert server.sql(EVERYTHING) == ["5|5|6"]
    assert server.sql(f"{WHOSE}'{instances[0].study}'") == ["KNOWN"]
    for one in instances:
        _, inbox = peers.get(server, [one], "STUDY", {"StudyInstanceUID": one.study})
        assert inbox.received[one.uid] == (one.syntax, one.data)


def test_beside_a_running_server_what_is_missing_is_indexed(
    server: Server, instances: list[Instance]
) -> None:
    server.sql(f"DELETE FROM instances WHERE sop_instance_uid = '{instances[0].uid}'")
    assert told(rebuild(server))["indexed"] == 1
    all_are_found(server, instances)


def test_a_running_servers_index_is_not_emptied(server: Server, instances: list[Instance]) -> None:
    """Whatever database it uses: it is the server's lock that counts."""
    done = rebuild(server, "--from-scratch", "--database.url", "postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode != 0
    assert "stop it first, or leave out --from-scratch" in done.stderr
    assert "Traceback" not in done.stderr
    all_are_found(server, instances)


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param(False, id="emptied", marks=pytest.mark.slow),
        pytest.param(True, id="database folder gone"),
    ],
)
def test_the_index_of_a_stopped_server_is_made_again(
    server: Server, instances: list[Instance], gone: bool
) -> None:
    assert server.stop() == 0
    if gone:
        shutil.rmtree(server.data / "postgres")
    done = told(rebuild(server) if gone else rebuild(server, "--from-scratch"))
    assert done == {"indexed": 6, "duplicates": 0, "conflicts": 0, "damaged": 0, "unreadable": 0}
    server.start()
    all_are_found(server, instances)


def test_a_server_whose_database_is_gone_has_to_be_stopped_first(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    with own_data_folder(tmp_path):
        done = rebuild(Server(tmp_path))
    assert done.returncode != 0
    assert "its database does not answer: stop it, then run this again" in done.stderr
    assert "Traceback" not in done.stderr
