"""Node keeper: in the first worker of each node, does for the node what others cannot do for it.

Receives nothing. Says that the node is alive; removes objects of ours that the index has let go while another node was at work;
removes copies of other nodes' objects once those are deleted. Every step may be done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import asyncpg
import trio

from pacs_actors.archive.metadata_files import MetadataFiles, series_name
from pacs_actors.archive.object_removals import ObjectRemovals, Removal
from pacs_actors.archive.objects.keys import ObjectMissing, parse_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.database import Database
from pacs_actors.lifecycle.node_cache import NodeCache
from pacs_actors.mail import Ready
from pacs_actors.nodes import SEEN_EVERY_S, Nodes
from pacs_actors.operations import logs
from protocols.errors import PacsError, Unavailable

_AT_ONCE: Final = 500


class Comparing(Protocol):
    """Copies of other nodes' objects."""

    async def compared(self, sop_instance_uid: str) -> str | None:
        """The key of one, to compare with; None: there is none to be had now."""


class NodeKeeper:
    """metadata:  made for the web of objects, of other nodes' too
    forgotten: called when the archive goes on without this node
    """

    def __init__(
        self,
        store: LocalObjectStore,
        database: Database,
        cache: NodeCache,
        comparing: Comparing,
        metadata: MetadataFiles,
        forgotten: Callable[[], None] = lambda: None,
    ) -> None:
        self.store, self.database, self.cache, self.metadata = store, database, cache, metadata
        self.nodes, self.removals, self._comparing = Nodes(database), ObjectRemovals(database), comparing
        self._forgotten = forgotten
        self._deletion = -1  # the newest whose copies are gone
        self.removed = 0

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say_alive)
            while True:
                try:
                    await self.remove()
                    await self.forget_deleted()
                except (PacsError, OSError) as why:
                    logs.debug("node_keeper_waits", why=str(why))
                await trio.sleep(SEEN_EVERY_S)

    async def _say_alive(self) -> None:
        """By itself: removing may take long."""
        while True:
            try:
                if not await self.nodes.seen(self.store.node):
                    logs.error("node_forgotten", node=self.store.node)
                    self._forgotten()
                    return
            except Unavailable as why:
                logs.debug("node_not_seen", why=str(why))
            await trio.sleep(SEEN_EVERY_S)

    async def remove(self) -> None:
        """Remove what the index has let go. raises: Unavailable; OutOfResources; OSError"""
        after = ""
        while due := await self.removals.due(self.store.node, after, _AT_ONCE):
            after = due[-1].key
            gone = [one.key for one in due if not one.wanted and (not one.compare or one.superfluous)]
            await self.store.remove(*gone)
            done = [*gone, *(one.key for one in due if one.wanted)]
            done += [
                one.key for one in due if not one.wanted and one.key not in gone and await self._compare(one)
            ]
            await self.removals.done(done)
            self.removed += len(gone)

    async def _compare(self, removal: Removal) -> bool:
        """An object that was stored on another node again: only what is there byte for byte is removed. False: later."""
        other = await self._comparing.compared(removal.sop_instance_uid)
        if other is None:
            return False
        if await self.store.same(other, removal.key):
            await self.store.remove(removal.key)
            self.removed += 1
            return True
        try:
            kept = await self.store.quarantine(removal.key, "conflict")
        except ObjectMissing:
            return True
        logs.error("instance_conflict", uid=removal.sop_instance_uid, first=removal.key, quarantined=kept)
        return True

    async def forget_deleted(self) -> None:
        """Remove copies and metadata of what was deleted since the last look, on whatever node. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> tuple[int, list[tuple[str, str]]]:
            newest: int = await connection.fetchval("SELECT coalesce(max(id), 0) FROM deletions")
            if newest <= self._deletion:
                return newest, []
            rows = await connection.fetch(
                "SELECT DISTINCT d.study_instance_uid, i.series_instance_uid FROM deletions d "
                "JOIN deleted_instances i ON i.deletion = d.id WHERE d.id > $1",
                self._deletion,
            )
            return newest, [(row[0], row[1]) for row in rows]

        newest, series = await self.database.run(unit)
        if newest > self._deletion:
            await self.store.threads.run(self.metadata.remove, [series_name(*one) for one in series])
            keys = await self.cache.keys()
            for at in range(0, len(keys), _AT_ONCE):
                some = keys[at : at + _AT_ONCE]
                await self.cache.remove(set(some) - await self._indexed(some))
        self._deletion = newest

    async def _indexed(self, keys: Sequence[str]) -> set[str]:
        """Those that are an instance's object."""
        places = [parse_key(key) for key in keys]

        async def unit(connection: asyncpg.Connection) -> set[str]:
            rows = await connection.fetch(
                "SELECT i.object_key FROM unnest($1::integer[], $2::bigint[], $3::text[]) AS k (slot, batch, key) "
                "JOIN instances i ON i.slot = k.slot AND i.batch = k.batch AND i.object_key = k.key",
                [place.slot for place in places], [place.batch for place in places], list(keys),
            )  # fmt: skip
            return {row[0] for row in rows}

        return await self.database.run(unit)
