"""The folder store and its disk: failures are told, nothing half-written is seen, a missing mount loses nothing."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from config.stores import LifecycleStoreSettings
from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.lifecycle.stores.errors import (
    CopyDiffers,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from pacs_actors.lifecycle.stores.folder import FolderStore
from tests.pacs_actors.lifecycle.stores.helpers import all_keys, key_of, put, read, some_bytes

CONTENT = some_bytes(200_000)


class Failing(FileSystem):
    """The n-th call of one kind fails, and so do those after it."""

    def __init__(self, call: str, error: int, at: int = 1) -> None:
        self.calls: list[str] = []
        real: Callable[..., Any] = getattr(FileSystem, call)

        def failing(*arguments: Any, **named: Any) -> Any:
            self.calls.append(call)
            if len(self.calls) >= at:
                raise OSError(error, os.strerror(error))
            return real(*arguments, **named)

        setattr(self, call, failing)


def store_in(folder: Path, *, system: FileSystem | None = None, **settings: Any) -> FolderStore:
    folder.mkdir(exist_ok=True)
    given = {"kind": "folder", "path": str(folder), "reserve_bytes": 0} | settings
    return FolderStore("disk", LifecycleStoreSettings(**given), system=system)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_copy_is_a_file_below_the_folder_and_nothing_else_is(tmp_path: Path) -> None:
    async with store_in(tmp_path / "s") as store:
        copy = await put(store, CONTENT)
    assert files(tmp_path / "s") == [f"{copy.key[:2]}/{copy.key}"]
    assert (tmp_path / "s" / copy.key[:2] / copy.key).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("call", "at"),
    [("open", 1), ("pwrite", 1), ("fsync", 1), ("fsync", 2), ("fsync", 3), ("fsync", 4), ("mkdir", 2)],
)
@pytest.mark.parametrize(
    ("error", "kind"),
    [(errno.EIO, StoreUnavailable), (errno.ENOSPC, StoreFull), (errno.EROFS, StoreDenied)],
)
async def test_a_disk_that_fails_is_no_success_and_leaves_nothing_to_see(
    tmp_path: Path, call: str, at: int, error: int, kind: type[StoreError]
) -> None:
    async with store_in(tmp_path / "s", system=Failing(call, error, at)) as store:
        with pytest.raises(StoreUnavailable if call == "fsync" else kind):
            await put(store, CONTENT)
    async with store_in(tmp_path / "s") as store:
        # A name whose folder could not be synced may be there: whole, and never acknowledged.
        assert await all_keys(store) in ([], [key_of(CONTENT)])
        assert await store.verify(await put(store, CONTENT))
    assert len(files(tmp_path / "s")) == 1


async def test_after_a_failed_sync_nothing_is_acknowledged_and_reading_goes_on(tmp_path: Path) -> None:
    async with store_in(tmp_path / "s") as store:
        kept = await put(store, b"kept")
    system = Failing("fsync", errno.EIO)
    async with store_in(tmp_path / "s", system=system) as store:
        with pytest.raises(StoreUnavailable):
            await put(store, CONTENT)
        asked = len(system.calls)
        for attempt in (put(store, CONTENT), put(store, b"kept"), store.remove(kept.key)):
            with pytest.raises(StoreUnavailable) as failure:
                await attempt
            assert not failure.value.retry
        assert len(system.calls) == asked
        assert await store.verify(kept)


async def test_a_full_disk_is_told_before_it_is_filled(tmp_path: Path) -> None:
    async with store_in(tmp_path / "s", reserve_bytes=2**60) as store:
        assert await store.free_bytes() == 0
        with pytest.raises(StoreFull):
            await put(store, CONTENT)
    assert files(tmp_path / "s") == []


async def test_without_links_a_copy_is_renamed_into_place_and_still_replaces_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    async with store_in(tmp_path / "s") as store:
        copy = await put(store, CONTENT)
        assert await put(store, CONTENT) == copy
        with pytest.raises(CopyDiffers):
            from tests.pacs_actors.lifecycle.stores.helpers import stream

            await store.put(copy.key, stream(b"other"))
        assert await read(store, copy.key) == CONTENT
    assert len(files(tmp_path / "s")) == 1


async def test_while_nothing_is_mounted_nothing_is_missing_and_nothing_written(tmp_path: Path) -> None:
    async with store_in(tmp_path / "s", mounted=True) as store:
        for attempt in (
            put(store, CONTENT),
            read(store, key_of(CONTENT)),
            all_keys(store),
            store.free_bytes(),
        ):
            with pytest.raises(StoreUnavailable):
                await attempt
    assert files(tmp_path / "s") == []


async def test_a_folder_that_has_gone_makes_no_copy_missing(tmp_path: Path) -> None:
    async with store_in(tmp_path / "s") as store:
        copy = await put(store, CONTENT)
        (tmp_path / "s").rename(tmp_path / "away")
        for attempt in (read(store, copy.key), store.size(copy.key), all_keys(store), put(store, b"x")):
            with pytest.raises(StoreUnavailable):
                await attempt
        (tmp_path / "away").rename(tmp_path / "s")
        assert await store.verify(copy)


async def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    async with store_in(tmp_path / "s") as store:
        copy = await put(store, CONTENT)
        with (tmp_path / "s" / copy.key[:2] / copy.key).open("r+b") as file:
            file.seek(1000)
            byte = file.read(1)
            file.seek(1000)
            file.write(bytes([byte[0] ^ 1]))
        assert not await store.verify(copy)
        assert await store.confirm(copy)  # which looks at the size alone, and says so


async def test_a_copy_cut_short_while_it_is_read_is_not_taken_for_the_end(tmp_path: Path) -> None:
    content = some_bytes(3 * 1024**2)
    async with store_in(tmp_path / "s") as store:
        copy = await put(store, content)
        with pytest.raises(StoreUnavailable):
            async with store.get(copy.key) as pieces:
                await anext(aiter(pieces))
                os.truncate(tmp_path / "s" / copy.key[:2] / copy.key, 1024**2)
                async for _ in pieces:
                    pass


async def test_a_link_in_the_place_of_a_copy_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"not a copy")
    async with store_in(tmp_path / "s") as store:
        copy = await put(store, CONTENT)
        path = tmp_path / "s" / copy.key[:2] / copy.key
        path.unlink()
        path.symlink_to(tmp_path / "secret")
        with pytest.raises(StoreError):
            await read(store, copy.key)


async def test_a_disk_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    answers = threading.Event()

    class Hanging(FileSystem):
        @staticmethod
        def pwrite(*arguments: Any) -> int:
            answers.wait(60)
            return os.pwrite(*arguments)

    async with store_in(tmp_path / "s", system=Hanging(), request_timeout_s=0.2) as store:
        with pytest.raises(StoreUnavailable) as failure:
            await put(store, CONTENT)
        assert failure.value.retry
        answers.set()
    assert files(tmp_path / "s") == []


async def test_what_a_killed_process_left_is_swept_and_never_seen(tmp_path: Path) -> None:
    async with store_in(tmp_path / "s") as store:
        copy = await put(store, CONTENT)
        left = tmp_path / "s" / "incoming" / ("0" * 32)
        left.write_bytes(b"half")
        assert await all_keys(store) == [copy.key]
        assert await store.sweep(3600) == 0
        os.utime(left, (0, 0))
        assert await store.sweep(3600) == 1
        assert not left.exists() and await store.verify(copy)


async def test_the_last_copy_of_a_study_takes_its_folder_away_and_the_next_one_brings_it_back(
    tmp_path: Path,
) -> None:
    async with store_in(tmp_path / "s") as store:
        copy = await put(store, CONTENT)
        folder = (tmp_path / "s" / copy.key[:2] / copy.key).parent
        await store.remove(copy.key)
        assert not folder.exists()

        async def again(number: int) -> None:
            other = await put(store, some_bytes(10 + number), instance=number)
            await store.remove(other.key)

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(again, number)
        assert await store.verify(await put(store, CONTENT))
