"""The archive wing's ledger in PostgreSQL: the known AEs. All SQL on that table is here.

Rows are written as ``NodeSettings``, checked by whoever hands them in. Every method is one unit of work on ``Database``; all
raise Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

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

    async def add_ae_node(self, node: NodeSettings) -> bool:
        """False if there is one of that AE title."""
        sql = f"INSERT INTO ae_nodes ({_WRITTEN}) VALUES ({_PLACES}) ON CONFLICT DO NOTHING"  # noqa: S608 - our words
        return await self._write(sql, node)

    async def replace_ae_node(self, node: NodeSettings) -> bool:
        """False if there is none of that AE title."""
        return await self._write(f"UPDATE ae_nodes SET ({_WRITTEN}) = ({_PLACES}) WHERE ae_title = $1", node)  # noqa: S608

    async def remove_ae_node(self, ae_title: str) -> bool:
        """False if there is none of that AE title."""

        async def unit(connection: asyncpg.Connection) -> bool:
            done: str = await connection.execute("DELETE FROM ae_nodes WHERE ae_title = $1", ae_title)
            return done != "DELETE 0"

        return await self.database.run(unit)

    async def _write(self, statement: str, node: NodeSettings) -> bool:
        async def unit(connection: asyncpg.Connection) -> bool:
            done: str = await connection.execute(
                statement, node.ae_title, node.host, node.port, [ip_network(text, strict=False) for text in node.networks],
                node.tls, list(node.rights), None if node.destinations is None else list(node.destinations),
                list(node.transfer_syntaxes), node.certificate_name,
                None if node.scope is None else msgspec.json.encode(node.scope).decode(),
            )  # fmt: skip
            return not done.endswith(" 0")

        return await self.database.run(unit)


_WRITTEN: Final = (
    "ae_title, host, port, networks, tls, rights, destinations, transfer_syntaxes, certificate_name, scope"
)
_PLACES: Final = "$1, $2, $3, $4::cidr[], $5, $6, $7, $8, $9, $10::jsonb"


def _scope(stored: str | None) -> NodeScope | None:
    """A scope from its JSON column. One that cannot be read (of a newer release, edited by hand) shows nothing."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored, type=NodeScope)
    except msgspec.DecodeError:
        return NodeScope()
