from __future__ import annotations

import logging
import os
from pathlib import Path
from time import time_ns

import pytest

from pacs_actors.archive.objects import staging
from pacs_actors.archive.objects.buffers import BUFFER_BYTES
from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.archive.objects.keys import parse_key, path_of
from pacs_actors.archive.objects.recovery import recover_batch
from protocols.dataset.record import ScannedInstance
from protocols.errors import CannotUnderstand

from .helpers import data_set, files_below, on_disk, open_store, put, scan

pytestmark = pytest.mark.usefixtures("layout")


async def test_a_folder_gives_the_same_entries_as_when_its_objects_came(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        stored = {}
        for number in range(150):
            uid = f"1.2.840.99.{number}"
            made, _ = await put(store, uid, data_set(uid, payload_bytes=number * 20))
            stored[uid] = made
    async with open_store(tmp_path) as store:
        found = await recover_batch(store, 0, 0, frozenset(), scan)
    assert {entry.scanned.sop_instance_uid: entry.stored for entry in found.entries} == stored
    assert not found.damaged
    assert not found.unread
    assert not found.unscannable


async def test_what_the_index_knows_is_not_read(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        keys = [(await put(store, f"1.2.{n}", data_set(f"1.2.{n}")))[0].key for n in range(3)]
        on_disk(tmp_path, keys[0]).write_bytes(b"not even an object")
        found = await recover_batch(store, 0, 0, {keys[0], keys[1]}, scan)
    assert [entry.stored.key for entry in found.entries] == [keys[2]]
    assert not found.damaged


async def test_torn_and_rotten_objects_go_to_quarantine_with_their_bytes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(tmp_path) as store:
        keys = [
            (await put(store, f"1.2.{n}", data_set(f"1.2.{n}", BUFFER_BYTES + 500)))[0].key for n in range(6)
        ]
        whole = on_disk(tmp_path, keys[0]).read_bytes()
        rotten = bytearray(whole)
        rotten[-7] ^= 0x10
        other_record = bytearray(whole)
        other_record[40] ^= 1
        contents = [b"", whole[:200], whole[: len(whole) // 2], bytes(rotten), bytes(other_record)]
        for key, content in zip(keys, contents, strict=False):
            on_disk(tmp_path, key).write_bytes(content)
        with caplog.at_level(logging.ERROR):
            found = await recover_batch(store, 0, 0, frozenset(), scan)
        assert [entry.stored.key for entry in found.entries] == [keys[5]]
        assert store.keys(0, 0) == [keys[5]]
        assert len(found.damaged) == 5
        kept = sorted((tmp_path / path_of(key)).read_bytes() for key in found.damaged)
        assert kept == sorted(contents)
        assert [record.message for record in caplog.records] == ["object_damaged"] * 5
        again = await recover_batch(store, 0, 0, frozenset(), scan)
    assert len(again.entries) == 1
    assert not again.damaged


async def test_what_is_intact_but_cannot_be_scanned_stays_where_it_is(tmp_path: Path) -> None:
    def refuse(data: memoryview, transfer_syntax_uid: str, complete: bool) -> ScannedInstance:
        raise CannotUnderstand("too deep")

    async with open_store(tmp_path) as store:
        stored, _ = await put(store, "1.2.3", data_set("1.2.3"))
        found = await recover_batch(store, 0, 0, frozenset(), refuse)
        assert found.unscannable == [stored.key]
        assert not found.unread
        assert not found.entries
        assert not found.damaged
        assert await store.verify(stored.key)


async def test_a_large_object_is_recovered_from_its_beginning(tmp_path: Path) -> None:
    shown: list[tuple[int, bool]] = []

    def watching(data: memoryview, transfer_syntax_uid: str, complete: bool) -> ScannedInstance:
        shown.append((len(data), complete))
        return scan(data, transfer_syntax_uid, complete)

    async with open_store(tmp_path) as store:
        stored, _ = await put(store, "1.2.3", data_set("1.2.3", 5 * BUFFER_BYTES))
        found = await recover_batch(store, 0, 0, frozenset(), watching)
        assert [entry.stored for entry in found.entries] == [stored]
        assert shown == [(BUFFER_BYTES - stored.data_offset, False)]


async def test_another_slots_folders_can_be_recovered(tmp_path: Path) -> None:
    async with open_store(tmp_path, slot=3) as store:
        stored, _ = await put(store, "1.2.3", data_set("1.2.3"))
    async with open_store(tmp_path, slot=0) as store:
        assert store.slots() == [0, 3]
        found = await recover_batch(store, 3, 0, frozenset(), scan)
        assert [entry.stored for entry in found.entries] == [stored]
        on_disk(tmp_path, stored.key).flip(-1)
        found = await recover_batch(store, 3, 0, frozenset(), scan)
        assert found.damaged
        assert not files_below(tmp_path / "objects")


async def test_what_is_recovered_is_as_durable_as_what_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(tmp_path) as store:
        stored = [await put(store, f"1.2.{n}", data_set(f"1.2.{n}")) for n in range(3)]
        batch = store.current_batch()
        synced: list[str] = []

        def noting(sync: str) -> None:
            honest = getattr(os, sync)

            def call(fd: int) -> None:
                synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
                honest(fd)

            monkeypatch.setattr(os, sync, call)
            monkeypatch.setattr(FileSystem, sync, staticmethod(call))

        noting("fdatasync")
        noting("fsync")
        found = await recover_batch(store, store.slot, batch, frozenset(), scan)
    assert len(found.entries) == len(stored)
    paths = {str(on_disk(tmp_path, entry.stored.key).path) for entry in found.entries}
    assert paths <= set(synced)
    assert synced[-1] == str(Path(min(paths)).parent), "the folder last, when its files are durable"


async def test_a_wall_clock_that_jumps_by_ten_years_changes_no_order_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F25: batch folders, keys and what is found again go by no clock; only the time received does."""
    years_ns = 10 * 365 * 86_400 * 10**9
    stored, expected = [], []
    for number, jump in enumerate((0, years_ns, -years_ns, 0)):
        expected.append(time_ns() + jump)
        monkeypatch.setattr(staging, "time_ns", lambda now=expected[-1]: now)
        async with open_store(tmp_path) as store:
            stored.append((await put(store, f"1.2.{number}", data_set(f"1.2.{number}"))).stored)
    batches = [parse_key(one.key).batch for one in stored]
    assert batches == sorted(set(batches))
    async with open_store(tmp_path) as store:
        found = [
            entry
            for batch in store.batches(0)
            for entry in (await recover_batch(store, 0, batch, frozenset(), scan)).entries
        ]
    assert [entry.stored for entry in found] == stored
    assert [entry.stored.received_ns for entry in found] == expected
