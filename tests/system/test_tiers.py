"""Studies move between tiers by policy and by hand, come back when somebody wants them, and none is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from tests.system import peers, stow
from tests.system.dicomweb import Client, path_of
from tests.system.server import Server, running

NEAR, FAR = "nas", "vault"


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("tiers")
    (root / NEAR).mkdir()
    (root / FAR).mkdir()
    config = root / "pacs.toml"
    config.write_text(
        f"""
        [lifecycle]
        every_s = 3600
        [stores.{NEAR}]
        kind = "folder"
        path = "{root / NEAR}"
        reserve_bytes = 0
        [stores.{FAR}]
        kind = "folder"
        tier = "archive"
        path = "{root / FAR}"
        reserve_bytes = 0
        """
    )
    with running(Server(root / "data", workers=2, options=("--config", str(config)))) as server:
        yield server


Study = list[peers.Instance]


def stored(server: Server, instances: int = 3, **attributes: Any) -> Study:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    study = [
        peers.make(**{**uids, "PatientID": f"T{uids['StudyInstanceUID'][-12:]}", "Modality": "CT", **attributes})
        for _ in range(instances)
    ]
    assert stow.store(server, *study).status == 200
    with Client(server) as client:
        assert len(json.loads(client.get(f"/studies/{study[0].study}/instances").body)) == instances
    return study


def ask(server: Server, method: str, path: str, body: object = None) -> tuple[int, Any]:
    status, answer = server.ask(method, f"/api/v1{path}", body, token=server.token, within_s=30)
    return status, json.loads(answer) if answer else None


def done(server: Server, method: str, path: str, body: object = None) -> Any:
    status, answer = ask(server, method, path, body)
    assert status < 300, (status, answer)
    return answer


def settled(server: Server, number: int) -> dict[str, Any]:
    """A move, once it has ended."""

    def find() -> dict[str, Any] | None:
        found = done(server, "GET", "/storage/moves?state=done,failed,cancelled&limit=500")["items"]
        return next((move for move in found if move["id"] == number), None)

    peers.wait_until(find, "the move has ended")
    found = find()
    assert found is not None
    return found


def moved(server: Server, study: Study, from_store: str = "", to_store: str = "", **more: Any) -> dict[str, Any]:
    asked = {"study_instance_uid": study[0].study, "from_store": from_store, "to_store": to_store, **more}
    return settled(server, done(server, "POST", "/storage/moves", asked)["id"])


def place(server: Server, study: Study) -> tuple[str, int, dict[str, int]]:
    """(availability, instances online, instances in each store)"""
    facts = done(server, "GET", f"/studies/{study[0].study}/storage")
    return facts["availability"], facts["online"], {one["store"]: one["instances"] for one in facts["copies"]}


def files(server: Server, store: str) -> list[Path]:
    return [path for path in (server.data.parent / store).rglob("*") if path.is_file() and ".dcm" in path.name]


def downloads(server: Server, study: Study) -> dict[str, str]:
    """SOP Instance UID -> SHA-256 of what the web gives for it."""
    found = {}
    with Client(server) as client:
        for one in study:
            reply = client.get(path_of(one.study, one.series, one.uid), accept="application/dicom; transfer-syntax=*")
            assert reply.status == 200, reply
            found[one.uid] = sha256(reply.body).hexdigest()
    return found


def test_a_study_moves_away_and_comes_back_when_it_is_looked_at(clinic: Server) -> None:
    study = stored(clinic)
    before = downloads(clinic, study)
    move = moved(clinic, study, "online", NEAR)
    assert (move["state"], move["done"]) == ("done", 3)
    assert place(clinic, study) == ("NEARLINE", 0, {NEAR: 3})
    answers = peers.find(
        clinic, "STUDY", {"StudyInstanceUID": study[0].study, "InstanceAvailability": ""}
    )
    assert answers.values("InstanceAvailability") == ["NEARLINE"]
    assert downloads(clinic, study) == before
    peers.wait_until(lambda: place(clinic, study) == ("ONLINE", 3, {NEAR: 3}), "all of it is back")
