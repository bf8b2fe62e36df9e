"""Prefetcher: when a study arrives, orders the recall of what the same patient has elsewhere, so that it is there to compare with.

Runs in the first worker of every node; each time one of them is elected. What has arrived since it last looked is told by the
studies' time of arrival.
"""

from __future__ import annotations

from typing import Final

import asyncpg
import trio

from pacs_actors.database import Database
from pacs_actors.lifecycle.moves import ONLINE, PREFETCH_PRIORITY, Order, write_orders
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import Unavailable

_LOOK_EVERY_S: Final = 5.0
_LOCK: Final = 0x50415046
_MOST_ARRIVED: Final = 1000
_WHY: Final = "prefetch"


class Prefetcher:
    """priors: of a patient's studies, the newest so many of each modality that has arrived"""

    def __init__(self, database: Database, *, priors: int) -> None:
        self.database, self._priors = database, priors
        self.ordered = 0

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            try:
                await self.look()
            except Unavailable as away:
                logs.debug("prefetcher_waits", why=str(away))
            await trio.sleep(_LOOK_EVERY_S)

    async def look(self) -> int:
        """Order what the studies that have arrived since the last look want; how many studies that is. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                    return 0
                return await self._order(connection)

        ordered = await self.database.run(unit)
        self.ordered += ordered
        return ordered

    async def _order(self, connection: asyncpg.Connection) -> int:
        seen = await connection.fetchval("SELECT last_study FROM prefetched")
        newest: int = await connection.fetchval("SELECT coalesce(max(id), 0) FROM studies")
        await connection.execute(
            "INSERT INTO prefetched (last_study) VALUES ($1) ON CONFLICT (one) DO UPDATE SET last_study = excluded.last_study",
            newest,
        )
        if seen is None or newest <= seen:  # what was there before us has not arrived just now
            return 0
        rows = await connection.fetch(
            """SELECT DISTINCT prior.study_instance_uid
            FROM (SELECT id, patient, modalities_in_study FROM studies WHERE id > $1 ORDER BY id DESC LIMIT $2) arrived
            CROSS JOIN LATERAL unnest(arrived.modalities_in_study) AS m (modality)
            CROSS JOIN LATERAL (SELECT s.study_instance_uid, s.availability FROM studies s
                WHERE s.patient = arrived.patient AND s.id <> arrived.id AND s.modalities_in_study @> ARRAY[m.modality]
                ORDER BY dicom_date(s.study_date) DESC NULLS LAST, s.id DESC LIMIT $3) prior
            WHERE prior.availability IN ('NEARLINE', 'OFFLINE')""",
            seen, _MOST_ARRIVED, self._priors,
        )  # fmt: skip
        orders = [Order(row[0], "", ONLINE, _WHY, priority=PREFETCH_PRIORITY) for row in rows]
        return await write_orders(connection, orders)
