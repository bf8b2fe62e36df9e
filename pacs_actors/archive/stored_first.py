"""Which object of a SOP Instance UID came first, for who has just stored one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import asyncpg

from pacs_actors.database import Database


class Stored(Protocol):
    @property
    def sop_instance_uid(self) -> str: ...


async def first_copies(database: Database, stored: Iterable[Stored]) -> dict[str, bytes]:
    """SOP Instance UID -> digest of the object that the index shows for it, as far as it has one. raises: Unavailable"""
    uids = [one.sop_instance_uid for one in stored]
    if not uids:
        return {}

    async def unit(connection: asyncpg.Connection) -> dict[str, bytes]:
        rows = await connection.fetch(
            "SELECT sop_instance_uid, digest FROM instances WHERE sop_instance_uid = ANY ($1::text[])", uids
        )
        return {row[0]: row[1] for row in rows}

    return await database.run(unit)
