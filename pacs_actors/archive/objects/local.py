"""The object store on a local file system.

An object that fits a receive buffer is packed into its batch folder's segment, by group commit, or has a file for itself, as
``storage.layout`` says; a larger one has a file in either case. Both are read whatever the setting says.

Owns, under its root: ``objects/<slot>`` and ``tmp/<slot>``, alone, and ``quarantine`` together with the
other workers. Receives staged objects, and keys; sends nothing. Takes objects until the reserve of free
space is reached, and again when there is room; after a failed sync or an input/output error it is read-only
until the process starts again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TypeVar

import outcome

from config.settings import StorageSettings
from pacs_actors.archive.objects import listing, reading
from pacs_actors.archive.objects.batches import (
    BatchFolders,
    batch_numbers,
    make_durable_folder,
    newest_batch,
    sync_folder,
)
from pacs_actors.archive.objects.buffers import BUFFER_BYTES, BufferPool
from pacs_actors.archive.objects.filesystem import FileSystem, Health, closed, synced
from pacs_actors.archive.objects.interface import Check, Committed, ObjectFile, Staging, StoreHealth
from pacs_actors.archive.objects.keys import (
    MAX_SLOT,
    SEGMENT,
    Names,
    QuarantineReason,
    batch_folder,
    node_of,
    node_of_key,
    slot_folder,
)
from pacs_actors.archive.objects.moving import Mover
from pacs_actors.archive.objects.packing import MOST_AT_ONCE, Packer, Packing
from pacs_actors.archive.objects.records import trim
from pacs_actors.archive.objects.space import Space
from pacs_actors.archive.objects.staging import LocalStaging, Tools
from pacs_actors.archive.objects.writing import DurableWriter
from pacs_actors.group_thread import GroupThread
from pacs_actors.operations import logs
from pacs_actors.operations.step_times import StepTimes
from pacs_actors.threads import NativePool, PoolStatistics
from protocols.dataset.part10 import file_meta
from protocols.errors import Misuse, OutOfResources, Unavailable

T = TypeVar("T")

_FOLDERS = (
    "objects",
    "tmp",
    "quarantine",
    "quarantine/conflict",
    "quarantine/damaged",
    "quarantine/deleted",
    "quarantine/unindexable",
)
_FOLDERS_WITHOUT_SEGMENT = 100  # are passed over in search of the last one


class LocalObjectStore:
    """See ``interface.ObjectStore``. An async context manager: open before use, once.

    root:     the server's data folder
    slot:     the worker's; one process at a time may have it
    node:     the node that the folder belongs to; None: that of the slot
    system:   the system calls
    clock:    monotonic seconds
    threads:  the native threads, for others' use too while the store is open
    commits:  how long commits take, from all that is there to what is durable; opens: likewise
    """

    def __init__(
        self,
        root: Path,
        slot: int,
        settings: StorageSettings,
        *,
        node: int | None = None,
        system: FileSystem | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if not 0 <= slot <= MAX_SLOT:
            raise Misuse(f"slot {slot}")
        self.root, self.slot, self.settings = root, slot, settings
        self.node = node_of(slot) if node is None else node
        self.threads = NativePool(settings.writer_threads, f"store-{slot}")
        self._system = system or FileSystem()
        self._clock = clock
        self._names = Names()
        self._health = Health()
        self._buffers = BufferPool(settings.buffers)
        self._refreshing = False
        self._packs = settings.layout == "segments"
        self.commits, self.opens = StepTimes(), StepTimes()

    async def __aenter__(self) -> LocalObjectStore:
        """raises: Unavailable if another process has the slot; OSError if the folders cannot be made"""
        await self.threads.__aenter__()
        try:
            writer = await self.threads.run(self._open)
        except BaseException:
            await self.threads.__aexit__(None, None, None)
            raise
        self._tools = Tools(writer, self.threads, self._buffers, self._names)
        self._mover = Mover(self.root, writer, self._names)
        self._packer = Packer(writer)
        self._packing = GroupThread(self._packer.commit, MOST_AT_ONCE, f"packer-{self.slot}")
        await self._packing.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The threads end first, because they may still be dropping temporary files.
        await self._packing.__aexit__(kind, error, trace)
        await self.threads.__aexit__(kind, error, trace)
        self._close()

    def owns(self, key: str) -> bool:
        """Whether an object of this key is this node's: another's is not in our folder. raises: ObjectMissing if it is no key"""
        return node_of_key(key) == self.node

    def current_batch(self) -> int:
        return self._folders.current

    async def stage(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source: str
    ) -> Staging:
        self._health.check()
        if self._space.stale:
            await self.threads.run(self._refresh_space)
        if self._space.free_bytes < BUFFER_BYTES:
            raise OutOfResources("no space left for images")
        meta = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        return LocalStaging(self._tools, await self._buffers.acquire(), sop_instance_uid, meta, source)

    async def commit(self, staging: Staging, check: Check[T]) -> Committed[T]:
        if not isinstance(staging, LocalStaging):
            raise Misuse("an object staged by another store")
        began = self._clock()
        staging.begin_commit()
        try:
            await staging.resume()
            if self._packs and staging.fits_buffer:
                done = await self._packing.run(Packing(staging, check))
            else:
                done = await self.threads.run(staging.finish, check)
        finally:
            staging.end_commit()
        self.commits.note(began, self._clock())
        return done

    def start_commit(
        self, staging: Staging, check: Check[T], done: Callable[[outcome.Outcome[Committed[T]]], object]
    ) -> None:
        if not isinstance(staging, LocalStaging) or not staging.has_buffer:
            raise Misuse("an object staged by another store, or parked")
        ended = partial(self._commit_ended, staging, done, self._clock())
        staging.begin_commit()
        try:
            if self._packs and staging.fits_buffer:
                self._packing.start(Packing(staging, check), ended)
            else:
                self.threads.start(staging.finish, check, done=ended)
        except BaseException:
            staging.end_commit()
            raise

    def _commit_ended(
        self,
        staging: LocalStaging,
        done: Callable[[outcome.Outcome[Committed[T]]], object],
        began: float,
        result: outcome.Outcome[Committed[T]],
    ) -> None:
        staging.end_commit()
        if isinstance(result, outcome.Value):
            self.commits.note(began, self._clock())
        done(result)

    def open(self, key: str) -> ObjectFile:
        began = self._clock()
        file = reading.open_object(self.root, key)
        self.opens.note(began, self._clock())
        return file

    def export(self, key: str) -> Iterator[bytes]:
        return reading.export(self.root, key)

    async def verify(self, key: str) -> bool:
        return await self.threads.run(reading.is_intact, self.root, key)

    async def same(self, first: str, second: str) -> bool:
        return await self.threads.run(reading.same_bytes, self.root, first, second)

    async def exists(self, key: str) -> bool:
        return await self.threads.run(reading.is_there, self.root, key)

    async def remove(self, *keys: str) -> None:
        await self.threads.run(self._mover.remove, keys)

    async def quarantine(self, key: str, why: QuarantineReason) -> str:
        return await self.threads.run(self._mover.quarantine, key, why)

    async def set_aside(self, *keys: str) -> None:
        await self.threads.run(self._mover.set_aside, keys)

    async def restore(self, key: str, sop_instance_uid: str) -> str:
        return await self.threads.run(self._mover.restore, key, sop_instance_uid)

    async def sync_batch(self, slot: int, batch: int) -> None:
        """Make a batch folder's entries durable, for what is recovered. raises: OutOfResources"""
        await self.threads.run(self._sync_batch, slot, batch)

    def slots(self) -> list[int]:
        return listing.slots(self.root)

    def batches(self, slot: int, at_least: int = 0) -> list[int]:
        return batch_numbers(self.root, slot, at_least)

    def keys(self, slot: int, batch: int) -> list[str]:
        return listing.keys(self.root, slot, batch)

    def free_bytes(self) -> int:
        if self._space.stale and not self._refreshing:
            # For the next who asks: a node that nobody sends to, because it was full, must notice that it is not.
            self._refreshing = True
            self.threads.submit(self._refresh_space_unasked)
        return self._space.free_bytes

    @property
    def health(self) -> StoreHealth:
        return StoreHealth(
            self._health.failure, self.free_bytes(), self._buffers.statistics, self._statistics()
        )

    def _statistics(self) -> PoolStatistics:
        """Of all native threads, the packer's among them."""
        pool, packer = self.threads.statistics, self._packing.statistics
        return PoolStatistics(
            pool.threads + packer.threads, pool.busy + packer.busy, pool.waiting + packer.waiting
        )

    # -- on native threads --------------------------------------------------------------------------
    def _open(self) -> DurableWriter:
        self.root.mkdir(0o700, parents=True, exist_ok=True)
        sync_folder(self._system, self.root.parent)
        for folder in (*_FOLDERS, slot_folder(self.slot), f"tmp/{self.slot}"):
            make_durable_folder(self._system, self.root, folder)
        self._slot_fd = self._lock_slot()
        try:
            return self._open_locked()
        except BaseException:
            os.close(self._slot_fd)
            raise

    def _open_locked(self) -> DurableWriter:
        swept = self._sweep()
        if swept:
            logs.event("temporary_files_swept", slot=self.slot, files=swept)
        self._space = Space(self._ask_free, self.settings.reserve_bytes, self._clock)
        newest = newest_batch(self.root, self.slot)
        self._trim(newest)
        self._folders = BatchFolders(self._system, self.root, self.slot, newest, self._clock)
        return DurableWriter(
            self._temporary,
            self.slot,
            system=self._system,
            folders=self._folders,
            space=self._space,
            health=self._health,
        )

    def _trim(self, newest: int) -> None:
        """Give back what a process that was killed had taken of the disk and not used: of its last segment."""
        for batch in range(newest, max(newest - _FOLDERS_WITHOUT_SEGMENT, -1), -1):
            try:
                trim(self.root / batch_folder(self.slot, batch) / SEGMENT)
            except FileNotFoundError:
                continue  # only large objects came in that minute
            except OSError as error:
                logs.warning("segment_not_trimmed", slot=self.slot, batch=batch, why=error.strerror)
            return

    @property
    def _temporary(self) -> Path:
        return self.root / "tmp" / str(self.slot)

    def _close(self) -> None:
        self._packer.close()
        self._tools.writer.close()
        os.close(self._slot_fd)

    def _lock_slot(self) -> int:
        """The lock's file descriptor. The kernel frees the lock when the process ends, however it ends."""
        path = self.root / "tmp" / f"{self.slot}.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise Unavailable(f"slot {self.slot} of the object store is used by another process") from None
        return fd

    def _sweep(self) -> int:
        """Delete what an earlier process left half-received."""
        swept = 0
        for path in self._temporary.iterdir():
            self._system.unlink(path)
            swept += 1
        return swept

    def _ask_free(self) -> int:
        answer = self._system.statvfs(self.root)
        return answer.f_bavail * answer.f_frsize

    def _refresh_space(self) -> None:
        self._mover.reclaim()
        with self._tools.writer.refusing("statvfs"):
            self._space.refresh()

    def _refresh_space_unasked(self) -> None:
        try:
            with suppress(OutOfResources):
                self._refresh_space()
        finally:
            self._refreshing = False

    def _sync_batch(self, slot: int, batch: int) -> None:
        with self._tools.writer.refusing("recovery"):
            folder = self.root / batch_folder(slot, batch)
            with suppress(FileNotFoundError):
                fd = self._system.open(folder / SEGMENT, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    synced(self._system.fdatasync, fd)
                finally:
                    closed(self._system, fd)
            sync_folder(self._system, folder)
