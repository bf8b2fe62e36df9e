"""The archive wing's ledger in PostgreSQL: the known AEs. All SQL on that table is here.

Every method is one unit of work on ``Database``; all raise Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

import asyncpg
import msgspec

from config.scope import NodeScope
from config.settings import NodeSettings
from pacs_actors.database import Database


class Ledger:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def ae_nodes(self) -> list[NodeSettings]:
        """The known AEs of the database."""

        async def unit(connection: asyncpg.Connection) -> list[NodeSettings]:
            rows = await connection.fetch(
                "SELECT ae_title, host, port, networks::text[] AS networks, tls, rights, destinations, "
                "transfer_syntaxes, certificate_name, scope::text AS scope FROM ae_nodes"
            )
            return [
                NodeSettings(
                    ae_title=row["ae_title"],
                    host=row["host"],
                    port=row["port"],
                    networks=tuple(row["networks"]),
                    tls=row["tls"],
                    rights=tuple(row["rights"]),
                    destinations=None if row["destinations"] is None else tuple(row["destinations"]),
                    transfer_syntaxes=tuple(row["transfer_syntaxes"]),
                    certificate_name=row["certificate_name"],
                    scope=_scope(row["scope"]),
                )
                for row in rows
            ]

        return await self.database.run(unit)


def _scope(stored: str | None) -> NodeScope | None:
    """A scope from its JSON column. One that cannot be read (of a newer release, edited by hand) shows nothing."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored, type=NodeScope)
    except msgspec.DecodeError:
        return NodeScope()
