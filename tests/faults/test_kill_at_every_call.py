"""kill -9 at every system call of one ingest (F2): after each, the object is absent or complete; complete if acknowledged."""

from __future__ import annotations

import multiprocessing
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.objects.recovery import recover_batch
from tests.faults import one_ingest
from tests.faults.images import new_uid
from tests.faults.judge import judge
from tests.faults.load import Ledger, Load
from tests.faults.rig import Rig
from tests.faults.tracer import traced
from tests.stored_objects import FILES, SEGMENTS
from tests.system.server import running

SMALL, SPILLED = 8_000, 2_500_000
# Which of these a run makes, and how often, is chance: they are between the threads, not towards the disk.
NOT_COUNTED = re.compile(
    r"futex|restart_syscall|m(un)?map|mprotect|madvise|brk|sched_yield|rt_sig\w+|gettid|exit\w*"
)
KILLED = -9


class Point(NamedTuple):
    """The ``when``-th call of a kind, from 1."""

    call: str
    when: int


class Outcome(NamedTuple):
    """killed: the process got to the point; acknowledged: it said that the object is durable; found: by recovery."""

    killed: bool
    acknowledged: bool
    found: bool


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that have imported what they need, and are forked in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.one_ingest"])
    return context


def ingest(
    processes: ForkServerContext,
    root: Path,
    layout: str,
    uid: str,
    pixel_bytes: int,
    *,
    trace: Path,
    calls: str,
    inject: tuple[str, ...] = (),
    hasty: bool = False,
) -> tuple[int, str]:
    """One ingest under the tracer; the exit code and the key that it said, if it came to that."""
    ours, theirs = processes.Pipe()
    process = processes.Process(
        target=one_ingest.ingest, args=(root, layout, uid, pixel_bytes, theirs, hasty)
    )
    process.start()
    theirs.close()
    try:
        thread = ours.recv()
        with traced(thread, trace, calls=[calls], inject=inject, threads=False):
            ours.send("go")
            key = _said(ours)
            process.join(20)
    finally:
        process.kill()
        process.join()
        ours.close()
    assert process.exitcode is not None
    return process.exitcode, key


def _said(ours: Connection) -> str:
    try:
        return str(ours.recv())
    except EOFError:
        return ""


def points(processes: ForkServerContext, folder: Path, layout: str, pixel_bytes: int) -> list[Point]:
    """Every system call that the writing thread makes for one object, in order."""
    trace = folder / "trace"
    code, key = ingest(processes, folder / "whole", layout, new_uid(), pixel_bytes, trace=trace, calls="all")
    assert code == 0
    assert key
    counts: Counter[str] = Counter()
    found = []
    for call in re.findall(r"^(\w+)\(", trace.read_text(), re.MULTILINE):
        if not NOT_COUNTED.fullmatch(call):
            counts[call] += 1
            found.append(Point(call, counts[call]))
    return found


def kill_at(
    processes: ForkServerContext,
    folder: Path,
    layout: str,
    pixel_bytes: int,
    point: Point,
    *,
    hasty: bool = False,
) -> Outcome:
    root, uid = folder / f"{point.call}-{point.when}", new_uid()
    inject = (f"{point.call}:signal=KILL:when={point.when}",)
    code, key = ingest(
        processes,
        root,
        layout,
        uid,
        pixel_bytes,
        trace=folder / "trace",
        calls=point.call,
        inject=inject,
        hasty=hasty,
    )
    assert code in (0, KILLED)
    found = trio.run(recovered, root, layout, one_ingest.image(uid, pixel_bytes).digest)
    shutil.rmtree(root)
    return Outcome(code == KILLED, bool(key), found)


async def recovered(root: Path, layout: str, digest: str) -> bool:
    """Start again where the process was killed: sweep, recover, verify. Whether the object is there."""
    async with LocalObjectStore(root, 0, one_ingest.SETTINGS[layout]) as store:
        assert not list((root / "tmp" / "0").iterdir()), "half-written files are left"
        found = []
        for batch in store.batches(0):
            batch_found = await recover_batch(
                store, 0, batch, (), lambda data_set, _, complete: one_ingest.check(data_set, complete)
            )
            assert not (batch_found.unread or batch_found.unscannable)
            found += batch_found.entries
        for entry in found:
            data = b"".join(store.export(entry.stored.key))
            assert sha256(data[entry.stored.data_offset :]).hexdigest() == digest, "torn"
        assert len(found) <= 1
        return bool(found)


def check_points(processes: ForkServerContext, folder: Path, layout: str, pixel_bytes: int) -> None:
    all_points = points(processes, folder, layout, pixel_bytes)
    names = {point.call for point in all_points}
    packed = layout == SEGMENTS and pixel_bytes == SMALL
    assert {"fdatasync", "fsync", "fallocate" if packed else "pwrite64"} <= names
    assert any(name.startswith("pwritev") for name in names) == packed
    assert any(name.startswith("rename") for name in names) != packed
    outcomes = {point: kill_at(processes, folder, layout, pixel_bytes, point) for point in all_points}
    lost = [point for point, outcome in outcomes.items() if outcome.acknowledged and not outcome.found]
    assert not lost
    killed = [outcome for outcome in outcomes.values() if outcome.killed]
    assert len(killed) >= len(outcomes) * 0.8, "most points were not met"
    assert not all(outcome.found for outcome in killed), "no kill came before the object was there"
    assert any(outcome.found for outcome in killed), "no kill came after the object was there"


@pytest.mark.parametrize(
    ("layout", "pixel_bytes"),
    [
        pytest.param(SEGMENTS, SMALL, id="packed"),
        pytest.param(FILES, SMALL, id="file"),
        pytest.param(FILES, SPILLED, id="spilled", marks=pytest.mark.slow),
    ],
)
def test_kill_at_every_call_of_an_ingest_leaves_it_absent_or_complete(
    processes: ForkServerContext, tmp_path: Path, layout: str, pixel_bytes: int
) -> None:
    check_points(processes, tmp_path, layout, pixel_bytes)


@pytest.mark.parametrize(("layout", "call"), [(SEGMENTS, "pwritev"), (FILES, "pwrite64")])
def test_kill_shows_an_acknowledgement_that_came_too_early(
    processes: ForkServerContext, tmp_path: Path, layout: str, call: str
) -> None:
    """The control: a store that answers before it syncs is found out."""
    all_calls = [point.call for point in points(processes, tmp_path, layout, SMALL)]
    call = next(name for name in all_calls if name.startswith(call))  # it may be the second of its name
    assert kill_at(processes, tmp_path, layout, SMALL, Point(call, 1), hasty=True) == (True, True, False)


# -- the same in a whole worker, whose other thread receives and answers ---------------------------------------------------------


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    options = ("--storage.writer-threads", "1")
    with running(Rig(tmp_path_factory.mktemp("rig") / "data", options=options, workers=1)) as rig:
        assert isinstance(rig, Rig)
        yield rig


def check_worker(rig: Rig, ledger: Ledger, trace: Path, point: Point) -> None:
    (worker,) = rig.worker_pids()
    call = f"?{point.call}"
    with (
        Load(rig, ledger, senders=3) as load,
        rig.replacing(worker),
        traced(worker, trace, calls=[call], inject=[f"{call}:signal=KILL:when={point.when}"]),
    ):
        load.wait_interrupted()
    judge(rig, ledger)


@pytest.mark.parametrize("point", [Point("sendmsg", 4), Point("fdatasync", 3)], ids=str)
def test_kill_at_some_calls_of_a_worker_loses_nothing(
    rig: Rig, ledger: Ledger, tmp_path: Path, point: Point
) -> None:
    check_worker(rig, ledger, tmp_path / "trace", point)


@pytest.mark.slow
@pytest.mark.parametrize("when", range(1, 6))
@pytest.mark.parametrize(
    "call",
    [
        "recvfrom",
        "sendmsg",
        "openat",
        "pwrite64",
        "pwritev2",
        "fallocate",
        "ftruncate",
        "renameat",
        "fdatasync",
        "fsync",
        "close",
        "write",
    ],
)
def test_kill_at_every_call_of_a_worker_loses_nothing(
    rig: Rig, ledger: Ledger, tmp_path: Path, call: str, when: int
) -> None:
    check_worker(rig, ledger, tmp_path / "trace", Point(call, when))
