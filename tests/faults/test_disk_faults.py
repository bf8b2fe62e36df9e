"""Disks that fail (F4) or are full (F5): images are refused with A700H, never acknowledged; queries and retrieval go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.disk import Disk, disk
from tests.faults.judge import judge, retrieve
from tests.faults.load import Ledger, Load, wait_until
from tests.faults.rig import Rig
from tests.faults.tracer import traced
from tests.postgres_fixture import Server as Postgres
from tests.postgres_fixture import own_postgres
from tests.system.server import running

__all__ = ["own_postgres"]

OUT_OF_RESOURCES = 0xA700
RESERVE_BYTES = 64 << 20
IMAGES = 8
# Larger than a receive buffer, so that there is more than one write, and small ones.
PIXEL_BYTES = (8_000, 8_000, 2_500_000)


class Failure(NamedTuple):
    """The ``when``-th call of a kind that a writer thread makes fails with ``error``.

    lasting:  whether the node must not trust its disk any more
    """

    call: str
    error: str
    when: int
    lasting: bool

    def __str__(self) -> str:
        return f"{self.call}-{self.when}-{self.error}"


SAMPLED = [
    Failure("fdatasync", "EIO", 2, lasting=True),
    Failure("fsync", "EIO", 2, lasting=True),
    Failure("pwrite64", "ENOSPC", 3, lasting=False),
    Failure("pwritev", "ENOSPC", 2, lasting=False),
]
# Some system calls have another name where they take folders or flags.
NAMES = {
    "rename": ["?rename", "?renameat", "?renameat2"],
    "pwritev": ["?pwritev", "?pwritev2"],
}
ALL = [
    Failure(call, error, when, lasting=error == "EIO" or "sync" in call)
    for call in ("pwrite64", "pwritev", "ftruncate", "rename", "fdatasync", "fsync")
    for error in ("EIO", "ENOSPC")
    for when in (1, 2, 3)
]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One worker with one writer thread, so that the N-th call is the N-th call."""
    options = ("--storage.writer-threads", "1")
    with running(Rig(tmp_path_factory.mktemp("rig") / "data", options=options, workers=1)) as rig:
        assert isinstance(rig, Rig)
        yield rig


def check_failure(rig: Rig, ledger: Ledger, trace: Path, failure: Failure) -> None:
    (worker,) = rig.worker_pids()
    calls = NAMES.get(failure.call, [failure.call])
    read_only = len(rig.logged("object_store_read_only"))
    inject = f"{','.join(calls)}:error={failure.error}:when={failure.when}"
    with (
        traced(worker, trace, calls=calls, inject=[inject]),
        Load(rig, ledger, senders=3, images=IMAGES, pixel_bytes=PIXEL_BYTES) as load,
    ):
        wait_until(lambda: bool(ledger.refused) or load.done, 60, "an image is refused")
        if not failure.lasting:
            load.join(60)
    assert "(INJECTED)" in trace.read_text(), "the failure did not happen"
    assert ledger.refused
    assert set(ledger.refused) == {OUT_OF_RESOURCES}
    if failure.lasting:
        check_read_only(rig, ledger, read_only)
        rig.kill_worker(worker)
        wait_until(lambda: rig.get("/readyz")[0] == 200, 20, "a new worker trusts the disk again")
    else:
        assert len(rig.logged("object_store_read_only")) == read_only
        assert rig.get("/readyz")[0] == 200
        assert len(ledger.acknowledged) >= IMAGES
    judge(rig, ledger)


def check_read_only(rig: Rig, ledger: Ledger, earlier: int) -> None:
    """Nothing is taken any more, however healthy the disk looks; what was taken is there."""
    assert len(rig.logged("object_store_read_only")) == earlier + 1
    status, why = rig.get("/readyz")
    assert status == 503
    assert b"read-only" in why
    assert rig.get("/healthz")[0] == 200
    before = len(ledger.acknowledged)
    refused = Ledger()
    with Load(rig, refused, senders=1) as load:
        wait_until(lambda: len(refused.refused) >= 3, 30, "images are refused")
        load.stop()
    assert not refused.acknowledged
    assert set(refused.refused) == {OUT_OF_RESOURCES}
    assert len(ledger.acknowledged) == before
    judge(rig, ledger)


@pytest.mark.parametrize("failure", SAMPLED, ids=str)
def test_failing_disk_refuses_and_never_acknowledges(
    rig: Rig, ledger: Ledger, tmp_path: Path, failure: Failure
) -> None:
    check_failure(rig, ledger, tmp_path / "trace", failure)


@pytest.mark.slow
@pytest.mark.parametrize("failure", ALL, ids=str)
def test_every_call_of_an_ingest_may_fail(rig: Rig, ledger: Ledger, tmp_path: Path, failure: Failure) -> None:
    check_failure(rig, ledger, tmp_path / "trace", failure)


def test_full_disk_refuses_and_goes_on_by_itself_when_there_is_room(tmp_path: Path, ledger: Ledger) -> None:
    """The reserve is reached; PostgreSQL, on the same disk, does not notice."""
    options = ("--storage.reserve-bytes", str(RESERVE_BYTES))
    with disk(tmp_path, 1 << 30) as small:
        rig = Rig(small.root / "data", log=tmp_path / "server.log", options=options)
        with running(rig), Load(rig, ledger, senders=2, pause_s=0.01) as load:
            load.wait_acknowledged(10)
            filler = small.fill(leave_bytes=RESERVE_BYTES + (4 << 20))
            check_full(rig, small, ledger)
            filler.unlink()
            load.wait_acknowledged(10)
            load.stop()
            wait_until(lambda: rig.get("/readyz")[0] == 200, 10, "the node is ready again")
            assert set(ledger.refused) == {OUT_OF_RESOURCES}
            assert not ledger.interruptions
            assert not rig.logged("object_store_read_only")
            judge(rig, ledger)


def check_full(rig: Rig, small: Disk, ledger: Ledger) -> None:
    wait_until(lambda: len(ledger.refused) >= 10, 60, "images are refused")
    wait_until(lambda: rig.get("/readyz")[0] == 503, 10, "readiness is red")
    # Each worker looks for itself, and PostgreSQL goes on writing: that is what the reserve is for.
    assert small.free_bytes >= RESERVE_BYTES * 3 // 4, "the reserve was not kept"
    # C-FIND and C-GET give what was acknowledged; images still come and go meanwhile.
    acknowledged = dict(ledger.acknowledged)
    found = retrieve(rig, ledger.studies)
    assert {uid: sent.digest for uid, sent in acknowledged.items()}.items() <= found.items()


def test_file_system_without_any_room_refuses_and_goes_on_when_there_is_some(
    tmp_path: Path, ledger: Ledger, own_postgres: Postgres
) -> None:
    """No reserve: the file system itself says ENOSPC, in the middle of objects."""
    options = ("--storage.reserve-bytes", "0")
    with disk(tmp_path, 64 << 20) as small:
        rig = Rig(
            small.root / "data",
            database=own_postgres.create_database(),
            log=tmp_path / "server.log",
            options=options,
        )
        with running(rig), Load(rig, ledger, senders=2, pause_s=0.01) as load:
            load.wait_acknowledged(10)
            filler = small.fill(leave_bytes=1 << 20)
            wait_until(lambda: len(ledger.refused) >= 10, 60, "images are refused")
            filler.unlink()
            load.wait_acknowledged(5)
            load.stop()
            assert set(ledger.refused) == {OUT_OF_RESOURCES}
            assert not rig.logged("object_store_read_only")
            judge(rig, ledger)
