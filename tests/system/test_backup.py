"""Backup and restore of the real server: a drill on an empty folder (FAULTS F35), and what may happen on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from pacs_actors.lifecycle.backup.places import FolderPlace
from pacs_actors.lifecycle.backup.verifying import shelf
from tests.seaweed import Seaweed, seaweed
from tests.stored_objects import StoredObject
from tests.system import peers, stow
from tests.system.command_line import ran
from tests.system.peers import Instance, wait_until
from tests.system.server import Server, running

__all__ = ["seaweed"]
SUCCESS = 0x0000
PASSWORD = "nine geese under the bridge"


def command(*arguments: object, code: int = 0) -> Any:
    """``pacs-actors backup … --json``: what it tells."""
    done = ran("backup", *arguments, "--json")
    assert done.returncode == code, done
    return json.loads(done.stdout or done.stderr)


class Site:
    """A server, where it backs up to, and what it has answered."""

    def __init__(self, server: Server, backups: Path) -> None:
        self.server, self.backups = server, backups

    def create(self, kind: str, *options: object) -> Any:
        return command("create", "--data", self.server.data, "--to", self.backups, f"--{kind}", *options)

    def restore(self, name: str, *options: object, code: int = 0) -> Any:
        return command(
            "restore", "--from", self.backups, "--data", self.backups.parent / name, *options, code=code
        )

    def store(self, *instances: Instance) -> None:
        assert peers.send(self.server, *instances) == [SUCCESS] * len(instances)

    def delete(self, instance: Instance) -> int:
        status, body = self.server.ask(
            "DELETE", f"/api/v1/studies/{instance.study}", token=self.server.token, within_s=30
        )
        assert status == 200, body
        number: int = json.loads(body)["deletion"]
        wait_until(
            lambda: self.server.sql(f"SELECT aside FROM deletions WHERE id = {number}") == ["t"], "aside"
        )
        return number


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its keeper backs up to a place of its own."""
    folder = tmp_path_factory.mktemp("backup")
    with running(Server(folder / "data", workers=1, options=[f"--backup.to={folder / 'kept'}"])) as server:
        yield server


@pytest.fixture
def site(shared: Server, tmp_path: Path) -> Site:
    if shared.process is None or shared.process.poll() is not None:
        shared.start()
    return Site(shared, tmp_path / "backups")


def bytes_of(data: Path, key: str) -> bytes:
    return StoredObject(data, key).read_bytes()


def keys_of(server: Server) -> dict[str, str]:
    rows = server.sql("SELECT sop_instance_uid, object_key FROM instances")
    return dict(row.split("|") for row in rows)


def all_are_there(server: Server, instances: list[Instance]) -> None:
    for one in instances:
        assert len(peers.find(server, "STUDY", {"StudyInstanceUID": one.study}).data) == 1
        _, inbox = peers.get(server, [one], "STUDY", {"StudyInstanceUID": one.study})
        assert inbox.received[one.uid] == (one.syntax, one.data)


class Sender(threading.Thread):
    """Sends instances until it is told to end. answered: those that were stored, in order"""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server, self._ended = server, threading.Event()
        self.answered: list[Instance] = []

    def run(self) -> None:
        while not self._ended.is_set():
            one = peers.make()
            if peers.send(self._server, one) == [SUCCESS]:
                self.answered.append(one)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(30)

    def __enter__(self) -> Sender:
        self.start()
        return self


def test_the_server_backs_up_by_itself_and_when_asked(shared: Server) -> None:
    kept = shared.data.parent / "kept"

    def states() -> list[str]:
        return shared.sql(
            f"SELECT kind, state, verified, asked_by FROM backups WHERE place = '{kept}' ORDER BY id"
        )

    wait_until(lambda: states() == ["full|done|t|"], "the first one", within_s=90)
    asked = shared.ask("POST", "/api/v1/backups", {"kind": "incremental"}, token=shared.token)
    assert asked[0] == 202, asked
    wait_until(lambda: states() == ["full|done|t|", "incremental|done|t|admin"], "that one", within_s=90)
    status, body = shared.get("/api/v1/backups")
    assert status == 200
    assert json.loads(body)["items"][0]["asked_by"] == "admin"
    audited = shared.sql("SELECT who, details->>'what' FROM audit_events WHERE event = 'exported'")
    assert audited == ["admin|backup"]
    assert command("verify", "--from", kept, "--all")["whole"]


def test_a_restore_drill(site: Site, tmp_path: Path) -> None:
    """Full, more, a deletion, incremental while images come, the machine is lost, restore, serve: all as it was."""
    server = site.server
    small, doomed = [peers.make() for _ in range(3)], peers.make()
    large = peers.make(PixelData=bytes(1_500_000), Rows=1000, Columns=750, BitsAllocated=16)
    site.store(*small, large, doomed)
    user = {"username": "reader", "password": PASSWORD, "roles": ["viewer"]}
    assert server.ask("POST", "/api/v1/users", user, token=server.token)[0] == 201
    full = site.create("full")
    assert full["verified"]

    deletion = site.delete(doomed)
    late = [peers.make() for _ in range(2)]
    assert stow.store(server, *late).status == 200
    with Sender(server) as sender:
        wait_until(lambda: len(sender.answered) >= 3, "images to come")
        answered = list(sender.answered)
        made = site.create("incremental")
        wait_until(lambda: len(sender.answered) >= len(answered) + 2, "images to come meanwhile")
    assert made["parent"] == full["id"]
    assert len(late) + len(answered) <= made["objects"] <= len(late) + len(sender.answered)
    keys = keys_of(server)

    done = site.restore("new")
    everything = [*small, large, *late, *answered]
    with running(Server(tmp_path / "new", workers=1)) as new:
        all_are_there(new, everything)
        assert peers.find(new, "STUDY", {"StudyInstanceUID": doomed.study}).data == []
        wait_until(lambda: len(keys_of(new)) >= len(everything), "what was not indexed then to be indexed")
        for one in everything:
            assert keys_of(new)[one.uid] == keys[one.uid]
            assert bytes_of(new.data, keys[one.uid]) == bytes_of(server.data, keys[one.uid])
        assert done["objects"] == made["objects"] + full["objects"]
        new.login("reader", PASSWORD)
        undone = new.ask("POST", f"/api/v1/deletions/{deletion}/undo", token=new.token, within_s=30)
        assert undone[0] == 200, undone
        all_are_there(new, [doomed])
        verdict = ran("audit", "verify", "--data", new.data)
        assert verdict.returncode == 0, verdict.stdout
        rows = new.sql("SELECT details->>'backup' FROM audit_events WHERE event = 'imported'")
        assert rows == [made["id"]]
        schedule = json.loads(new.get("/api/v1/backups/schedule")[1])
        assert (schedule["restored"]["backup"], schedule["restored"]["instances"]) == (
            made["id"],
            int(new.sql("SELECT details->>'instances' FROM audit_events WHERE event = 'imported'")[0]),
        )
        assert json.loads(server.get("/api/v1/backups/schedule")[1])["restored"] is None
        states = new.sql(
            f"SELECT kind, state, verified FROM backups WHERE place = '{site.backups}' ORDER BY id"
        )
        assert states == ["full|done|t", "incremental|done|t"]
        ended = new.sql(f"SELECT ended_at = '{made['finished']}' FROM backups WHERE name = '{made['id']}'")
        assert ended == ["t"], "a backup ended when it was made, not when it was restored"
        refused = command("create", "--data", new.data, "--to", site.backups, "--incremental", code=1)
        assert "--full" in refused["error"]["text"], "what is restored is another archive from then on"


def test_a_backup_that_is_killed_leaves_none_and_the_next_one_is_whole(site: Site) -> None:
    site.store(peers.make())
    words = ["backup", "create", "--data", str(site.server.data), "--to", str(site.backups), "--full"]
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisors.cli", *words], stderr=subprocess.DEVNULL
        )
        wait_until(lambda: list(site.backups.glob("*/index-00001")), "the index to be copied", within_s=60)
        process.kill()
        process.wait(10)
        if not shelf(FolderPlace(site.backups)).backups:
            break  # it was in the middle
        for made in shelf(FolderPlace(site.backups)).backups:
            FolderPlace(site.backups).remove(made.id)
    found = command("list", "--from", site.backups)
    assert (found["backups"], len(found["unfinished"])) == ([], 1)
    made = site.create("full")
    assert [one["id"] for one in command("list", "--from", site.backups)["backups"]] == [made["id"]]
    assert command("list", "--from", site.backups)["unfinished"] == []
    wait_until(
        lambda: site.server.sql("SELECT count(*) FROM pg_replication_slots") == ["0"],
        "nothing to hold the log",
    )
    states = site.server.sql(f"SELECT state FROM backups WHERE place = '{site.backups}' AND name <> ''")
    assert states == ["done"]


def test_a_stopped_server_is_backed_up_encrypted_verified_and_restored(site: Site, tmp_path: Path) -> None:
    one = peers.make()
    site.store(one)
    wait_until(lambda: one.uid in keys_of(site.server), "it to be indexed")
    name = keys_of(site.server)[one.uid]
    assert site.server.stop() == 0
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text("ab" * 32)
    other.write_text("cd" * 32)
    made = site.create("full", "--key-file", key)
    assert made["encrypted"]
    for refused in (
        command("verify", "--from", site.backups, code=2),
        command("verify", "--from", site.backups, "--key-file", other, code=2),
        site.restore("new", "--key-file", other, code=2),
    ):
        assert "backup.key_file" in refused["error"]["text"]
    assert not (tmp_path / "new").exists()
    assert command("verify", "--from", site.backups, "--key-file", key)["whole"]

    container = site.backups / made["id"] / "objects-00001"
    whole = container.read_bytes()
    container.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    found = command("verify", "--from", site.backups, "--key-file", key, code=1)
    (damaged,) = [each["uid"] for each in found["findings"]]
    assert damaged in found["findings"][0]["what"]
    refused = site.restore("new", "--key-file", key, code=1)
    assert damaged in refused["error"]["text"]
    assert sorted(each.name for each in tmp_path.iterdir() if "new" in each.name) == []
    container.write_bytes(whole)

    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert "not empty" in site.restore("taken", "--key-file", key, code=2)["error"]["text"]
    site.restore("new", "--key-file", key)
    assert bytes_of(tmp_path / "new", name) == bytes_of(site.server.data, name)
    assert {each.name for each in (tmp_path / "new").iterdir()} <= {
        "objects",
        "quarantine",
        "postgres",
        "audit",
    }


@pytest.mark.slow
def test_a_bucket_holds_a_chain_from_which_everything_comes_back(
    site: Site, tmp_path: Path, seaweed: Seaweed
) -> None:
    settings = seaweed.settings()
    file, bucket = tmp_path / "pacs.toml", "s3://copies/backups/drill"
    file.write_text(
        f'[stores.cold]\nkind = "s3"\nbucket = "copies"\nendpoint = "{settings.endpoint}"\n'
        f'access_key = "{settings.access_key}"\nsecret_key = "{settings.secret_key}"\n'
    )
    config = ("--config", file)
    one, other = peers.make(), peers.make()
    for kind, instance in (("full", one), ("incremental", other)):
        site.store(instance)
        made = command("create", "--data", site.server.data, "--to", bucket, f"--{kind}", *config)
        assert made["verified"]
    listed = command("list", "--from", bucket, *config)
    assert [each["kind"] for each in listed["backups"]] == ["full", "incremental"]
    assert command("verify", "--from", bucket, *config)["whole"]
    command("restore", "--from", bucket, "--data", tmp_path / "new", *config)
    with running(Server(tmp_path / "new", workers=1)) as new:
        all_are_there(new, [one, other])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_backup_of_a_chain_can_be_restored(site: Site, tmp_path: Path) -> None:
    before = len(keys_of(site.server))
    stored: list[Instance] = []
    then: dict[str, list[Instance]] = {}
    for kind in ("full", "incremental", "differential", "incremental", "full", "differential"):
        stored.append(peers.make(StudyInstanceUID=generate_uid()))
        site.store(stored[-1])
        made = site.create(kind)
        then[made["id"]] = list(stored)
    site.server.stop()
    for number, (name, instances) in enumerate(then.items()):
        site.restore(f"new-{number}", "--at", name)
        with running(Server(tmp_path / f"new-{number}", workers=1)) as new:
            all_are_there(new, instances)
            assert new.sql("SELECT count(*) FROM instances") == [str(before + len(instances))]
    command("prune", "--from", site.backups, "--keep-full", 1)
    left = [one["id"] for one in command("list", "--from", site.backups)["backups"]]
    assert left == list(then)[4:]
    assert command("verify", "--from", site.backups, "--all")["whole"]
