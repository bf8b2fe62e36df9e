"""Copies that lie in a store and that the book of copies does not know: the SQL that finds them out and takes them in.

Nothing here announces a copy (``copy_removals``): it was not put by us, it may be the last one, and whatever interrupts its being
taken in must leave it where it is.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from pacs_actors.archive import availability
from pacs_actors.archive.objects.keys import node_of
from pacs_actors.database import Database
from pacs_actors.lifecycle.copies import Availability, Copy, Held, let_go, rows_of, write_down

_WITHIN_S: Final = 120.0


class CopyAdoptions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def unknown(self, store: str, keys: Sequence[str]) -> list[str]:
        """Of keys in a store, those of which no instance knows, nor a deletion that can be undone, and that are not being put or
        removed.
        """

        async def unit(connection: asyncpg.Connection) -> list[str]:
            rows = await connection.fetch(
                """SELECT k.key FROM unnest($2::text[]) AS k (key)
                WHERE NOT EXISTS (SELECT FROM copy_removals r WHERE r.store = $1 AND r.key = k.key)
                    AND NOT EXISTS (SELECT FROM object_copies c
                        WHERE c.store = $1 AND left(c.key, 32) = left(k.key, 32) AND c.key = k.key AND (
                        EXISTS (SELECT FROM instances i
                            WHERE i.sop_instance_uid = c.sop_instance_uid AND i.digest = c.object_digest)
                        OR EXISTS (SELECT FROM deleted_instances d
                            WHERE d.sop_instance_uid = c.sop_instance_uid AND d.digest = c.object_digest)))
                ORDER BY k.key""",
                store, list(keys),
            )  # fmt: skip
            return [row[0] for row in rows]

        return await self._database.run(unit, within_s=_WITHIN_S)

    async def free_batch(self, slot: int) -> int:
        """A batch folder of a slot behind all that the index has of it."""

        async def unit(connection: asyncpg.Connection) -> int:
            batch: int = await connection.fetchval(
                "SELECT coalesce(max(batch) + 1, 0) FROM instances WHERE slot = $1", slot
            )
            return batch

        return await self._database.run(unit)

    async def adopt(
        self, store: str, found: Sequence[tuple[Held, Copy]], state: Availability, slot: int
    ) -> tuple[int, int]:
        """Note copies that are there and whole, in one transaction with what that makes of their instances.

        state:   of instances whose key is in ``slot``: they have no object, only a key
        returns: (copies noted, instances that are elsewhere only now). What was deleted meanwhile, or is being put or removed under
                 the same key, is left as it is
        """
        rows = rows_of(store, found)

        async def unit(connection: asyncpg.Connection) -> tuple[int, int]:
            async with connection.transaction():
                await availability.lock_series(connection, [held.sop_instance_uid for held, _ in found])
                there = await connection.fetch(
                    """SELECT n.key FROM unnest($1::text[], $2::bytea[], $3::text[]) AS n (uid, digest, key) JOIN instances i
                    ON i.sop_instance_uid = n.uid AND i.digest = n.digest
                    WHERE NOT EXISTS (SELECT FROM copy_removals r WHERE r.store = $4 AND r.key = n.key)
                    ORDER BY n.uid FOR KEY SHARE OF i""",
                    [row[0] for row in rows.values()], [row[1] for row in rows.values()], list(rows), store,
                )  # fmt: skip
                noted = {row[0] for row in there}
                await write_down(connection, store, [row for key, row in rows.items() if key in noted])
                bare = [
                    held
                    for held, copy in found
                    if copy.stored.key in noted and held.online and held.key.startswith(f"{slot}/")
                ]
                return len(noted), len(await let_go(connection, bare, state, [store], node_of(slot)))

        return await self._database.run(unit, within_s=_WITHIN_S)
