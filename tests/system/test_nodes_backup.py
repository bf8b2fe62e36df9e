"""A backup made on one node is of the whole archive: what other nodes have comes from the store, what does not is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.postgres_fixture import shared_server
from tests.system import peers
from tests.system.nodes import STORE, column, done, found, node, place, replicated, retrieved, sent
from tests.system.server import Server, running


def command(*words: object, code: int = 0) -> dict[str, Any]:
    """What ``pacs-actors backup`` answers."""
    ran = subprocess.run(
        [sys.executable, "-m", "supervisors.cli", "backup", *map(str, words), "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == code, (ran.returncode, ran.stdout, ran.stderr)
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


@pytest.mark.slow
def test_a_backup_of_one_node_brings_everything_of_two_back_on_one(tmp_path: Path) -> None:
    dsn = shared_server().create_database()
    first, second = (node(tmp_path, dsn, number) for number in (0, 1))
    made: dict[str, Any] = {}

    def back_up(kind: str, code: int) -> dict[str, Any]:
        options = ("--config", tmp_path / "node1.toml", *second.options[2:])
        return command(
            "create", "--data", second.data, *options, "--to", tmp_path / "backups", kind, code=code
        )

    with running(first), running(second):
        here, there, deleted = sent(second), sent(first), sent(first)
        for study in (here, there, deleted):
            replicated(second, study)
        made = back_up("--full", 0)
        assert (made["objects"], made["missing"]) == (9, 0)

        number = done(first, "DELETE", f"/studies/{deleted[0].study}")["deletion"]
        peers.wait_until(lambda: len(first.objects()) == 3, "it to be aside")
        (tmp_path / STORE).rename(tmp_path / "away")
        late = sent(first)
        peers.wait_until(lambda: found(second, late) == 3, "the other node to find it")
        made = back_up("--incremental", 1)
        assert (made["objects"], made["missing"]) == (0, 3)
        assert made["lacking"] == sorted(one.uid for one in late)
        states = column(first, "SELECT state || ' ' || missing FROM backups ORDER BY id")
        assert states == ["done 0", "incomplete 3"]
        verified = command("verify", "--from", tmp_path / "backups")
        assert verified["whole"], "what is in it is as it was written"

        partly = Server(tmp_path / "partly", workers=1)
        told = command("restore", "--from", tmp_path / "backups", "--data", partly.data, code=1)
        assert (told["missing"], told["lacking"], told["node"]) == (3, made["lacking"], 0)
        with running(partly):
            assert retrieved(partly, here + there) == {one.uid: one.data for one in here + there}
            asked, _ = peers.get(partly, late, "STUDY", {"StudyInstanceUID": late[0].study})
            assert asked.counts() == (None, 0, 3, 0)
        shutil.rmtree(partly.data)

        shutil.rmtree(tmp_path / STORE, ignore_errors=True)
        (tmp_path / "away").rename(tmp_path / STORE)
        replicated(second, late)
        made = back_up("--incremental", 0)
        assert (made["objects"], made["missing"]) == (3, 0), "what was lacking is asked for again"

    shutil.rmtree(first.data)
    shutil.rmtree(second.data)
    shutil.rmtree(tmp_path / STORE)
    restored = Server(tmp_path / "restored", workers=1)
    told = command("restore", "--from", tmp_path / "backups", "--data", restored.data)
    assert (told["missing"], told["node"], told["objects"]) == (0, 0, 12)
    with running(restored):
        everything = here + there + late
        assert retrieved(restored, everything) == {one.uid: one.data for one in everything}
        assert all(place(restored, study)[0] == 3 for study in (here, there, late))
        done(restored, "POST", f"/deletions/{number}/undo")
        peers.wait_until(
            lambda: found(restored, deleted) == 3, "what was deleted on the other node to be back"
        )
        assert retrieved(restored, deleted) == {one.uid: one.data for one in deleted}
        keys = {key.split("/")[0] for key in restored.sql("SELECT object_key FROM instances")}
        assert {int(slot) // 100 for slot in keys} == {0}, "all of it belongs to the node that is left"
        done(restored, "POST", "/integrity/reconcile", {"fix": False})

        def reconciled() -> bool:
            state = done(restored, "GET", "/integrity")["reconcile"]
            return state["running"] is None and state["last"] is not None

        peers.wait_until(reconciled, "objects and index to have been compared")
        assert done(restored, "GET", "/integrity/findings")["items"] == []
