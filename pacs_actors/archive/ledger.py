"""The archive wing's ledgers in PostgreSQL: the audit trail and the known AEs. All SQL on those tables is here.

Every method is one unit of work on ``Database``; all raise Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec

from config.settings import NodeSettings
from pacs_actors.database import Database
from protocols.messages.archive import AuditEvent


class Ledger:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def append_audit(self, events: Sequence[AuditEvent]) -> None:
        """Write events, all or none, in order."""
        rows = [
            (
                event.event,
                event.outcome,
                _clean(event.who),
                event.address,
                _clean(event.patient_id),
                [_clean(uid) for uid in event.uids],
                _clean(msgspec.json.encode(event.details).decode()),
            )
            for event in events
        ]

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.executemany(
                "INSERT INTO audit_events (event, outcome, who, address, patient_id, uids, details) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7)",
                rows,
            )

        await self.database.run(unit)

    async def ae_nodes(self) -> list[NodeSettings]:
        """The known AEs of the database."""

        async def unit(connection: asyncpg.Connection) -> list[NodeSettings]:
            rows = await connection.fetch(
                "SELECT ae_title, host, port, networks::text[] AS networks, tls, rights, destinations, "
                "transfer_syntaxes, certificate_name FROM ae_nodes"
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
                )
                for row in rows
            ]

        return await self.database.run(unit)


def _clean(text: str) -> str:
    """PostgreSQL's text knows no NUL; what a peer sent as one is shown as a replacement character."""
    return text.replace("\0", "\ufffd").replace("\\u0000", "\\ufffd")
