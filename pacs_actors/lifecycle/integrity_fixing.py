"""Fixing what reconciling has found, as far as nothing can be lost by it: nothing is overwritten, nothing answered is removed.

Objects that no row knows go the way that recovery takes: read, verified, handed to the indexer, which settles what is a copy, a
conflict, or what takes the place of a lost one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import asyncpg
import msgspec

from pacs_actors.archive.key_values import storable
from pacs_actors.archive.objects.buffers import BUFFER_BYTES
from pacs_actors.archive.objects.keys import ObjectMissing, quarantine_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.objects.recovery import read_entry, recover_batch
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.lifecycle.integrity_compare import correction
from pacs_actors.lifecycle.integrity_files import before_quarantine
from pacs_actors.lifecycle.integrity_reading import read_head
from pacs_actors.lifecycle.integrity_rows import IntegrityRows, Row, places
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.operations import logs
from protocols.dataset.part10 import ObjectRecord
from protocols.dataset.record import IndexEntry, ScannedInstance
from protocols.dataset.scan import scan
from protocols.errors import OutOfResources, PacsError
from protocols.messages.archive import FlushIndex, IndexInstance, IndexMessage

_FLUSH_WITHIN_S: Final = 600.0
_AT_ONCE: Final = 500


class _AllBut:
    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = frozenset(keys)

    def __contains__(self, key: object) -> bool:
        return key not in self._keys


class Fixer:
    """index: the mailbox of an indexer that works on ``store``

    custom: tag -> VR of the attributes indexed besides the built-in ones
    """

    def __init__(
        self,
        store: LocalObjectStore,
        rows: IntegrityRows,
        progress: IndexProgress,
        index: Mailbox[IndexMessage],
        *,
        custom: dict[int, str],
    ) -> None:
        self.store, self.rows, self.progress, self.mailbox, self.custom = store, rows, progress, index, custom
        self._large_heads = Lock()

    async def index(self, slot: int, keys: Sequence[str]) -> dict[str, tuple[str, bool]]:
        """Have objects indexed; of each what became of it, and whether it is settled. raises: Unavailable"""
        folders: defaultdict[int, list[str]] = defaultdict(list)
        for _, batch, key in places(keys):
            folders[batch].append(key)
        became: dict[str, tuple[str, bool]] = {}
        for batch, some in sorted(folders.items()):
            found = await recover_batch(self.store, slot, batch, _AllBut(some), self._scan)
            for at in range(0, len(found.entries), _AT_ONCE):
                for entry in found.entries[at : at + _AT_ONCE]:
                    await self.mailbox.tell(IndexInstance(entry, recovered=True))
                await self.mailbox.ask(FlushIndex(), within_s=_FLUSH_WITHIN_S)
            became |= dict.fromkeys(found.unscannable, ("it is intact, but beyond our scanner", False))
            became |= dict.fromkeys(found.unread, ("the disk does not give it", False))
            for aside in found.damaged:
                was = before_quarantine(aside)
                became[str(was)] = (
                    "it was damaged, and is in quarantine now",
                    await self.list_quarantined(aside),
                )
            became |= {
                entry.stored.key: ("it is settled now", True)
                for entry in found.entries
                if entry.stored.key not in became
            }
        return became

    async def correct(self, row: Row) -> bool:
        """Put right what a row says of the size and the beginning of the very bytes that it means, if they are whole."""
        try:
            head = await self.store.threads.run(lambda: read_head(self.store, row.key, with_uid=False))
            record = correction(row, head)
            if record is None or not await self.store.verify(row.key):
                return False
        except (ObjectMissing, OSError):
            return False
        await self._correct(row, record)
        return True

    async def _correct(self, row: Row, record: ObjectRecord) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                """UPDATE instances SET size_bytes = $4, data_offset = $5
                WHERE sop_instance_uid = $1 AND object_key = $2 AND digest = $3""",
                row.sop_instance_uid, row.key, row.digest, record.size_bytes, record.data_offset,
            )  # fmt: skip

        await self.rows.database.run(unit)
        logs.warning("row_corrected", key=row.key, uid=row.sop_instance_uid)

    async def relink(self, row: Row) -> bool:
        """Bring a lost object back from quarantine, if one is there with the very bytes. raises: Unavailable"""
        same_place = [
            quarantine_key(row.key, why) for why in ("deleted", "damaged", "conflict", "unindexable")
        ]
        for key in dict.fromkeys([*same_place, *await self.rows.quarantined_of(row.sop_instance_uid)]):
            entry = await self._same_as(row, key)
            if entry is None or await self._of_a_deletion(key):
                continue
            try:
                await self._bring_back(key, entry)
            except (ObjectMissing, OutOfResources) as why:
                logs.warning("object_not_relinked", key=key, why=str(why))
                continue
            if row.key not in await self.rows.of_keys(places([row.key])):
                return True
        return False

    async def _same_as(self, row: Row, key: str) -> IndexEntry | None:
        def read() -> IndexEntry | None:
            head = read_head(self.store, key, with_uid=False)
            if head.record is None or head.record.digest != row.digest:
                return None
            buffer = memoryview(bytearray(BUFFER_BYTES))
            return read_entry(self.store.root, key, self._scan, buffer, self._large_heads)

        try:
            entry = await self.store.threads.run(read)
        except (PacsError, OSError):
            return None  # not there, not given, or beyond our scanner
        if entry is None or entry.scanned.sop_instance_uid != row.sop_instance_uid:
            return None
        return entry

    async def _of_a_deletion(self, key: str) -> bool:
        was = before_quarantine(key)
        rows = await self.rows.of_keys(places([str(was)])) if was is not None else {}
        return any(row.place != "index" for row in rows.values())

    async def _bring_back(self, key: str, entry: IndexEntry) -> None:
        """The indexer finds that the first object is lost, and gives its place to this one."""
        with self.progress.writing():
            restored = await self.store.restore(key, entry.scanned.sop_instance_uid)
            stored = msgspec.structs.replace(entry.stored, key=restored)
            await self.mailbox.tell(IndexInstance(IndexEntry(entry.scanned, stored), recovered=True))
            await self.mailbox.ask(FlushIndex(), within_s=_FLUSH_WITHIN_S)

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute("DELETE FROM quarantine WHERE object_key = $1", key)

        await self.rows.database.run(unit)

    async def set_aside(self, key: str) -> bool:
        """Move what was deleted to where it belongs."""
        try:
            await self.store.set_aside(key)
        except OutOfResources:
            return False
        return True

    async def list_quarantined(self, key: str) -> bool:
        """Give an object in quarantine its row there, with the reason that it went there for."""
        try:
            head = await self.store.threads.run(lambda: read_head(self.store, key, with_uid=True))
        except (ObjectMissing, OSError):
            return False
        was, record = before_quarantine(key), head.record

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                """INSERT INTO quarantine (sop_instance_uid, object_key, first_key, digest, size_bytes, why, source)
                VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (object_key) DO NOTHING""",
                head.sop_instance_uid, key, "" if was is None else str(was), b"" if record is None else record.digest,
                head.size_bytes, key.split("/")[1], "" if record is None else storable(record.source),
            )  # fmt: skip

        await self.rows.database.run(unit)
        return True

    async def unlink(self, path: str) -> bool:
        """Remove what ``integrity_files.leftovers`` found, as the next start would."""
        try:
            await self.store.threads.run(lambda: Path(self.store.root, path).unlink(missing_ok=True))
        except OSError:
            return False
        return True

    def _scan(self, data_set: memoryview, transfer_syntax_uid: str, complete: bool) -> ScannedInstance:
        return scan(data_set, transfer_syntax_uid, custom=self.custom, complete=complete)
