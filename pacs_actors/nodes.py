"""The nodes of an archive: which there are, and which of them are alive: SQL on ``archive_nodes``.

A number belongs to one data folder for good, for the keys of objects begin with it. Two processes with one number, or a new folder
under the number of one that is gone, would write other objects under the keys that the index has.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive import availability
from pacs_actors.archive.objects.keys import SLOTS_OF_A_NODE
from pacs_actors.database import Database
from protocols.errors import ConfigError

SEEN_EVERY_S: Final = 3.0
ALIVE_S: Final = 15.0
"""A node that was not seen for so long is taken to be dead."""
EMBEDDED: Final = "embedded"
"""Instead of a folder's identity: the database lies in the folder, so nobody else can have it."""


class NumberTaken(ConfigError):
    """The number belongs to another data folder."""

    def __init__(self, node: int, seen_at: datetime) -> None:
        super().__init__(node, seen_at)
        self.node, self.seen_at = node, seen_at

    def __str__(self) -> str:
        return (
            f"server.node: {self.node} is the number of another data folder on this database, last seen "
            f"{self.seen_at:%Y-%m-%d %H:%M:%S %Z}. Take a number that no node has had, or, if this folder is that one, restored: "
            f"pacs-actors nodes adopt"
        )


class NumberForgotten(ConfigError):
    """The node was forgotten: its number is nobody's any more."""

    def __init__(self, node: int) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return (
            f"server.node: node {self.node} was forgotten, and others serve what it had. Take a number that no node has had, or, "
            f"if its data folder is whole after all: pacs-actors nodes adopt"
        )


class ArchiveNode(Struct, frozen=True):
    """since: it has the number; seen_at: it last said that it is alive"""

    node: int
    since: datetime
    seen_at: datetime
    alive: bool


class Nodes:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def claim(self, node: int, folder: str) -> None:
        """Have the number for this folder, from now on or already. raises: NumberTaken; NumberForgotten; Unavailable"""

        async def unit(connection: asyncpg.Connection) -> datetime | None:
            return await claim(connection, node, folder)

        taken = await self.database.run(unit)
        if taken is not None:
            raise NumberTaken(node, taken)

    async def seen(self, node: int) -> bool:
        """It is alive. False: it was forgotten meanwhile. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> bool:
            forgotten = await connection.fetchval(
                """UPDATE archive_nodes SET seen_at = CASE WHEN forgotten_at IS NULL THEN now() ELSE seen_at END
                WHERE node = $1 RETURNING forgotten_at IS NOT NULL""",
                node,
            )
            return not forgotten

        return await self.database.run(unit)

    async def is_alive(self, node: int) -> bool:
        """raises: Unavailable"""
        return any(one.alive for one in await self.listed() if one.node == node)

    async def listed(self) -> list[ArchiveNode]:
        """All that were not forgotten, by number. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> list[ArchiveNode]:
            rows = await connection.fetch(
                "SELECT node, since, seen_at, abs(extract(epoch FROM now() - seen_at)) < $1 FROM archive_nodes "
                "WHERE forgotten_at IS NULL ORDER BY node",
                ALIVE_S,
            )
            return [ArchiveNode(*row) for row in rows]

        return await self.database.run(unit)


async def claim(connection: asyncpg.Connection, node: int, folder: str) -> datetime | None:
    """Have the number for a folder; when its owner was last seen if that is another one. An embedded database knows no other:
    it came with the folder, perhaps out of a backup.

    raises: NumberForgotten
    """
    await connection.execute(
        "INSERT INTO archive_nodes AS n (node, folder) VALUES ($1, $2) ON CONFLICT (node) DO UPDATE SET folder = excluded.folder "
        "WHERE $3 IN (n.folder, excluded.folder)",
        node, folder, EMBEDDED,
    )  # fmt: skip
    row = await connection.fetchrow(
        "SELECT forgotten_at, folder, seen_at FROM archive_nodes WHERE node = $1", node
    )
    assert row is not None, "it was there, or is now"
    if row[0] is not None:
        raise NumberForgotten(node)
    return row[2] if row[1] != folder else None


async def adopt(connection: asyncpg.Connection, node: int, folder: str) -> datetime | None:
    """Give the number to another folder, unless its owner is alive: when that was last seen then.

    What was given up when the node was forgotten is believed to be in the folder again; reads and the scrubber will tell.
    """
    async with connection.transaction():
        row = await connection.fetchrow(
            "SELECT folder <> $2 AND seen_at > now() - make_interval(secs => $3), seen_at, forgotten_at FROM archive_nodes "
            "WHERE node = $1 FOR UPDATE",
            node, folder, ALIVE_S,
        )  # fmt: skip
        if row is not None and row[0]:
            seen_at: datetime = row[1]
            return seen_at
        await connection.execute(
            "INSERT INTO archive_nodes (node, folder) VALUES ($1, $2) ON CONFLICT (node) DO UPDATE "
            "SET folder = excluded.folder, since = now(), forgotten_at = NULL, successor = NULL",
            node, folder,
        )  # fmt: skip
        if row is not None and row[2] is not None:
            await _have_again(connection, node)
        return None


async def _have_again(connection: asyncpg.Connection, node: int) -> None:
    first, last = node * SLOTS_OF_A_NODE, (node + 1) * SLOTS_OF_A_NODE - 1
    series = [
        row[0]
        for row in await connection.fetch(
            "SELECT id FROM series WHERE id = ANY (SELECT DISTINCT series FROM instances WHERE slot BETWEEN $1 AND $2 "
            "AND availability = 'UNAVAILABLE') ORDER BY id FOR UPDATE",
            first, last,
        )
    ]  # fmt: skip
    await connection.execute(
        "UPDATE instances SET availability = 'ONLINE' WHERE slot BETWEEN $1 AND $2 AND availability = 'UNAVAILABLE'",
        first, last,
    )  # fmt: skip
    await availability.settle(connection, series)
    if series:
        # They are in folders that backups made meanwhile take to be done with: the next one must not build on those.
        await connection.execute(
            "UPDATE object_changes_floor SET xid = (pg_current_xact_id()::text::bigint + 1)::text::xid8"
        )
    await connection.execute(
        "UPDATE integrity_findings SET settled_at = now(), settled = 'gone' WHERE settled_at IS NULL AND node = $1 AND indexed",
        node,
    )
