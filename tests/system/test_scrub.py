"""``pacs-actors scrub`` and the scrubber of a running server: what the medium has changed is found, and never sent as good (F6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import peers
from tests.system.command_line import Done, ran
from tests.system.peers import Instance
from tests.system.server import Server, running

SUCCESS = 0x0000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of this module's own: its tests damage what it keeps. It scrubs by itself only when it is asked to."""
    options = ("--integrity.cycle-days=0",)
    with running(Server(tmp_path_factory.mktemp("scrub") / "data", workers=1, options=options)) as server:
        yield server


def stored(server: Server, number: int = 1) -> list[Instance]:
    """New instances, in the index."""
    instances = [peers.make(PixelData=bytes(4000), BitsAllocated=16) for _ in range(number)]
    assert peers.send(server, *instances) == [SUCCESS] * number
    for one in instances:
        peers.find(server, "STUDY", {"StudyInstanceUID": one.study})
    return instances


def key_of(server: Server, instance: Instance) -> str:
    (key,) = server.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid = '{instance.uid}'")
    return key


def place_of(server: Server, instance: Instance) -> tuple[Path, int]:
    """The file that has its object, and where in it that begins."""
    slot, batch, name = key_of(server, instance).split("/")
    folder = server.data / "objects" / slot / batch[:5] / batch
    return (folder / name, 0) if name.endswith(".dcm") else (folder / "segment", int(name, 16) * 4096)


def flip(server: Server, instance: Instance, offset: int = 900) -> None:
    path, start = place_of(server, instance)
    with path.open("r+b") as file:
        file.seek(start + offset)
        (byte,) = file.read(1)
        file.seek(start + offset)
        file.write(bytes([byte ^ 1]))


def scrub(server: Server, *options: str) -> Done:
    return ran("scrub", "--data", server.data, *options)


def uids(done: Done) -> list[str]:
    return [line.split()[0] for line in done.stdout.splitlines()[:-1]]


def integrity(server: Server) -> Any:
    status, body = server.get("/api/v1/integrity")
    assert status == 200, body
    return json.loads(body)


def scrubbed_when_asked(server: Server) -> Any:
    """Ask the server for a scrub and wait for its end; the run."""
    status, body = server.ask("POST", "/api/v1/integrity/scrub", token=server.token)
    assert status == 202, body
    number = json.loads(body)["id"]
    peers.wait_until(lambda: ended(server, number), "the scrub to end")
    return integrity(server)["scrub"]["last"]


def ended(server: Server, number: int) -> bool:
    last = integrity(server)["scrub"]["last"]
    return last is not None and last["id"] == number


def test_an_archive_that_is_well_is_found_well(server: Server) -> None:
    stored(server, 3)
    done = scrub(server)
    assert (done.returncode, uids(done)) == (0, []), done
    assert "Read 3 objects" in done.stdout


@pytest.mark.parametrize("offset", [900, 30], ids=["a byte of its data set", "a byte of its record"])
def test_one_flipped_byte_is_found_and_nothing_else(server: Server, offset: int) -> None:
    flipped, _ = stored(server, 2)
    flip(server, flipped, offset)
    done = scrub(server)
    assert (done.returncode, uids(done)) == (1, [flipped.uid])
    as_json = json.loads(scrub(server, "--json").stdout)
    assert [one["sop_instance_uid"] for one in as_json["list"]] == [flipped.uid]
    assert server.sql("SELECT count(*) FROM integrity_findings") == ["0"], "only told"
    flip(server, flipped, offset)
    assert scrub(server).returncode == 0


def test_what_the_server_finds_is_never_sent_again_until_it_comes_anew(server: Server) -> None:
    """Quarantined, audited, alarmed, told by every way; and healed when its sender sends it once more."""
    flipped, other = stored(server, 2)
    flip(server, flipped)
    last = scrubbed_when_asked(server)
    assert (last["found"], last["fixed"], last["problem"]) == (1, 0, "")
    assert last["objects"] == int(server.sql("SELECT count(*) FROM instances")[0])

    _, inbox = peers.get(server, [flipped], "STUDY", {"StudyInstanceUID": flipped.study})
    assert inbox.received == {}
    path = f"/dicom-web/studies/{flipped.study}/series/{flipped.series}/instances/{flipped.uid}"
    status, body = server.ask("GET", path, token=server.token)
    assert status >= 400 and flipped.data[-1000:] not in body
    assert server.sql(f"SELECT availability FROM studies WHERE study_instance_uid = '{flipped.study}'") == [
        "UNAVAILABLE"
    ]
    _, inbox = peers.get(server, [other], "STUDY", {"StudyInstanceUID": other.study})
    assert inbox.received[other.uid][1] == other.data

    quarantine = json.loads(server.get("/api/v1/quarantine")[1])["items"]
    assert [(one["sop_instance_uid"], one["why"]) for one in quarantine] == [(flipped.uid, "damaged")]
    findings = json.loads(server.get("/api/v1/integrity/findings")[1])["items"]
    assert [(one["kind"], one["sop_instance_uid"]) for one in findings] == [("corrupt", flipped.uid)]
    assert integrity(server)["findings"] == {"corrupt": 1}
    audited = server.sql(
        f"SELECT outcome, uids[1], details->>'condition' FROM audit_events WHERE event = 'object_damaged' "
        f"AND '{flipped.uid}' = ANY (uids)"
    )
    assert audited == [f"failure|{flipped.study}|corrupt"]
    peers.wait_until(
        lambda: "damaged_objects" in {one["alert"] for one in server.logged("alert_raised")}, "the alert"
    )
    done = scrub(server)
    assert (done.returncode, uids(done)) == (1, [flipped.uid]), "still: its object is gone"

    assert peers.send(server, flipped) == [SUCCESS]
    peers.wait_until(lambda: integrity(server)["findings"] == {}, "the finding to be settled")
    _, inbox = peers.get(server, [flipped], "STUDY", {"StudyInstanceUID": flipped.study})
    assert inbox.received[flipped.uid][1] == flipped.data
    assert server.sql(f"SELECT availability FROM studies WHERE study_instance_uid = '{flipped.study}'") == [
        "ONLINE"
    ]
    assert scrub(server).returncode == 0


def test_a_scrub_that_somebody_asks_for_twice_is_one_and_audited(server: Server) -> None:
    before = server.sql("SELECT count(*) FROM integrity_runs")[0]
    assert scrubbed_when_asked(server)["asked_by"] == "admin"
    assert int(server.sql("SELECT count(*) FROM integrity_runs")[0]) == int(before) + 1
    assert int(server.sql("SELECT count(*) FROM audit_events WHERE event = 'integrity_asked'")[0]) >= 1


def test_the_counters_of_the_status_tell_of_it(server: Server) -> None:
    scrubbed_when_asked(server)
    peers.wait_until(
        lambda: server.status()["workers"][0]["counters"]["scrub_objects"] > 0, "the counters to move"
    )


def test_a_stopped_server_is_scrubbed_with_and_without_its_database(server: Server) -> None:
    flipped, gone = stored(server, 2)
    flip(server, flipped)
    place, start = place_of(server, gone)
    if not start:
        place.unlink()
    assert server.stop() == 0
    done = scrub(server, "--rate", "500")
    expected = {flipped.uid} if start else {flipped.uid, gone.uid}
    assert (done.returncode, set(uids(done))) == (1, expected)
    aside = server.data / "postgres-aside"
    (server.data / "postgres").rename(aside)
    done = scrub(server)
    assert (done.returncode, uids(done)) == (1, [flipped.uid]), "objects are their own witnesses"
    assert "without the index" in done.stderr
    assert not (server.data / "postgres").exists(), "nothing is made"
    aside.rename(server.data / "postgres")
    done = scrub(server, "--quarantine")
    assert (done.returncode, set(uids(done))) == (1, expected)
    assert any(one.parent.name == "damaged" for one in server.quarantined())
    server.start()
    assert integrity(server)["findings"]["corrupt"] == 1
    peers.send(server, flipped, gone)


def test_there_is_nothing_to_scrub_where_there_are_no_objects(tmp_path: Path) -> None:
    done = scrub(Server(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there are no objects" in done.stderr
