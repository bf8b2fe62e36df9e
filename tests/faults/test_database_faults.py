"""PostgreSQL killed (F7) or frozen (F8) under load: images are still accepted, queries fail instead of hanging, none is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pacs_actors.dicom.client import RequestFailed, RetrieveResult, Timeouts, for_find, for_get
from tests.faults.images import CT_IMAGE
from tests.faults.judge import HashingReceiver, client, judge
from tests.faults.load import Ledger, Load, wait_until
from tests.faults.rig import Rig
from tests.pace import TimeGiven
from tests.postgres_fixture import Server as Postgres
from tests.postgres_fixture import start_server
from tests.system.server import running

HEALED_WITHIN_S = 5.0
OUT_OF_RESOURCES = 0xA700
BACKLOG = 150
BUFFERS = 16
PIXEL_BYTES = 300_000
MORE_REFUSED = 60
_IMPATIENT = Timeouts(connect=5.0, association=5.0, message=10.0, response=20.0, release=2.0)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = start_server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Rig]:
    """A server of one worker, whose PostgreSQL the tests hold in their hands; small limits, so that they are reached."""
    options = (
        "--index.catch-up-s", "1", "--database.call-timeout-s", "1", "--database.connections", "16",
        "--storage.backlog", str(BACKLOG), "--storage.buffers", str(BUFFERS),
    )  # fmt: skip
    data = tmp_path_factory.mktemp("rig") / "data"
    with running(Rig(data, database=postgres.create_database(), options=options, workers=1)) as rig:
        assert isinstance(rig, Rig)
        yield rig


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill(postgres: Postgres) -> None:
    """kill -9 of the postmaster, and wait until its children have noticed: before, no other can be started."""
    assert postgres.process is not None
    orphans = children(postgres.process.pid)
    postgres.kill()
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), 20, "PostgreSQL's processes end"
    )


def kill_embedded(rig: Rig) -> None:
    """kill -9 of the embedded server's postmaster, and wait until the parent has started another."""
    lives = len(rig.logged("postgres_ready"))
    os.kill(rig.postgres_pid(), signal.SIGKILL)
    wait_until(lambda: len(rig.logged("postgres_ready")) > lives, 30, "PostgreSQL is started again")


def query_status(rig: Rig) -> int:
    """What a C-FIND for one study that does not exist is answered with; 0000H is success."""

    async def ask() -> int:
        async with client(rig, for_find(), timeouts=_IMPATIENT) as peer:
            try:
                async for _ in peer.find({"StudyInstanceUID": "1.2.3"}):
                    pass
            except RequestFailed as failed:
                return failed.status
            return 0

    return trio.run(ask)


def retrieve_status(rig: Rig) -> int:
    """The same for C-GET."""

    async def ask() -> int:
        async with client(rig, for_get(storage_classes=[CT_IMAGE]), timeouts=_IMPATIENT) as peer:
            result: RetrieveResult = await peer.get({"StudyInstanceUID": "1.2.3"}, into=HashingReceiver())
            return result.status

    return trio.run(ask)


def memory_bytes(rig: Rig) -> int:
    grown: int = rig.status()["workers"][0]["memory_bytes"]
    return grown


def wait_indexed(rig: Rig) -> None:
    """As far as it can be while more comes all the time."""
    wait_until(lambda: rig.status()["workers"][0]["backlog"] <= BACKLOG // 3, 30, "the backlog is indexed")


def test_images_are_accepted_while_postgresql_is_away_and_found_when_it_is_back(
    rig: Rig, postgres: Postgres, ledger: Ledger
) -> None:
    workers = rig.worker_pids()
    with Load(rig, ledger, senders=2, pixel_bytes=(8_000,), pause_s=0.2) as load:
        load.wait_acknowledged(10)
        kill(postgres)
        load.wait_acknowledged(10)
        assert query_status(rig) == OUT_OF_RESOURCES
        assert retrieve_status(rig) & 0xF000 in (0xA000, 0xC000)
        assert rig.get("/healthz")[0] == 200
        assert rig.get("/readyz")[0] == 503
        postgres.start()
        assert postgres.process is not None
        postmaster = postgres.process.pid
        healing = TimeGiven(lambda: [*workers, postmaster, *children(postmaster)])

        def answered() -> bool:
            status = query_status(rig)
            healing.look()
            return status == 0

        wait_until(answered, 60, "queries are answered again")
        load.wait_acknowledged(10)
    assert not ledger.refused
    assert healing.seconds <= HEALED_WITHIN_S
    judge(rig, ledger)


def test_the_embedded_postgresql_may_be_killed_under_load(tmp_path: Path, ledger: Ledger) -> None:
    with running(Rig(tmp_path / "data")) as rig:
        assert isinstance(rig, Rig)
        with Load(rig, ledger) as load:
            for _ in range(2):
                load.wait_acknowledged(30)
                kill_embedded(rig)
            load.wait_acknowledged(30)
        assert not ledger.refused
        assert not ledger.interruptions
        judge(rig, ledger)


def test_frozen_postgresql_lets_images_in_up_to_the_backlog_and_is_caught_up_with(
    rig: Rig, postgres: Postgres, ledger: Ledger
) -> None:
    with Load(rig, ledger, pixel_bytes=(PIXEL_BYTES,)) as load:
        load.wait_acknowledged(20)
        wait_indexed(rig)
        before = len(ledger.acknowledged)
        postgres.freeze(True)
        try:
            wait_until(lambda: len(ledger.refused) >= 20, 60, "the backlog is full and images are refused")
            accepted = len(ledger.acknowledged) - before
            assert set(ledger.refused) == {OUT_OF_RESOURCES}
            # Some of the backlog may have been accepted just before the freeze.
            wait_until(
                lambda: rig.status()["workers"][0]["backlog"] >= BACKLOG * 0.9,
                10,
                "the backlog is shown as full",
            )
            assert BACKLOG * 0.5 <= accepted <= BACKLOG * 1.5
            assert rig.get("/readyz")[0] == 503
            assert rig.get("/healthz")[0] == 200
            assert query_status(rig) == OUT_OF_RESOURCES
            # All buffers have been used by now. Were what is refused kept, it would grow by as much.
            memory, refused = memory_bytes(rig), len(ledger.refused)
            wait_until(lambda: len(ledger.refused) >= refused + MORE_REFUSED, 90, "more images are refused")
            assert memory_bytes(rig) - memory < MORE_REFUSED * PIXEL_BYTES // 2
        finally:
            postgres.freeze(False)
        refused = len(ledger.refused)
        load.wait_acknowledged(20, within_s=30)
    assert refused >= 20
    wait_until(lambda: rig.get("/readyz")[0] == 200, 30, "the node is ready again")
    judge(rig, ledger)


@pytest.mark.slow
def test_frozen_postgresql_is_noticed_before_the_backlog_is_full(
    rig: Rig, postgres: Postgres, ledger: Ledger
) -> None:
    with Load(rig, ledger, senders=1, pixel_bytes=(8_000,), pause_s=0.5) as load:
        load.wait_acknowledged(2)
        postgres.freeze(True)
        try:
            # The deadlines of a call, of a reset and of a connection, one after the other; not once for each connection.
            wait_until(lambda: rig.get("/readyz")[0] == 503, 12, "readiness is red")
            assert rig.get("/healthz")[0] == 200
            assert not ledger.refused
        finally:
            postgres.freeze(False)
        wait_until(lambda: rig.get("/readyz")[0] == 200, 20, "readiness is green again")
        load.wait_acknowledged(2)
    judge(rig, ledger)
