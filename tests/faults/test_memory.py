"""Memory (F29): however much comes at once, a worker holds its buffers and no more; who gets none waits."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.judge import judge
from tests.faults.load import Ledger, Load
from tests.faults.rig import Rig
from tests.system.server import running

FEW, MANY = 8, 64
SENDERS = 40
PIXEL_BYTES = 4_000_000
PACKED_BYTES = 900_000  # fits a buffer, and goes into a segment
MIB = 1 << 20
LIMIT_BYTES = 96 * MIB
CGROUPS = Path("/sys/fs/cgroup")


def check_load(rig: Rig, ledger: Ledger, pixel_bytes: int = PIXEL_BYTES, images: int = 1) -> int:
    """Store from all senders at once; by how many bytes the worker grew, at most."""
    (worker,) = rig.worker_pids()
    with Load(rig, Ledger(), senders=2, images=2, pixel_bytes=(pixel_bytes,)) as first:
        first.join(60)  # code and pages that every store needs are there then
    before = peak = resident_bytes(worker)
    with Load(rig, ledger, senders=SENDERS, images=images, pixel_bytes=(pixel_bytes,)) as load:
        while not load.done:
            peak = max(peak, resident_bytes(worker))
            time.sleep(0.005)
    assert rig.worker_pids() == [worker]
    assert not ledger.refused
    assert not ledger.interruptions
    assert len(ledger.acknowledged) == SENDERS * images
    return peak - before


def resident_bytes(pid: int) -> int:
    """Without what is shared."""
    resident, shared = (int(field) for field in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def rig_with(folder: Path, buffers: int) -> Iterator[Rig]:
    options = ("--storage.buffers", str(buffers), "--dicom.network-timeout-s", "60")
    rig = Rig(folder / "data", options=options, workers=1)
    with running(rig):
        yield rig


@pytest.mark.parametrize("buffers", [FEW, MANY])
def test_worker_grows_by_its_buffers_only(tmp_path: Path, ledger: Ledger, buffers: int) -> None:
    """Many buffers are the control: there the same load is seen to grow, so what is measured is what is bounded."""
    with rig_with(tmp_path, buffers) as rig:
        grown = check_load(rig, ledger)
        if buffers == FEW:
            assert grown < (FEW + 16) * MIB
        else:
            assert grown > (FEW + 16) * MIB
        judge(rig, ledger)


@pytest.mark.slow
def test_worker_that_packs_what_comes_grows_by_its_buffers_only(tmp_path: Path, ledger: Ledger) -> None:
    with rig_with(tmp_path, FEW) as rig:
        assert check_load(rig, ledger, PACKED_BYTES, images=6) < (FEW + 16) * MIB
        assert all(one.packed for one in rig.objects())
        judge(rig, ledger)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pixel_bytes", "images"), [(PIXEL_BYTES, 1), (PACKED_BYTES, 6)], ids=["files", "packed"]
)
def test_memory_limit_is_met_by_back_pressure(
    tmp_path: Path, ledger: Ledger, pixel_bytes: int, images: int
) -> None:
    """All that is sent at once is more than the limit; the kernel finds nobody to kill."""
    assert SENDERS * pixel_bytes * images > LIMIT_BYTES
    with rig_with(tmp_path, FEW) as rig:
        (worker,) = rig.worker_pids()
        with limited(worker, LIMIT_BYTES):
            check_load(rig, ledger, pixel_bytes, images)
        judge(rig, ledger)


@contextlib.contextmanager
def limited(pid: int, limit_bytes: int) -> Iterator[None]:
    """A process with a limit on what it takes from now on; skips the test where control groups are not ours to make."""
    version_1 = (CGROUPS / "memory" / "memory.limit_in_bytes").exists()
    parent = CGROUPS / "memory" if version_1 else CGROUPS
    group = parent / f"pacs-actors-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit_bytes))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control groups here: {error.strerror}")
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            (parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()
