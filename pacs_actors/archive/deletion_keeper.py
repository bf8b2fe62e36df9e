"""Deletion keeper: moves deleted objects aside, brings them back when somebody undoes it, erases them when their time has come.

Receives a wake-up when something was deleted or undone; finds the rest in the table ``deletions``, so that a crash at any point
leaves it to the next start or to another worker. Sends IndexInstance for what comes back. The keepers of several workers share
the rows by leases, and each node does its part, with its own objects; every step may be done twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from threading import Lock
from typing import Final, Protocol

import msgspec
import trio

from pacs_actors.archive.deletions import DeletedObject, Deletions, Due
from pacs_actors.archive.metadata_files import MetadataFiles, series_name
from pacs_actors.archive.objects.buffers import BUFFER_BYTES
from pacs_actors.archive.objects.keys import ObjectMissing, quarantine_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.objects.recovery import read_entry
from pacs_actors.archive.progress import IndexProgress, wait_until_indexed
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.operations import logs
from protocols.dataset.record import IndexEntry, ScannedInstance, StoredObject
from protocols.dataset.scan import scan
from protocols.errors import PacsError, Unavailable
from protocols.messages.archive import FlushIndex, IndexInstance, IndexMessage

_LOOK_EVERY_S: Final = 2.0
_LEASE_S: Final = 10.0  # what a crashed worker had taken is due again after it
_PUT_OFF_S: Final = 5.0
_AT_ONCE: Final = 128
_READERS: Final = 4
_FLUSH_WITHIN_S: Final = 30.0


class Elsewhere(Protocol):
    """Copies of objects outside of the online store."""

    async def forget_erased(self, objects: Sequence[tuple[str, bytes]]) -> object:
        """Have the copies of these (SOP Instance UID, digest) removed."""

    async def restore(self, sop_instance_uid: str, digest: bytes, size_bytes: int) -> StoredObject | None:
        """Make an object of a copy, durably; None if there is no copy."""


class DeletionKeeper:
    """metadata: copies of what is in the objects, made for the web
    elsewhere: copies of the objects themselves
    backlog:  as an ingest writer's; custom: tag -> VR of the attributes indexed besides the built-in ones
    """

    def __init__(
        self,
        deletions: Deletions,
        store: LocalObjectStore,
        progress: IndexProgress,
        index: Mailbox[IndexMessage],
        metadata: MetadataFiles,
        elsewhere: Elsewhere,
        *,
        backlog: int,
        custom: dict[int, str],
    ) -> None:
        self.elsewhere = elsewhere
        self.deletions, self.store, self.progress, self.index = deletions, store, progress, index
        self.metadata, self.backlog, self.custom = metadata, backlog, custom
        self._news = trio.Event()
        self._large_heads = Lock()

    def look(self) -> None:
        """Something was deleted or undone just now."""
        self._news.set()

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            self._news = trio.Event()
            try:
                due = await self.deletions.take(_LEASE_S, self.store.node)
            except Unavailable:
                due = None
            if due is not None:
                await self._serve(due)
                continue
            with trio.move_on_after(_LOOK_EVERY_S):
                await self._news.wait()

    async def _serve(self, due: Due) -> None:
        try:
            match due.state:
                case "deleted":
                    await self._set_aside(due)
                case "undoing":
                    await self._restore(due)
                case _:
                    await self._erase(due)
        except (PacsError, OSError) as failure:
            logs.warning("deletion_put_off", deletion=due.id, state=due.state, why=str(failure))
            try:
                await self.deletions.put_off(due, _PUT_OFF_S)
            except Unavailable:
                pass  # the lease runs out

    async def _set_aside(self, due: Due) -> None:
        await self._remove_copies(due)
        async for objects in self._pieces(due):
            await self.store.set_aside(*(one.key for one in objects))
            await self.deletions.renew(due, _LEASE_S)
        await self.deletions.set_aside(due.id, self.store.node)

    async def _erase(self, due: Due) -> None:
        erased = 0
        async for objects in self._pieces(due):
            await self.store.remove(*(quarantine_key(one.key, "deleted") for one in objects))
            await self.elsewhere.forget_erased([(one.sop_instance_uid, one.digest) for one in objects])
            await self.deletions.renew(due, _LEASE_S)
            erased += len(objects)
        await self._remove_copies(due)
        await self.deletions.erased(due, self.store.node)
        logs.event("deletion_erased", deletion=due.id, objects=erased)

    async def _remove_copies(self, due: Due) -> None:
        """What was made of its objects for the web."""
        study, series = due.target.study_instance_uid, await self.deletions.series(due.id)
        names = [series_name(study, one) for one in series]
        await self.store.threads.run(self.metadata.remove, names)

    async def _restore(self, due: Due) -> None:
        restored = lost = 0
        async for objects in self._pieces(due):
            if self.progress.backlog >= self.backlog:
                raise Unavailable("the index is too far behind")
            left, done, failures = deque(objects), list[str](), list[Exception]()
            async with trio.open_nursery() as nursery:
                for _ in range(_READERS):
                    nursery.start_soon(self._restore_each, left, done, failures)
            if failures:
                raise failures[0]
            await self.index.ask(FlushIndex(), within_s=_FLUSH_WITHIN_S)
            await self.deletions.renew(due, _LEASE_S, done)
            restored, lost = restored + len(done), lost + len(objects) - len(done)
        await self.deletions.undone(due.id, self.store.node)
        logs.event("deletion_undone", deletion=due.id, objects=restored, lost=lost)

    async def _restore_each(
        self, left: deque[DeletedObject], done: list[str], failures: list[Exception]
    ) -> None:
        while left and not failures:
            one = left.popleft()
            try:
                if await self._restore_one(one):
                    done.append(one.key)
            except (PacsError, OSError) as failure:
                failures.append(failure)

    async def _restore_one(self, one: DeletedObject) -> bool:
        """Back into the archive and on to the indexer. False: nobody has it whole; what is damaged stays where it is.

        raises: PacsError, OSError if nobody can tell now
        """
        aside = quarantine_key(one.key, "deleted")
        # It may not have been moved yet, or be moved just now.
        for place in (aside, one.key, aside):
            try:
                entry = await self._read(place)
                if entry is None:
                    break
                with self.progress.writing():
                    key = await self.store.restore(place, one.sop_instance_uid)
                    self._hand_on(entry, key)
                return True
            except ObjectMissing:
                continue
        with self.progress.writing():
            stored = await self.elsewhere.restore(one.sop_instance_uid, one.digest, one.size_bytes)
            entry = None if stored is None else await self._read(stored.key)
            if stored is not None and entry is not None:
                self._hand_on(entry, stored.key)
                return True
        # Moved back before a crash: then recovery indexes it.
        if not await wait_until_indexed(self.progress, within_s=_FLUSH_WITHIN_S):
            raise Unavailable("what was stored earlier is not all indexed")
        if await self.deletions.is_indexed(one.sop_instance_uid, one.digest):
            return True
        logs.error("deleted_object_lost", uid=one.sop_instance_uid, key=one.key)
        return False

    def _hand_on(self, entry: IndexEntry, key: str) -> None:
        self.progress.stored(key, entry.stored.size_bytes)
        self.progress.page.count_answered()
        stored = msgspec.structs.replace(entry.stored, key=key)
        self.index.tell_nowait(IndexInstance(IndexEntry(entry.scanned, stored)))

    async def _read(self, key: str) -> IndexEntry | None:
        """raises: ObjectMissing, OSError"""

        def read() -> IndexEntry | None:
            buffer = memoryview(bytearray(BUFFER_BYTES))
            return read_entry(self.store.root, key, self._scan, buffer, self._large_heads)

        try:
            entry = await self.store.threads.run(read)
        except ObjectMissing:
            raise
        except PacsError as refused:
            logs.error("object_unscannable", key=key, why=str(refused))
            return None
        if entry is None:
            logs.error("object_damaged", key=key)
        return entry

    def _scan(self, data_set: memoryview, transfer_syntax_uid: str, complete: bool) -> ScannedInstance:
        return scan(data_set, transfer_syntax_uid, custom=self.custom, complete=complete)

    async def _pieces(self, due: Due) -> AsyncIterator[list[DeletedObject]]:
        after = ""
        while objects := await self.deletions.objects(due.id, after, _AT_ONCE, self.store.node):
            yield objects
            after = objects[-1].key
