"""Who staged an object may give up while it is being committed: the buffer stays with the thread that reads it."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import trio
import trio.lowlevel

from config.settings import StorageSettings
from pacs_actors.archive.objects.local import LocalObjectStore


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
