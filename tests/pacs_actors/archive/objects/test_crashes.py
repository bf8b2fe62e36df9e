"""FAULTS F1 to F3 for the store alone: what was committed is there after any crash, whole.

Nothing else is half-visible.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

from pacs_actors.archive.objects.buffers import BUFFER_BYTES
from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.archive.objects.recovery import recover_batch

from .helpers import FailingDisk, data_set, files_below, open_store, put, scan

pytestmark = pytest.mark.usefixtures("layout")

UIDS: Final = [f"1.2.840.99.{number}" for number in range(4)]


def contents(uid: str) -> bytes:
    """Small ones and one that is spilled."""
    number = int(uid.rsplit(".", 1)[1])
    return data_set(uid, 2 * BUFFER_BYTES if number % 4 == 1 else 5000, seed=number)


class DyingDisk(FailingDisk):
    """The process dies just before its N-th system call."""

    def __init__(self, dies_at: int) -> None:
        super().__init__()
        self.dies_at = dies_at

    def _call(self, name: str, real: Callable[..., object], *arguments: object, **options: object) -> object:
        if len(self.calls) == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._call(name, real, *arguments, **options)


def died_in_child(main: Callable[..., Awaitable[object]], *arguments: object) -> bool:
    """Run an async function in a child process; whether the process was killed."""
    child = os.fork()
    if not child:
        try:
            trio.run(main, *arguments)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def ingest_until_death(root: Path, dies_at: int) -> tuple[list[str], bool]:
    """Commit all UIDS in a child process that dies at that call: UIDs acknowledged, and whether it died."""
    reading, writing = os.pipe()
    died = died_in_child(ingest, root, DyingDisk(dies_at), writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        return lines.read().split(), died


async def ingest(root: Path, disk: FileSystem, acknowledge: int) -> None:
    async with open_store(root, system=disk) as store:
        for uid in UIDS:
            await put(store, uid, contents(uid))
            os.write(acknowledge, f"{uid}\n".encode())


async def recover_all(root: Path) -> tuple[dict[str, bytes], list[str]]:
    """What a new process finds: data set by UID, and the damaged."""
    data_sets: dict[str, bytes] = {}
    damaged: list[str] = []
    async with open_store(root) as store:
        assert not files_below(root / "tmp" / "0")
        for batch in store.batches(0):
            found = await recover_batch(store, 0, batch, frozenset(), scan)
            assert not (found.unread or found.unscannable)
            damaged += found.damaged
            for entry in found.entries:
                raw = b"".join(store.export(entry.stored.key))
                data_sets[entry.scanned.sop_instance_uid] = raw[entry.stored.data_offset :]
    return data_sets, damaged


def test_a_process_killed_before_any_of_its_system_calls_loses_nothing_it_acknowledged(
    tmp_path: Path,
) -> None:
    dies_at, died = 0, True
    while died:
        root = tmp_path / str(dies_at)
        acknowledged, died = ingest_until_death(root, dies_at)
        found, damaged = trio.run(recover_all, root)
        assert set(acknowledged) <= set(found), dies_at
        assert len(found) <= len(acknowledged) + 1, dies_at
        assert not damaged, dies_at
        for uid, data in found.items():
            assert data == contents(uid), dies_at
        dies_at += 1
    assert acknowledged == UIDS
    assert dies_at > 50  # every call of the start and of each commit was met


class Forgetful(FileSystem):
    """A disk whose syncs do nothing: the control, which must lose data."""

    fsync = staticmethod(lambda fd: None)
    fdatasync = staticmethod(lambda fd: None)


class Machine:
    """An ext4 file system on a loop device whose power can be cut."""

    _SHUTDOWN: Final = 0x8004587D  # EXT4_IOC_SHUTDOWN
    _WITHOUT_LOG: Final = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk is lost

    def __init__(self, folder: Path) -> None:
        self.image, self.mounted = folder / "disk.img", folder / "disk"
        self.mounted.mkdir()
        with self.image.open("wb") as image:
            image.truncate(256 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True, capture_output=True)

    def start(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.mounted], check=True, capture_output=True)

    def cut_power(self) -> None:
        fd = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, self._SHUTDOWN, self._WITHOUT_LOG.to_bytes(4, "little"))
        finally:
            os.close(fd)

    def stop(self) -> None:
        subprocess.run(["umount", self.mounted], check=True, capture_output=True)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    try:
        made = Machine(tmp_path)
        made.start()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop mount of ext4 here: {error}")
    yield made
    # Lazily: a test that failed may have left files open.
    subprocess.run(["umount", "--lazy", made.mounted], capture_output=True)


async def ingest_until_power_cut(machine: Machine, disk: FileSystem, objects: int) -> list[str]:
    """Commit from 4 tasks; cut the power once so many are acknowledged, with more under way."""
    acknowledged: list[str] = []
    numbers = iter(range(10 * objects))
    store = open_store(machine.mounted / "data", system=disk)

    async def one_after_the_other() -> None:
        for number in numbers:
            uid = f"1.2.840.99.{number}"
            await put(store, uid, contents(uid))
            acknowledged.append(uid)
            if len(acknowledged) == objects:
                machine.cut_power()
            if len(acknowledged) >= objects:
                return

    with trio.CancelScope():
        async with store:
            try:
                async with trio.open_nursery() as nursery:
                    for _ in range(4):
                        nursery.start_soon(one_after_the_other)
            except* Exception:  # those under way find the disk gone
                assert not store.health.healthy
    return acknowledged[:objects]


def test_a_power_cut_loses_nothing_acknowledged_and_nothing_torn_is_taken_for_whole(machine: Machine) -> None:
    for _ in range(3):
        acknowledged = trio.run(ingest_until_power_cut, machine, FileSystem(), 30)
        machine.stop()
        machine.start()
        found, _ = trio.run(recover_all, machine.mounted / "data")
        assert set(acknowledged) <= set(found)
        for uid, data in found.items():
            assert data == contents(uid)
        subprocess.run(["rm", "-rf", machine.mounted / "data"], check=True)


def test_the_same_power_cut_does_lose_data_without_syncs(machine: Machine) -> None:
    acknowledged = trio.run(ingest_until_power_cut, machine, Forgetful(), 30)
    machine.stop()
    machine.start()
    found: dict[str, bytes] = {}
    if (machine.mounted / "data").exists():
        found, _ = trio.run(recover_all, machine.mounted / "data")
    assert not set(acknowledged) <= set(found)
