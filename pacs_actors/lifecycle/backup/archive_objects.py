"""The objects of all nodes of an archive, for a backup: ours from our folder, those of others from copies in the stores.

Called on native threads that Trio started. Another node's objects are those that the index has; a copy is given as a file
without a name, and only if all of it is what was stored.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import asyncpg
import trio

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing, node_of, parse_key
from pacs_actors.connections import Unit
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup.copying import NotToBeHad, OwnObjects
from pacs_actors.lifecycle.copies import Copies, Copy
from pacs_actors.lifecycle.copy_bytes import CopyBytes
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.operations import logs
from protocols.errors import PacsError

T = TypeVar("T")
_QUARANTINE: Final = "quarantine/"
_WITHIN_S: Final = 600.0
_READ_WITHIN_S: Final = 600.0

# From folder to folder, not from row to row: a slot may have millions.
_BATCHES: Final = """
    WITH RECURSIVE b (batch) AS (SELECT min(batch) FROM instances WHERE slot = $1 AND batch >= $2
        UNION ALL SELECT (SELECT min(i.batch) FROM instances i WHERE i.slot = $1 AND i.batch > b.batch) FROM b
        WHERE b.batch IS NOT NULL)
    SELECT batch FROM b WHERE EXISTS (SELECT FROM instances i WHERE i.slot = $1 AND i.batch = b.batch AND i.availability = 'ONLINE')
    ORDER BY 1"""


class ArchiveObjects:
    """own: of this node's folder; node: its number; stores: by name, in the order in which they are asked"""

    def __init__(
        self,
        own: OwnObjects,
        node: int,
        database: Database,
        stores: Mapping[str, TierStore],
        reading: CopyBytes,
    ) -> None:
        self._own, self._database, self._stores, self._reading = own, database, stores, reading
        self._copies = Copies(database)
        self._node = node

    def is_own(self, slot: int) -> bool:
        return node_of(slot) == self._node

    def slots(self) -> list[int]:
        rows = self._ask(_fetched("SELECT slot FROM ingest_mark ORDER BY slot"))
        return sorted({*self._own.slots(), *(row[0] for row in rows)})

    def batches(self, slot: int, at_least: int = 0) -> list[int]:
        if self.is_own(slot):
            return self._own.batches(slot, at_least)
        rows = self._ask(_fetched(_BATCHES, slot, at_least))
        return [row[0] for row in rows]

    def keys(self, slot: int, batch: int) -> list[str]:
        if self.is_own(slot):
            return self._own.keys(slot, batch)
        rows = self._ask(
            _fetched(
                "SELECT object_key FROM instances WHERE slot = $1 AND batch = $2 AND availability = 'ONLINE'", slot, batch
            )
        )  # fmt: skip
        return [row[0] for row in rows]

    def open(self, key: str) -> ObjectFile:
        """raises: ObjectMissing; NotToBeHad if another node has it, and no store gives a good copy; OSError"""
        if key.startswith(_QUARANTINE) or self.is_own(parse_key(key).slot):
            return self._own.open(key)
        found = self._ask(partial(_object, key=key))
        if found is None:
            raise ObjectMissing(key)
        uid, digest, size_bytes = found
        return trio.from_thread.run(self._fetch, key, uid, digest, size_bytes)

    async def _fetch(self, key: str, uid: str, digest: bytes, size_bytes: int) -> ObjectFile:
        why = "no store has a copy"
        try:
            copies = await self._copies.of_object(uid, digest)
            for name, store in self._stores.items():
                if name in copies:
                    file = await self._read(store, copies[name], digest, size_bytes)
                    if isinstance(file, ObjectFile):
                        return file
                    why = file
        except PacsError as away:
            why = str(away)
        raise NotToBeHad(key, uid, why)

    async def _read(self, store: TierStore, copy: Copy, digest: bytes, size_bytes: int) -> ObjectFile | str:
        """Why not, if the store does not give it whole. raises: OSError"""
        file = tempfile.TemporaryFile(dir=self._reading.scratch, buffering=0)  # noqa: SIM115 - who reads it closes it
        try:
            with trio.move_on_after(_READ_WITHIN_S):
                async with store.get(copy.stored.key) as pieces:
                    plain = self._reading.plain(size_bytes, copy, pieces)
                    await self._reading.land(file.fileno(), digest, plain)
                return ObjectFile(os.dup(file.fileno()), 0, size_bytes)
            return "a store takes too long"
        except PacsError as why:
            logs.warning("backup_copy_unusable", key=copy.stored.key, why=str(why))
            return str(why)
        finally:
            file.close()

    def _ask(self, unit: Unit[T]) -> T:
        return trio.from_thread.run(partial(self._database.run, unit, within_s=_WITHIN_S))


def _fetched(statement: str, *arguments: object) -> Unit[Sequence[asyncpg.Record]]:
    async def unit(connection: asyncpg.Connection) -> Sequence[asyncpg.Record]:
        found: Sequence[asyncpg.Record] = await connection.fetch(statement, *arguments)
        return found

    return unit


async def _object(connection: asyncpg.Connection, key: str) -> tuple[str, bytes, int] | None:
    """SOP Instance UID, digest and size of the object of a key, as long as it is somebody's; None if it has left its place."""
    place = parse_key(key)
    row = await connection.fetchrow(
        """SELECT sop_instance_uid, digest, size_bytes FROM instances
        WHERE slot = $1 AND batch = $2 AND object_key = $3 AND availability = 'ONLINE'
        UNION ALL SELECT sop_instance_uid, digest, size_bytes FROM deleted_instances
        WHERE slot = $1 AND batch = $2 AND object_key = $3 LIMIT 1""",
        place.slot, place.batch, key,
    )  # fmt: skip
    return None if row is None else (row[0], row[1], row[2])
