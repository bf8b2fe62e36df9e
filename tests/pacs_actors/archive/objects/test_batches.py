from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pacs_actors.archive.objects.batches import (
    BATCH_OBJECTS,
    BATCH_S,
    BatchFolders,
    DirectorySync,
    batch_numbers,
    newest_batch,
)
from pacs_actors.archive.objects.filesystem import FileSystem, SyncFailed

from .helpers import FailingDisk


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def folders(root: Path, newest: int = -1, clock: Clock | None = None) -> BatchFolders:
    (root / "objects" / "0").mkdir(parents=True, exist_ok=True)
    return BatchFolders(FileSystem(), root, 0, newest, clock or Clock())


def test_a_folder_is_made_only_when_an_object_comes(tmp_path: Path) -> None:
    made = folders(tmp_path)
    assert made.current == 0
    assert batch_numbers(tmp_path, 0) == []
    with made.entering() as folder:
        assert folder.number == made.current == 0
    assert batch_numbers(tmp_path, 0) == [0]
    made.close()


def test_a_new_folder_begins_after_a_minute_and_after_4096_objects(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock=clock)
    for _ in range(BATCH_OBJECTS):
        with made.entering() as folder:
            assert folder.number == 0
    with made.entering() as folder:
        assert folder.number == 1
    clock.now += BATCH_S
    with made.entering() as folder:
        assert folder.number == 2
    made.close()


def test_the_next_start_goes_on_above_all_that_exists(tmp_path: Path) -> None:
    for number in (3, 4095, 4096):
        path = tmp_path / "objects" / "0" / f"{number >> 12:05x}" / f"{number:08x}"
        path.mkdir(parents=True)
    (tmp_path / "objects" / "0" / "lost+found").mkdir()
    (tmp_path / "objects" / "0" / "fffff").mkdir()  # a shard without a batch: died in between
    assert newest_batch(tmp_path, 0) == 4096
    assert batch_numbers(tmp_path, 0) == [3, 4095, 4096]
    assert batch_numbers(tmp_path, 0, at_least=4095) == [4095, 4096]
    assert batch_numbers(tmp_path, 7) == []
    made = folders(tmp_path, newest_batch(tmp_path, 0))
    with made.entering() as folder:
        assert folder.number == 4097
    made.close()


def test_an_old_folder_stays_open_for_those_who_still_write_into_it(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock=clock)
    with made.entering() as old:
        clock.now += BATCH_S
        with made.entering() as new:
            assert (old.number, new.number) == (0, 1)
            old.directory.sync()
    assert old.fd == -1
    made.close()
    assert new.fd == -1


def test_parents_of_a_new_folder_are_synced(tmp_path: Path) -> None:
    disk = FailingDisk()
    (tmp_path / "objects" / "0").mkdir(parents=True)
    made = BatchFolders(disk, tmp_path, 0, -1, Clock())
    with made.entering():
        assert [name for name in disk.calls if name in ("mkdir", "fsync")] == ["mkdir", "fsync"] * 2
    made.close()


class SlowSync(FileSystem):
    """fsync waits for leave; counts the rounds."""

    def __init__(self) -> None:
        self.rounds = 0
        self.begun, self.leave = threading.Semaphore(0), threading.Semaphore(0)
        self.error: OSError | None = None
        self.fsync = self._fsync  # type: ignore[assignment]

    def _fsync(self, fd: int) -> None:
        self.rounds += 1
        self.begun.release()
        assert self.leave.acquire(timeout=20)
        if self.error is not None:
            raise self.error


def test_those_who_come_during_a_sync_share_the_next_one() -> None:
    system = SlowSync()
    directory = DirectorySync(system, -1)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(directory.sync)
        assert system.begun.acquire(timeout=20)
        others = [threads.submit(directory.sync) for _ in range(7)]
        while directory._asked < 8:
            pass
        system.leave.release()
        first.result(20)
        assert system.begun.acquire(timeout=20)
        assert not any(other.done() for other in others)  # the first sync began before they came
        system.leave.release()
        for other in others:
            other.result(20)
    assert system.rounds == 2


def test_a_failed_sync_fails_all_that_waited_and_is_never_tried_again() -> None:
    system = SlowSync()
    system.error = OSError(errno.EIO, "Input/output error")
    directory = DirectorySync(system, -1)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(directory.sync) for _ in range(2)]
        while directory._asked < 2:
            pass
        system.leave.release()
        for one in waiting:
            with pytest.raises(SyncFailed):
                one.result(20)
    system.error = None
    with pytest.raises(SyncFailed):
        directory.sync()
    assert system.rounds == 1
