"""Who staged an object may give up while it is being committed: the buffer stays with the thread that reads it.

Commits that nobody waits for.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event

import outcome
import pytest
import trio
import trio.lowlevel

from config.settings import StorageSettings
from pacs_actors.archive.objects.buffers import BUFFER_BYTES
from pacs_actors.archive.objects.interface import Committed
from pacs_actors.archive.objects.local import LocalObjectStore
from protocols.errors import CannotUnderstand, Misuse
from tests.stored_objects import FILES, SEGMENTS


async def test_a_cancelled_sender_does_not_take_the_buffer_from_under_the_commit(tmp_path: Path) -> None:
    payload = bytes(range(256)) * 1000
    looking, go_on = Event(), Event()

    def check(data_set: memoryview, complete: bool) -> bytes:
        looking.set()
        assert go_on.wait(10)
        return bytes(data_set)

    async with LocalObjectStore(tmp_path, 0, StorageSettings(buffers=4, reserve_bytes=0)) as store:
        staging = await store.stage("1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1", "CT1")
        await staging.write(payload)
        committed = []

        async def commit() -> None:
            committed.append(await store.commit(staging, check))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit)
            while not looking.is_set():
                await trio.lowlevel.checkpoint()
            staging.discard()
            others = [
                await store.stage("1.2.3", f"1.2.3.{n}", "1.2.840.10008.1.2.1", "CT2") for n in range(3)
            ]
            for other in others:
                other.view[other.position :] = b"\xff" * (len(other.view) - other.position)
            assert store.health.buffers.free == 0
            go_on.set()
        for other in others:
            other.discard()
        assert committed[0].checked == payload
        assert await store.verify(committed[0].stored.key)
        assert store.health.buffers.free == 4


@pytest.mark.parametrize("layout", [SEGMENTS, FILES])
@pytest.mark.parametrize("size", [1000, 2 * BUFFER_BYTES], ids=["small", "spilled"])
async def test_started_commits_are_told_of_and_keep_their_buffers_until_then(
    tmp_path: Path, layout: str, size: int
) -> None:
    """The sender has given up meanwhile; one that is refused leaves nothing."""
    told: list[outcome.Outcome[Committed[int]]] = []

    def check(data_set: memoryview, complete: bool) -> int:
        if data_set[0]:
            raise CannotUnderstand("no")
        return len(data_set)

    settings = StorageSettings(buffers=4, reserve_bytes=0, layout=layout)
    async with LocalObjectStore(tmp_path, 0, settings) as store:
        for first in (b"\0", b"\1"):
            before = len(told)
            with await store.stage("1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1", "CT1") as staging:
                await staging.write(first + bytes(size))
                store.start_commit(staging, check, told.append)
            assert store.health.buffers.free == 3
            with trio.fail_after(30):
                while len(told) == before:
                    await trio.lowlevel.checkpoint()
            assert store.health.buffers.free == 4
        stored = told[0].unwrap().stored
        assert await store.verify(stored.key)
        assert stored.size_bytes > size
        with pytest.raises(CannotUnderstand):
            told[1].unwrap()
        assert [store.keys(0, batch) for batch in store.batches(0)] == [[stored.key]]
    assert list((tmp_path / "tmp" / "0").iterdir()) == []


async def test_commit_of_a_parked_object_is_not_started(tmp_path: Path) -> None:
    """Whoever asks for it waits for a buffer first."""
    async with LocalObjectStore(tmp_path, 0, StorageSettings(buffers=4, reserve_bytes=0)) as store:
        with await store.stage("1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1", "CT1") as staging:
            await staging.write(bytes(1000))
            await staging.park()
            with pytest.raises(Misuse):
                store.start_commit(staging, lambda data_set, complete: None, print)
            await staging.resume()
            done = trio.Event()
            store.start_commit(staging, lambda data_set, complete: None, lambda _: done.set())
            with trio.fail_after(30):
                await done.wait()
