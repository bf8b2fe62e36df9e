"""The audit of a running server: chained, anchored, beyond the reach of the workers, sent on, and verified by command."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import fromstring

import pytest
import trio
from pydicom.uid import generate_uid

from supervisors.cli import main
from tests.pacs_actors.audit.audit_schema import problems
from tests.pacs_actors.audit.receiver import Receiver, row_of
from tests.system import peers
from tests.system.certificates import Authority
from tests.system.peers import wait_until
from tests.system.server import Server, dsn_of, free_port, running


class Site(NamedTuple):
    server: Server
    receiver: Receiver
    study: str


def command(server: Server, *arguments: object, code: int = 0) -> str:
    """``pacs-actors audit``, in this process: what it writes to standard output."""
    words = ["audit", *map(str, arguments), "--data", str(server.data)]
    root, out = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    try:
        with contextlib.redirect_stdout(out):
            assert main(words) == code, out.getvalue()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return out.getvalue()


def verify(server: Server, code: int = 0) -> Any:
    return json.loads(command(server, "verify", "--json", code=code))


def tamper(server: Server, statement: str) -> None:
    """As the database's superuser, without triggers."""
    off = "ALTER TABLE audit_events DISABLE TRIGGER ALL"
    on = ";".join(
        f"ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_{name}"
        for name in ("chain", "append_only")
    )
    subprocess.run(
        ["psql", dsn_of(server.data).replace("pacs@", "postgres@"), "-XAtq", "-v", "ON_ERROR_STOP=1"],
        input=";".join([off, statement, on]),
        text=True, check=True, timeout=30,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose syslog receiver is not there yet, after one study was stored and looked for."""
    folder = tmp_path_factory.mktemp("audited")
    authority = Authority(folder, "ca")
    receiver = Receiver(authority, authority.issue("127.0.0.1"), port=free_port())
    options = (
        "--audit.anchor-rows=1", "--audit.syslog-host=127.0.0.1", f"--audit.syslog-port={receiver.port}",
        f"--audit.syslog-ca={authority.file}", "--audit.source-id=NORTH",
    )  # fmt: skip
    with running(Server(folder / "data", options=options)) as server:
        study = generate_uid()
        peers.send(server, peers.make(StudyInstanceUID=study, PatientName="Never^Audited", PatientID="AUD-1"))
        of_study = f"SELECT event FROM audit_events WHERE uids @> ARRAY['{study}']"
        wait_until(lambda: server.sql(of_study) == ["store"], "the audit of the store")
        yield Site(server, receiver, study)


def test_workers_are_not_who_owns_the_audit(site: Site) -> None:
    users = site.server.sql(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'pacs-actors'"
    )
    assert users == ["pacs_app"]
    assert site.server.logged("audit_changeable") == []


def test_what_happens_is_in_the_audit_without_any_name_of_a_patient(site: Site) -> None:
    rows = site.server.sql("SELECT event, outcome, via, patient_id, audit_events::text FROM audit_events")
    assert {row.split("|")[0] for row in rows} >= {"started", "association", "store"}
    assert any(row.startswith("store|success|ae|AUD-1|") for row in rows)
    assert not any("Never" in row for row in rows)


def test_a_running_servers_audit_is_verified_up_to_its_anchors(site: Site) -> None:
    wait_until(
        lambda: verify(site.server)["anchors"] > 0 and site.server.logged("audit_anchored"), "an anchor"
    )
    found = verify(site.server)
    assert (found["whole"], found["findings"], found["unreadable_anchor_lines"]) == (True, [], [])
    assert found["rows"] == found["last"]["row"] > 2
    logged = {line["row"]: line["hash"] for line in site.server.logged("audit_anchored")}
    row, row_hash = max(logged.items())
    assert site.server.sql(f"SELECT encode(hash, 'hex') FROM audit_events WHERE id = {row}") == [row_hash]


def test_the_audit_is_searched_and_the_search_is_audited(site: Site) -> None:
    found = json.loads(command(site.server, "search", "--json", "--patient-id", "AUD-1"))
    assert [(row["event"], row["uids"]) for row in found] == [("store", [site.study])]
    assert "audit_read" in command(site.server, "search", "-n", "5", "--from", "2020-01-01")
    assert command(site.server, "search", "--to", "2020-01-01") == ""
    command(site.server, "search", "--from", "yesterday", code=2)


def test_the_audit_is_exported_in_three_formats(site: Site, tmp_path: Path) -> None:
    for kind in ("xml", "jsonl", "csv"):
        command(site.server, "export", "--format", kind, "-o", tmp_path / kind, "--event", "store")
    messages = fromstring((tmp_path / "xml").read_bytes())
    assert messages.tag == "AuditMessages"
    assert len(messages) == 1
    assert problems(messages[0]) == []
    assert messages[0].find("AuditSourceIdentification").get("AuditSourceID") == "PACS"  # type: ignore[union-attr]
    (line,) = (tmp_path / "jsonl").read_text().splitlines()
    (row,) = csv.DictReader(io.StringIO((tmp_path / "csv").read_bytes().decode(), newline=""))
    assert json.loads(line)["uids"] == [row["uids"]] == [site.study]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["csv", "jsonl", "xml"]


async def test_rows_wait_for_the_syslog_receiver_and_the_status_says_how_many(site: Site) -> None:
    def lag() -> int:
        counters = [worker["counters"] for worker in site.server.status()["workers"]]
        return max(each.get("audit_syslog_lag", 0) for each in counters)

    async def until(condition: Any) -> None:
        with trio.fail_after(40):
            while not await trio.to_thread.run_sync(condition):
                await trio.sleep(0.05)

    await until(lambda: lag() > 2)
    last = int(site.server.sql("SELECT max(id) FROM audit_events")[0])
    async with site.receiver.listening():
        await until(lambda: {row_of(frame) for frame in site.receiver.frames} >= set(range(1, last + 1)))
    assert b'AuditSourceID="NORTH"' in site.receiver.frames[0]


def test_a_change_behind_our_back_is_found_and_the_row_named(site: Site) -> None:
    tamper(site.server, "UPDATE audit_events SET who = 'NOBODY' WHERE id = 2")
    assert verify(site.server, code=1)["findings"] == [{"row": 2, "what": "it is not what was written"}]
    assert "row 2: it is not what was written" in command(site.server, "verify", code=1)


def test_an_end_that_was_cut_off_is_found_by_the_anchors(site: Site) -> None:
    whole = verify(site.server, code=1)
    wait_until(
        lambda: site.server.logged("audit_anchored")[-1]["row"] >= whole["rows"], "the end is anchored"
    )
    tamper(site.server, f"DELETE FROM audit_events WHERE id >= {whole['rows']}")
    found = verify(site.server, code=1)["findings"]
    assert [each["row"] for each in found] == [2, whole["rows"]]


def test_the_last_row_is_anchored_at_the_stop_and_a_stopped_server_is_verified(site: Site) -> None:
    site.server.stop()
    found = verify(site.server, code=1)
    anchors = (site.server.data / "audit" / "anchors.jsonl").read_text().splitlines()
    assert json.loads(anchors[-1])["id"] == found["last"]["row"]
    assert json.loads(anchors[-1])["hash"] == found["last"]["hash"]
