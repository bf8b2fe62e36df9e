"""``pacs-actors reconcile``: objects and index are held against each other, both ways, and what is safe is fixed (F35)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import peers
from tests.system.command_line import ran
from tests.system.peers import Instance
from tests.system.server import Server, running

SUCCESS = 0x0000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of this module's own: its tests damage what it keeps. Objects are files, so that tests can move them."""
    options = ("--integrity.cycle-days=0", "--storage.layout=files")
    with running(Server(tmp_path_factory.mktemp("reconcile") / "data", workers=1, options=options)) as server:
        yield server


def stored(server: Server, number: int) -> list[Instance]:
    """New instances, in the index."""
    instances = [peers.make() for _ in range(number)]
    assert peers.send(server, *instances) == [SUCCESS] * number
    for one in instances:
        peers.find(server, "STUDY", {"StudyInstanceUID": one.study})
    return instances


def key_of(server: Server, instance: Instance) -> str:
    (key,) = server.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid = '{instance.uid}'")
    return key


def file_of(server: Server, instance: Instance) -> Path:
    slot, batch, name = key_of(server, instance).split("/")
    return server.data / "objects" / slot / batch[:5] / batch / name


def aside(server: Server, instance: Instance, why: str) -> Path:
    """Where its object would be in quarantine."""
    return server.data / "quarantine" / why / key_of(server, instance).replace("/", "-")


def change(server: Server, instance: Instance, assignment: str) -> None:
    server.sql(f"UPDATE instances SET {assignment} WHERE sop_instance_uid = '{instance.uid}'")


def reconcile(server: Server, *options: str) -> tuple[int, Any]:
    done = ran("reconcile", "--json", "--data", server.data, *options)
    assert done.stdout, done
    return done.returncode, json.loads(done.stdout)


def listed(report: Any, kind: str) -> list[tuple[str, bool]]:
    """(SOP Instance UID, or what else it is about; fixed or not)"""
    return sorted(
        (one["sop_instance_uid"] or one["subject"], one["fixed"])
        for one in report["list"]
        if one["kind"] == kind
    )


def is_served(server: Server, *instances: Instance) -> bool:
    for one in instances:
        _, inbox = peers.get(server, [one], "STUDY", {"StudyInstanceUID": one.study})
        if one.uid not in inbox.received or inbox.received[one.uid][1] != one.data:
            return False
    return True


def test_an_archive_that_agrees_is_clean(server: Server) -> None:
    stored(server, 3)
    assert reconcile(server) == (0, {"objects": 3, "found": {}, "fixed": {}, "left": 0, "list": []})


def test_every_kind_of_damage_is_found_and_what_is_safe_is_fixed(server: Server) -> None:
    (unindexed, lost, moved, copied, resized, other_digest, miscounted, deleted, kept_aside) = stored(
        server, 9
    )
    lost_key, stray = key_of(server, lost), file_of(server, lost).with_name("readme.txt")
    server.sql(f"DELETE FROM instances WHERE sop_instance_uid = '{unindexed.uid}'")
    file_of(server, lost).unlink()
    file_of(server, moved).rename(aside(server, moved, "conflict"))
    # The object under another name of ours, and no row of it: what a crash in the middle of a restore leaves.
    file_of(server, copied).rename(file_of(server, copied).with_name(f"{'5' * 32}.dcm"))
    change(server, resized, "size_bytes = size_bytes + 7, data_offset = 1")
    change(server, other_digest, r"digest = '\x00112233445566778899aabbccddeeff'")
    server.sql(
        "UPDATE studies SET number_of_instances = 7, modalities_in_study = '{MR}' "
        f"WHERE study_instance_uid = '{miscounted.study}'"
    )
    server.sql("UPDATE archive_totals SET instances = instances + 3")
    shutil.copy(file_of(server, kept_aside), aside(server, kept_aside, "damaged"))
    status, body = server.ask("DELETE", f"/api/v1/studies/{deleted.study}", token=server.token)
    assert status == 200, body
    gone = server.data / "quarantine" / "deleted"
    peers.wait_until(lambda: any(gone.iterdir()), "the deleted object to be moved aside")
    next(gone.iterdir()).unlink()
    server.sql(
        "INSERT INTO quarantine (sop_instance_uid, object_key, first_key, digest, size_bytes, why, source) VALUES "
        f"('1.2.3', 'quarantine/damaged/0-00000000-{'6' * 32}.dcm', '', '', 1, 'damaged', 'X')"
    )
    stray.write_text("not ours")

    code, found = reconcile(server)
    assert code == 1
    assert found["fixed"] == dict.fromkeys(found["found"], 0)
    assert listed(found, "unindexed") == sorted([(unindexed.uid, False), (copied.uid, False)])
    assert listed(found, "lost") == sorted([(lost.uid, False), (moved.uid, False), (copied.uid, False)])
    assert listed(found, "disagrees") == sorted([(resized.uid, False), (other_digest.uid, False)])
    assert (miscounted.study, False) in listed(found, "counts")
    assert ("archive", False) in listed(found, "counts")
    assert listed(found, "deleted_lost") == [(deleted.uid, False)]
    assert listed(found, "quarantine_lost") == [("1.2.3", False)]
    assert len(listed(found, "quarantine_unknown")) == 2
    assert listed(found, "stray") == [(str(stray.relative_to(server.data)), False)]
    assert found["left"] == sum(found["found"].values())
    assert reconcile(server)[1]["found"] == found["found"], "looking changes nothing"

    code, fixed = reconcile(server, "--fix")
    assert code == 1
    assert listed(fixed, "unindexed") == sorted([(unindexed.uid, True), (copied.uid, True)])
    assert listed(fixed, "lost") == sorted([(lost.uid, False), (moved.uid, True)]), (
        "the other has been indexed"
    )
    assert listed(fixed, "disagrees") == sorted([(resized.uid, True), (other_digest.uid, False)])
    assert is_served(server, unindexed, moved, copied, resized, miscounted, kept_aside)

    code, left = reconcile(server, "--fix")
    assert code == 1
    assert left["found"] == {
        "lost": 1, "disagrees": 1, "deleted_lost": 1, "quarantine_lost": 1, "stray": 1,
    }  # fmt: skip
    assert [one["subject"] for one in left["list"] if one["kind"] == "lost"] == [lost_key]

    assert peers.send(server, lost) == [SUCCESS], "who has it sends it again"
    peers.wait_until(lambda: key_of(server, lost) != lost_key, "it to be healed")
    stray.unlink()
    server.sql("DELETE FROM quarantine WHERE sop_instance_uid = '1.2.3'")
    server.sql(f"DELETE FROM deleted_instances WHERE sop_instance_uid = '{deleted.uid}'")
    server.sql(f"DELETE FROM instances WHERE sop_instance_uid = '{other_digest.uid}'")
    assert reconcile(server, "--fix")[0] == 0
    assert is_served(server, lost, other_digest)


def test_what_the_server_is_asked_for_it_does_and_lists(server: Server) -> None:
    unindexed, lost = stored(server, 2)
    server.sql(f"DELETE FROM instances WHERE sop_instance_uid = '{unindexed.uid}'")
    whole = file_of(server, lost)
    hidden = whole.rename(server.data / "hidden")
    assert asked(server, fix=True)["fixed"] == 3, "the object, its study, the totals"
    found = json.loads(server.get("/api/v1/integrity/findings")[1])["items"]
    assert [(one["kind"], one["sop_instance_uid"]) for one in found] == [("lost", lost.uid)]
    assert is_served(server, unindexed)
    hidden.rename(whole)
    assert asked(server)["found"] == 0
    assert json.loads(server.get("/api/v1/integrity/findings")[1])["items"] == []
    available = f"SELECT availability FROM instances WHERE sop_instance_uid = '{lost.uid}'"
    assert server.sql(available) == ["ONLINE"]
    assert is_served(server, lost)


def asked(server: Server, *, fix: bool = False) -> Any:
    """Ask the server to reconcile and wait for the end; the run."""
    status, body = server.ask("POST", "/api/v1/integrity/reconcile", {"fix": fix}, token=server.token)
    assert status == 202, body
    number = json.loads(body)["id"]

    def last() -> Any:
        return json.loads(server.get("/api/v1/integrity")[1])["reconcile"]["last"]

    peers.wait_until(lambda: (last() or {}).get("id") == number, "the run to end")
    return last()


def test_the_index_comes_back_from_the_objects_when_the_database_is_gone(server: Server) -> None:
    instances = stored(server, 3)
    objects = len(server.objects())
    assert server.stop() == 0
    leftover = server.data / "tmp" / "0" / "half.dcm"
    leftover.write_bytes(b"half")
    shutil.rmtree(server.data / "postgres")
    code, found = reconcile(server)
    assert (code, found["found"]["unindexed"], found["found"]["leftover"]) == (1, objects, 1)
    code, fixed = reconcile(server, "--fix")
    assert (code, fixed["left"], fixed["fixed"]["unindexed"]) == (0, 0, objects)
    assert not leftover.exists()
    assert reconcile(server) == (0, {"objects": objects, "found": {}, "fixed": {}, "left": 0, "list": []})
    server.start()
    assert is_served(server, *instances)


def test_without_objects_it_cannot_run(tmp_path: Path) -> None:
    done = ran("reconcile", "--data", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there are no objects" in done.stderr
