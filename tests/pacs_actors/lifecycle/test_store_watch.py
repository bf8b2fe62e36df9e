"""Tier stores that do not answer, and how long their steps take."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest
import trio

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.store_watch import StoreWatch
from pacs_actors.lifecycle.stores.errors import CopyMissing
from pacs_actors.lifecycle.stores.folder import FolderStore
from pacs_actors.lifecycle.stores.timed import TimedStore
from pacs_actors.operations.step_times import slowest, told
from tests.pacs_actors.lifecycle.stores.helpers import key_of, put, read, some_bytes


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def folder_store(path: Path, name: str = "cold") -> FolderStore:
    return FolderStore(name, LifecycleStoreSettings(kind="folder", path=str(path), reserve_bytes=0))


async def test_a_store_is_silent_from_when_it_was_first_asked_in_vain_until_it_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="pacs")
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    clock = Clock()
    async with folder_store(tmp_path / "here", "here") as here, folder_store(tmp_path / "there") as there:
        watch = StoreWatch({"here": here, "there": there}, clock=clock)
        await watch.look()
        assert watch.silent_s() == {}, "that there is no such copy is an answer"
        (tmp_path / "there").rename(tmp_path / "gone")
        await watch.look()
        clock.now += 61
        await watch.look()
        assert watch.silent_s() == {"there": 61}
        (tmp_path / "gone").rename(tmp_path / "there")
        await watch.look()
        assert watch.silent_s() == {}
    assert [record.message for record in caplog.records] == ["store_does_not_answer", "store_answers_again"]


async def test_a_store_that_hangs_is_silent_and_holds_up_no_other(tmp_path: Path) -> None:
    class Hanging(FolderStore):
        async def size(self, key: str) -> int:
            await trio.sleep_forever()
            raise AssertionError

    clock = Clock()
    async with folder_store(tmp_path) as good:
        hanging = Hanging("hung", good.settings)
        watch = StoreWatch({"hung": hanging, "good": good}, within_s=0.05, clock=clock)
        with trio.fail_after(30):
            await watch.look()
        clock.now += 100
        assert watch.silent_s() == {"hung": 100}


async def test_steps_of_a_store_are_noted_when_they_have_succeeded(tmp_path: Path) -> None:
    async with folder_store(tmp_path) as inner:
        store = TimedStore(inner)
        copy = await put(store, some_bytes(1000))
        assert await store.verify(copy) and await read(store, copy.key) == some_bytes(1000)
        for attempt in (
            read(store, key_of(b"never")),
            store.verify(copy.__class__(key_of(b"never"), 1, bytes(16))),
        ):
            with pytest.raises(CopyMissing):
                await attempt
        counted = {one.name: one.count for one in slowest([told(store.paths, monotonic())])}
    assert counted == {"put cold": 1, "verify cold": 1, "get cold": 1}


async def test_what_a_reader_does_with_the_bytes_is_not_the_stores_time(tmp_path: Path) -> None:
    async with folder_store(tmp_path) as inner:
        store = TimedStore(inner)
        copy = await put(store, some_bytes(10))
        async with store.get(copy.key):
            (path,) = [one for one in told(store.paths, monotonic()) if one.name == "get cold"]
            assert sum(count for _, count in path.counts) == 1, "noted while it is still open"
