"""Instance Availability (PS3.3 C.4.23.1.1) of series and studies: that of their slowest instance."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg


async def lock_series(connection: asyncpg.Connection, sop_instance_uids: Sequence[str]) -> None:
    """Before the instances are changed, in the order of ``index_batch.sql``: series, then instances, then studies."""
    await connection.execute(
        "SELECT FROM series WHERE id = ANY (SELECT DISTINCT series FROM instances WHERE sop_instance_uid = ANY ($1::text[])) "
        "ORDER BY id FOR UPDATE",
        list(sop_instance_uids),
    )


async def settle(connection: asyncpg.Connection, series: Sequence[int]) -> None:
    """Bring series, and their studies, up to date after that of some of their instances has changed."""
    await connection.execute(
        """UPDATE series e SET availability = d.slowest
        FROM (SELECT series, (array_agg(availability ORDER BY availability_rank(availability) DESC))[1] AS slowest
            FROM instances WHERE series = ANY ($1::bigint[]) GROUP BY series) d
        WHERE e.id = d.series AND e.availability <> d.slowest""",
        list(series),
    )
    await connection.execute(
        "SELECT FROM studies WHERE id = ANY (SELECT study FROM series WHERE id = ANY ($1::bigint[])) ORDER BY id FOR UPDATE",
        list(series),
    )
    await connection.execute(
        """UPDATE studies s SET availability = d.slowest
        FROM (SELECT study, (array_agg(availability ORDER BY availability_rank(availability) DESC))[1] AS slowest
            FROM series WHERE study = ANY (SELECT study FROM series WHERE id = ANY ($1::bigint[])) GROUP BY study) d
        WHERE s.id = d.study AND s.availability <> d.slowest""",
        list(series),
    )
