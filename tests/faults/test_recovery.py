"""Recovery on a disk that does not give everything back: the rest is found, and what is missing is told and tried again."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from pacs_actors.archive import recovery_reader
from pacs_actors.archive.objects import recovery
from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.archive.objects.interface import ObjectFile
from tests.faults.test_crashes import Worker, new_image, objects, postgres, store_unindexed, worker
from tests.stored_objects import StoredObject

__all__ = ["postgres"]


class BadSectors:
    """Stands in for reading an object back; those in ``bad`` give an input/output error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *objects: StoredObject) -> None:
        self.bad = {(str(one.path), one.start) for one in objects}
        self.tries = 0
        self._honest = recovery.read_intact
        monkeypatch.setattr(recovery, "read_intact", self._read)
        monkeypatch.setattr(recovery_reader, "_FIRST_AGAIN_S", 0.02)
        monkeypatch.setattr(recovery_reader, "_LONGEST_AGAIN_S", 0.05)

    def _read(self, file: ObjectFile, buffer: memoryview) -> Any:
        if (str(Path(f"/proc/self/fd/{file.fd}").readlink()), file.start) in self.bad:
            self.tries += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._honest(file, buffer)


async def until(condition: Any, what: str) -> None:
    with trio.move_on_after(30):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(f"in vain for 30 s: {what}")


async def indexed(it: Worker) -> int:
    return (await it.tree.board.catalogue.totals()).instances


async def marked(it: Worker) -> int:
    return await it.tree.board.catalogue.mark(0)


@pytest.fixture
def dsn(postgres: Any) -> str:
    return postgres.create_database()


async def test_object_that_cannot_be_read_is_told_tried_again_and_found_in_the_end(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_unindexed(tmp_path, 20)
    disk = BadSectors(monkeypatch, objects(tmp_path)[0])
    async with worker(tmp_path, dsn) as it:
        page, board = it.tree.page, it.tree.board
        await until(lambda: not page.behind(page.watermark()), "queries go on without it")
        assert await indexed(it) == 19
        await until(lambda: "recovery is incomplete: 1 objects" in board.ready()[1], "the status says so")
        assert board.ready()[0], "what can be read is found: the node is of use"
        await until(lambda: disk.tries > 3, "it is tried again")
        disk.bad.clear()
        await until(lambda: board.ready() == (True, ""), "all is well")
        assert await indexed(it) == 20


async def test_mark_stays_below_what_could_not_be_read(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart reads it again, however much was stored and indexed meanwhile."""
    await store_unindexed(tmp_path, 5)
    (batch,) = {int(one.key.split("/")[1], 16) for one in objects(tmp_path)}
    disk = BadSectors(monkeypatch, objects(tmp_path)[0])
    async with worker(tmp_path, dsn) as it, it.peer() as peer:
        await until(lambda: it.tree.board.progress.unrecovered, "the rest is recovered")
        assert (await peer.store(new_image().part10)).status == 0
        await until(lambda: not it.tree.page.lag(), "the new one is indexed")
        assert await indexed(it) == 5
        assert await marked(it) <= batch
    disk.bad.clear()
    async with worker(tmp_path, dsn) as it, it.peer() as peer:
        await until(lambda: it.tree.board.ready() == (True, ""), "recovery is complete")
        assert await indexed(it) == 6
        assert (await peer.store(new_image().part10)).status == 0
        await until(lambda: not it.tree.page.lag(), "the new one is indexed")
        assert await marked(it) > batch


async def test_recovered_batch_whose_sync_fails_is_not_indexed(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may be gone after a power cut must not become the first copy. The store is read-only then, and the worker lives."""
    await store_unindexed(tmp_path, 5)
    monkeypatch.setattr(recovery_reader, "_FIRST_AGAIN_S", 0.02)
    honest = FileSystem.fsync

    def failing(fd: int) -> None:
        if "objects/0/00000/00000000" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        honest(fd)

    with monkeypatch.context() as broken:
        broken.setattr(FileSystem, "fsync", staticmethod(failing))
        async with worker(tmp_path, dsn) as it:
            await until(lambda: it.tree.board.progress.unrecovered == 5, "recovery is told to be incomplete")
            assert await indexed(it) == 0
            assert "read-only" in it.tree.board.ready()[1]
            assert it.crashes(it.tree.root) == 0
    async with worker(tmp_path, dsn) as it:
        await until(lambda: it.tree.board.ready() == (True, ""), "recovery is complete")
        assert await indexed(it) == 5
