"""How a server ends: killed, and who looked is in the audit all the same; told to, and downloads under way are finished."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.system import peers
from tests.system.peers import wait_until
from tests.system.server import Server, dsn_of, running
from tests.system.slow_reader import SlowReader
from tests.system.test_audit import verify
from tests.system.web_peer import fetch

LARGE_BYTES = 8 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Server(tmp_path_factory.mktemp("endings") / "data", workers=2)) as server:
        yield server


@contextmanager
def nobody_writes_the_audit(server: Server) -> Iterator[None]:
    """Whatever the workers tell stays untold as long as this lasts."""
    with subprocess.Popen(
        ["psql", dsn_of(server.data), "-XAtqc", "BEGIN; LOCK TABLE audit_events IN SHARE ROW EXCLUSIVE MODE; SELECT pg_sleep(300)"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as holder:  # fmt: skip
        held = (
            "SELECT count(*) FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND granted"
            " AND relation = 'audit_events'::regclass"
        )
        wait_until(lambda: server.sql(held) == ["1"], "the lock")
        try:
            yield
        finally:
            holder.kill()


def told(server: Server, study: str) -> list[str]:
    return server.sql(
        f"SELECT event FROM audit_events WHERE uids @> ARRAY['{study}']"
        " AND event IN ('viewed', 'downloaded', 'retrieve') ORDER BY event"
    )


def kill_workers(server: Server) -> None:
    """And what they have asked of PostgreSQL, which it would go on with."""
    before = server.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pacs_app'")
    wait_until(
        lambda: server.get("/readyz")[0] == 200 and not set(before) & set(server.worker_pids()), "new workers"
    )


def kill_everything(server: Server) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("kill", [kill_workers, kill_everything])
def test_who_looked_is_in_the_audit_once_though_it_was_not_written_before_the_kill(
    server: Server, kill: Callable[[Server], None]
) -> None:
    instance = peers.make()
    assert peers.send(server, instance) == [0]
    stored = f"SELECT 1 FROM audit_events WHERE uids @> ARRAY['{instance.study}']"
    wait_until(lambda: server.sql(stored), "the audit of the store")
    with nobody_writes_the_audit(server):
        path = f"/dicom-web/studies/{instance.study}"
        assert [fetch(server, each).status for each in (f"{path}/metadata", path)] == [200, 200]
        peers.get(server, [instance], "STUDY", {"StudyInstanceUID": instance.study})
        assert told(server, instance.study) == []
        kill(server)
    wait_until(lambda: len(told(server, instance.study)) >= 3, "what was told before the kill")
    wait_until(lambda: len(server.logged("audit_replayed")) >= 1, "the end of the replay")
    assert told(server, instance.study) == ["downloaded", "retrieve", "viewed"]
    assert verify(server)["findings"] == []


def test_a_download_under_way_at_the_end_is_finished_and_leaves_no_spool(server: Server) -> None:
    """The last of this module: it ends the server."""
    instance = peers.make(PixelData=bytes(LARGE_BYTES), Rows=2048, Columns=2048, BitsAllocated=16)
    assert peers.send(server, instance) == [0]
    reader = SlowReader(
        server, f"/dicom-web/studies/{instance.study}", 'multipart/related; type="application/dicom"'
    )
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    reader.read(for_s=3)
    assert reader.received == reader.length > LARGE_BYTES
    reader.close()
    assert server.process.wait(30) == 0
    assert not server.logged("drain_cut_short")
    assert list((server.data / "audit" / "spool").iterdir()) == []
