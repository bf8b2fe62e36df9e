"""Objects that the index has let go on another node's behalf, until their own node removes them: all SQL on ``object_removals``."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
from msgspec import Struct

from pacs_actors.archive.objects.keys import SLOTS_OF_A_NODE, parse_key
from pacs_actors.database import Database


class Removal(Struct, frozen=True):
    """An object that its node is to remove.

    compare:  the instance has another object, on another node; what is not the same byte for byte is kept aside
    wanted:   an instance has it all the same: it was stored again, or brought back
    superfluous: no instance has these bytes any more: nothing is left to compare with
    """

    key: str
    sop_instance_uid: str
    digest: bytes
    compare: bool
    wanted: bool
    superfluous: bool


async def note(
    connection: asyncpg.Connection, key: str, sop_instance_uid: str, digest: bytes, *, compare: bool = False
) -> None:
    """In the transaction that lets it go; nothing if its node was forgotten. raises: ObjectMissing if it is no key of an object"""
    place = parse_key(key)
    await connection.execute(
        "INSERT INTO object_removals (object_key, slot, batch, sop_instance_uid, digest, compare) "
        "SELECT $1, $2::integer, $3::bigint, $4, $5::bytea, $6::boolean WHERE slot_keeper($2) = $2 / 100 ON CONFLICT DO NOTHING",
        key, place.slot, place.batch, sop_instance_uid, digest, compare,
    )  # fmt: skip


class ObjectRemovals:
    """Every method raises Unavailable when PostgreSQL is away or too slow."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def due(self, node: int, after: str, most: int) -> list[Removal]:
        """Some of a node's, by their keys, beginning behind one."""

        async def unit(connection: asyncpg.Connection) -> list[Removal]:
            rows = await connection.fetch(
                """SELECT r.object_key, r.sop_instance_uid, r.digest, r.compare,
                    EXISTS (SELECT FROM instances i WHERE i.slot = r.slot AND i.batch = r.batch
                        AND i.object_key = r.object_key AND i.availability <> 'NEARLINE' AND i.availability <> 'OFFLINE'),
                    NOT EXISTS (SELECT FROM instances i WHERE i.sop_instance_uid = r.sop_instance_uid AND i.digest = r.digest)
                FROM object_removals r WHERE r.slot BETWEEN $1 AND $2 AND r.object_key > $3 ORDER BY r.object_key LIMIT $4""",
                node * SLOTS_OF_A_NODE, (node + 1) * SLOTS_OF_A_NODE - 1, after, most,
            )  # fmt: skip
            return [Removal(*row) for row in rows]

        return await self.database.run(unit)

    async def done(self, keys: Sequence[str]) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                "DELETE FROM object_removals WHERE object_key = ANY ($1::text[])", list(keys)
            )

        await self.database.run(unit)
