"""FAULTS F4 and F5 for the store alone: disks that fail and disks that are full."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pacs_actors.archive.objects.batches import BATCH_S
from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.filesystem import O_DIRECT
from pacs_actors.archive.objects.space import REFRESH_S
from protocols.errors import OutOfResources

from .helpers import (
    CT,
    EXPLICIT_LE,
    FailingDisk,
    files_below,
    length,
    on_disk,
    open_store,
    put,
)

UID = "1.2.840.99.1"
SMALL, LARGE = 1000, 2 * BUFFER_BYTES + 10


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("call", ["open", "pwrite", "ftruncate", "rename"])
async def test_a_full_disk_refuses_and_takes_images_again_when_there_is_room(
    tmp_path: Path, call: str, size: int
) -> None:
    disk, now = FailingDisk(), 0.0
    async with open_store(tmp_path, system=disk, clock=lambda: now) as store:
        first, _ = await put(store, UID, bytes(size))
        disk.fail(call, errno.ENOSPC)
        with pytest.raises(OutOfResources) as refusal:
            await put(store, UID, bytes(size))
        assert refusal.value.dimse_status == 0xA700
        with pytest.raises(OutOfResources):  # believed until the disk is asked again
            await store.stage(CT, UID, EXPLICIT_LE, "M")
        assert await store.verify(first.key)  # reading goes on
        assert store.health.healthy
        disk.heal()
        now += REFRESH_S
        await put(store, UID, bytes(size))
        assert store.health.buffers.free == store.health.buffers.total
    assert len(files_below(tmp_path / "objects")) == 2
    assert not files_below(tmp_path / "tmp" / "0")


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("pwrite", errno.EIO),
        ("ftruncate", errno.EIO),
        ("rename", errno.EIO),
        ("fdatasync", errno.EIO),
        ("fdatasync", errno.ENOSPC),
        ("fsync", errno.EIO),
        ("fsync", errno.ENOSPC),
        ("open", errno.EROFS),
    ],
)
async def test_a_failing_disk_makes_the_store_read_only_until_restart(
    tmp_path: Path, call: str, error: int, size: int
) -> None:
    disk = FailingDisk()
    async with open_store(tmp_path, system=disk) as store:
        first, _ = await put(store, UID, bytes(size))
        disk.fail(call, error)
        syncs = disk.calls.count("fdatasync")
        with pytest.raises(OutOfResources):
            await put(store, UID, bytes(size))
        assert disk.calls.count("fdatasync") <= syncs + 1  # never retried
        assert not store.health.healthy
        assert store.health.failure
        disk.heal()
        disk.calls.clear()
        with pytest.raises(OutOfResources):
            await store.stage(CT, UID, EXPLICIT_LE, "M")
        with pytest.raises(OutOfResources):
            await store.remove(first.key)
        assert set(disk.calls) <= {"unlink"}  # of the temporary file
        assert await store.verify(first.key)
        assert store.health.buffers.free == store.health.buffers.total
    async with open_store(tmp_path) as store:
        assert store.health.healthy
        assert store.keys(0, 0) == [first.key]
        assert not files_below(tmp_path / "tmp" / "0")


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_file_and_folder_are_synced_after_the_rename_and_before_the_answer(
    tmp_path: Path, size: int
) -> None:
    disk = FailingDisk()
    async with open_store(tmp_path, system=disk) as store:
        await put(store, UID, bytes(size))
        disk.calls.clear()
        await put(store, UID, bytes(size))
        assert disk.calls[-3:] == ["rename", "fdatasync", "fsync"]


@pytest.mark.usefixtures("layout")
async def test_an_object_in_the_middle_when_the_disk_fails_is_refused_too(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with open_store(tmp_path, system=disk) as store:
        with await store.stage(CT, UID, EXPLICIT_LE, "M") as caught:
            await caught.write(bytes(100))
            disk.fail("fdatasync", errno.EIO)
            with pytest.raises(OutOfResources):
                await put(store, UID, b"x")
            disk.heal()
            with pytest.raises(OutOfResources):
                await store.commit(caught, length)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class UnclosableDisk(FailingDisk):
    """close does close, and then says that it failed, as it may on a network's file system.

    closed: the descriptors, in order
    """

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[int] = []

    def close(self, fd: int) -> None:  # type: ignore[override]
        os.close(fd)
        self.closed.append(fd)
        if "close" in self.failures:
            raise OSError(self.failures["close"], os.strerror(self.failures["close"]))


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_close_that_fails_after_the_object_is_durable_is_no_refusal(
    tmp_path: Path, size: int
) -> None:
    """Of the object's file, and of its folder, once the next one has begun."""
    disk, now = UnclosableDisk(), 0.0
    before = descriptors()
    async with open_store(tmp_path, system=disk, clock=lambda: now) as store:
        disk.fail("close", errno.EIO)
        disk.closed.clear()
        stored = []
        for number in range(3):
            stored.append((await put(store, f"{UID}.{number}", bytes(size)))[0])
            now += BATCH_S
        disk.heal()
        assert store.health.healthy
        assert len({on_disk(tmp_path, one.key).path.parent for one in stored}) == 3
        for one in stored:
            assert await store.verify(one.key)
        assert store.health.buffers.free == store.health.buffers.total
    assert descriptors() == before, "nothing leaks"


@pytest.mark.usefixtures("layout")
async def test_a_spill_that_found_the_disk_full_loses_no_byte_of_the_object(tmp_path: Path) -> None:
    disk, now, data = FailingDisk(), 0.0, os.urandom(BUFFER_BYTES + 5)
    async with open_store(tmp_path, system=disk, clock=lambda: now) as store:
        with await store.stage(CT, UID, EXPLICIT_LE, "M") as staging:
            await staging.write(data[: BUFFER_BYTES // 2])
            disk.fail("pwrite", errno.ENOSPC)
            for _ in range(2):
                with pytest.raises(OutOfResources):
                    await staging.spill()
            disk.heal()
            now += REFRESH_S
            await staging.spill()
            await staging.write(data[BUFFER_BYTES // 2 :])
            stored, _ = await store.commit(staging, length)
        assert on_disk(tmp_path, stored.key).read_bytes()[stored.data_offset :] == data
        assert await store.verify(stored.key)


async def test_what_lies_behind_an_object_on_disk_is_not_a_piece_of_the_one_before(tmp_path: Path) -> None:
    blocks: list[bytes] = []
    disk = FailingDisk()

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        blocks.append(bytes(data))
        return os.pwrite(fd, data, offset)

    disk.pwrite = pwrite  # type: ignore[assignment]
    async with open_store(tmp_path, system=disk) as store:
        await put(store, UID, b"\xaa" * 4000)
        stored, _ = await put(store, UID, b"\xbb" * 10)
    assert len(blocks[1]) == BLOCK_BYTES
    assert blocks[1][stored.size_bytes :] == bytes(BLOCK_BYTES - stored.size_bytes)


async def test_quarantine_syncs_both_folders_after_the_rename(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with open_store(tmp_path, system=disk) as store:
        stored, _ = await put(store, UID, b"x")
        disk.calls.clear()
        await store.quarantine(stored.key, "conflict")
        assert disk.calls == ["rename", "open", "fsync", "open", "fsync"]


@pytest.mark.usefixtures("layout")
async def test_out_of_descriptors_passes(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with open_store(tmp_path, system=disk) as store:
        disk.fail("open", errno.EMFILE)
        with pytest.raises(OutOfResources):
            await put(store, UID, b"x")
        disk.heal()
        await put(store, UID, b"x")


@pytest.mark.usefixtures("layout")
async def test_the_reserve_is_kept_before_the_disk_is_full(tmp_path: Path) -> None:
    disk, now = FailingDisk(), 0.0
    disk.free_bytes = 10 * BUFFER_BYTES
    async with open_store(tmp_path, system=disk, clock=lambda: now, reserve_bytes=4 * BUFFER_BYTES) as store:
        with pytest.raises(OutOfResources):
            await put(store, UID, bytes(7 * BUFFER_BYTES))
        now += REFRESH_S
        await put(store, UID, bytes(4 * BUFFER_BYTES))
        now += REFRESH_S
        disk.free_bytes = 5 * BUFFER_BYTES - 1
        with pytest.raises(OutOfResources):
            await store.stage(CT, UID, EXPLICIT_LE, "M")
        disk.free_bytes = 10 * BUFFER_BYTES
        now += REFRESH_S
        await put(store, UID, b"x")


@pytest.mark.usefixtures("layout")
async def test_a_node_that_nobody_sends_to_notices_that_there_is_room_again(tmp_path: Path) -> None:
    disk, now = FailingDisk(), 0.0
    disk.free_bytes = 0
    async with open_store(tmp_path, system=disk, clock=lambda: now) as store:
        with pytest.raises(OutOfResources):
            await store.stage(CT, UID, EXPLICIT_LE, "M")
        disk.free_bytes = 10 * BUFFER_BYTES
        assert store.health.free_bytes == 0
        now += REFRESH_S
        with trio.fail_after(20):
            while store.health.free_bytes != 10 * BUFFER_BYTES:
                await trio.lowlevel.checkpoint()
        readings = disk.calls.count("statvfs")
        for _ in range(10):
            assert store.free_bytes()
        assert disk.calls.count("statvfs") == readings


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("when", ["open", "write"])
async def test_a_file_system_without_unbuffered_writes_is_used_through_the_cache(
    tmp_path: Path, when: str
) -> None:
    class NoDirect(FailingDisk):
        def __init__(self) -> None:
            super().__init__()
            self.open = self._open_as_tmpfs  # type: ignore[assignment]
            self.pwrite = partial(self._write, os.pwrite)  # type: ignore[assignment]
            self.pwritev = partial(self._write, os.pwritev)  # type: ignore[assignment]
            self.direct: set[int] = set()
            self.refused = 0

        def _open_as_tmpfs(
            self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
        ) -> int:
            if flags & O_DIRECT:
                fd = os.open(path, flags & ~O_DIRECT, mode, dir_fd=dir_fd)
                if when == "open":
                    os.close(fd)  # older kernels create the file and then refuse
                    self.refused += 1
                    raise OSError(errno.EINVAL, "Invalid argument")
                os.close(fd)
                os.unlink(path, dir_fd=dir_fd)
            return os.open(path, flags, mode, dir_fd=dir_fd)

        def _write(self, honest: Callable[..., int], fd: int, data: Any, offset: int) -> int:
            if when == "write" and fcntl.fcntl(fd, fcntl.F_GETFL) & O_DIRECT:
                self.refused += 1
                raise OSError(errno.EINVAL, "Invalid argument")
            return honest(fd, data, offset)

    disk = NoDirect()
    async with open_store(tmp_path, system=disk) as store:
        for size in (SMALL, LARGE):
            data = os.urandom(size)
            stored, _ = await put(store, UID, data)
            assert on_disk(tmp_path, stored.key).read_bytes()[stored.data_offset :] == data
    assert disk.refused == 1


async def test_short_writes_are_continued(tmp_path: Path) -> None:
    disk = FailingDisk()
    real = os.pwrite
    disk.pwrite = lambda fd, data, offset: real(fd, data[: max(4096, len(data) // 8192 * 4096)], offset)  # type: ignore[assignment]
    async with open_store(tmp_path, system=disk) as store:
        data = os.urandom(LARGE)
        stored, _ = await put(store, UID, data)
        assert on_disk(tmp_path, stored.key).read_bytes()[stored.data_offset :] == data


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted = tmp_path / "full"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", mounted], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount tmpfs: {done.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)


@pytest.mark.usefixtures("layout")
async def test_a_really_full_disk_refuses_and_recovers(small_tmpfs: Path) -> None:
    async with open_store(small_tmpfs) as store:
        kept: dict[str, bytes] = {}
        with pytest.raises(OutOfResources):
            for _ in range(100):
                data = os.urandom(700_000)
                stored, _ = await put(store, UID, data)
                kept[stored.key] = data
        assert len(kept) > 10
        for key, data in kept.items():
            assert b"".join(store.export(key)).endswith(data)
            assert await store.verify(key)
        assert store.health.healthy
        for key in list(kept)[:5]:
            await store.remove(key)
        with trio.fail_after(20):
            while True:
                try:
                    await put(store, UID, os.urandom(700_000))
                    break
                except OutOfResources:
                    await trio.sleep(0.05)  # until the free space is read again
    assert not files_below(small_tmpfs / "tmp" / "0")
