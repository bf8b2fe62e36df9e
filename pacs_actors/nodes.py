"""The nodes of an archive: which there are, and which of them are alive: all SQL on ``archive_nodes``.

A number belongs to one data folder for good, for the keys of objects begin with it. Two processes with one number, or a new folder
under the number of one that is gone, would write other objects under the keys that the index has.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

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
        """Have the number for this folder, from now on or already. raises: NumberTaken; Unavailable"""

        async def unit(connection: asyncpg.Connection) -> datetime | None:
            return await claim(connection, node, folder)

        taken = await self.database.run(unit)
        if taken is not None:
            raise NumberTaken(node, taken)

    async def seen(self, node: int) -> None:
        """It is alive. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute("UPDATE archive_nodes SET seen_at = now() WHERE node = $1", node)

        await self.database.run(unit)

    async def is_alive(self, node: int) -> bool:
        """raises: Unavailable"""
        return any(one.alive for one in await self.listed() if one.node == node)

    async def listed(self) -> list[ArchiveNode]:
        """All that there ever were, by number. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> list[ArchiveNode]:
            rows = await connection.fetch(
                "SELECT node, since, seen_at, abs(extract(epoch FROM now() - seen_at)) < $1 FROM archive_nodes ORDER BY node",
                ALIVE_S,
            )
            return [ArchiveNode(*row) for row in rows]

        return await self.database.run(unit)


async def claim(connection: asyncpg.Connection, node: int, folder: str) -> datetime | None:
    """Have the number for a folder; when its owner was last seen if that is another one. An embedded database knows no other:
    it came with the folder, perhaps out of a backup.
    """
    await connection.execute(
        "INSERT INTO archive_nodes AS n (node, folder) VALUES ($1, $2) ON CONFLICT (node) DO UPDATE SET folder = excluded.folder "
        "WHERE $3 IN (n.folder, excluded.folder)",
        node, folder, EMBEDDED,
    )  # fmt: skip
    taken: datetime | None = await connection.fetchval(
        "SELECT seen_at FROM archive_nodes WHERE node = $1 AND folder <> $2", node, folder
    )
    return taken


async def adopt(connection: asyncpg.Connection, node: int, folder: str) -> datetime | None:
    """Give the number to another folder, unless its owner is alive: when that was last seen then."""
    alive: datetime | None = await connection.fetchval(
        "SELECT seen_at FROM archive_nodes WHERE node = $1 AND folder <> $2 AND seen_at > now() - make_interval(secs => $3)",
        node, folder, ALIVE_S,
    )  # fmt: skip
    if alive is None:
        await connection.execute(
            "INSERT INTO archive_nodes (node, folder) VALUES ($1, $2) "
            "ON CONFLICT (node) DO UPDATE SET folder = excluded.folder, since = now()",
            node, folder,
        )  # fmt: skip
    return alive
