"""Counts that the index keeps of what is below a study, a series, in the archive: whether they are right, and making them so.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow. One statement sees one
moment, and whoever changes rows changes their counts in the same transaction: what disagrees does so for good.
"""

from __future__ import annotations

from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive.deleting import tidy
from pacs_actors.database import Database

_WITHIN_S: Final = 300.0
_STUDIES_AT_ONCE: Final = 1000
_TOTALS_SLOT: Final = -1  # no worker's; deletions are counted there, too

_STUDIES: Final = """
    WITH chunk AS MATERIALIZED (SELECT id, study_instance_uid, number_of_series, number_of_instances, size_bytes,
        modalities_in_study, sop_classes_in_study FROM studies WHERE id > $1 ORDER BY id LIMIT $2),
    below AS MATERIALIZED (
        SELECT e.study, e.modality, d.n, d.bytes, d.classes,
            d.n = 0 OR d.n <> e.number_of_instances OR d.bytes <> e.size_bytes AS wrong
        FROM chunk c JOIN series e ON e.study = c.id CROSS JOIN LATERAL (
            SELECT count(*) AS n, coalesce(sum(i.size_bytes), 0) AS bytes, array_agg(DISTINCT i.sop_class_uid::text) AS classes
            FROM instances i WHERE i.series = e.id) d)
    SELECT c.id, c.study_instance_uid, d.series = 0 OR d.wrong OR d.series <> c.number_of_series
        OR d.n <> c.number_of_instances OR d.bytes <> c.size_bytes
        OR ARRAY (SELECT DISTINCT b.modality::text FROM below b WHERE b.study = c.id AND b.modality <> '' ORDER BY 1)
            <> ARRAY (SELECT unnest(c.modalities_in_study) ORDER BY 1)
        OR ARRAY (SELECT DISTINCT one FROM below b, unnest(b.classes) one WHERE b.study = c.id ORDER BY 1)
            <> ARRAY (SELECT unnest(c.sop_classes_in_study) ORDER BY 1)
    FROM chunk c CROSS JOIN LATERAL (
        SELECT count(*) AS series, coalesce(sum(n), 0) AS n, coalesce(sum(bytes), 0) AS bytes,
            coalesce(bool_or(wrong), false) AS wrong
        FROM below b WHERE b.study = c.id) d ORDER BY c.id"""
_TOTALS: Final = """
    SELECT (SELECT count(*) FROM patients) - coalesce(sum(patients), 0), (SELECT count(*) FROM studies) - coalesce(sum(studies), 0),
        (SELECT count(*) FROM series) - coalesce(sum(series), 0),
        (SELECT coalesce(sum(number_of_instances), 0) FROM series) - coalesce(sum(instances), 0),
        (SELECT coalesce(sum(size_bytes), 0) FROM series) - coalesce(sum(size_bytes), 0) FROM archive_totals"""
_ADD: Final = """
    INSERT INTO archive_totals AS t (slot, patients, studies, series, instances, size_bytes) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (slot) DO UPDATE SET patients = t.patients + excluded.patients, studies = t.studies + excluded.studies,
        series = t.series + excluded.series, instances = t.instances + excluded.instances,
        size_bytes = t.size_bytes + excluded.size_bytes"""


class Miscounted(Struct, frozen=True):
    """wrong: (study's id, its UID); last: behind which to go on; None: that was all"""

    wrong: list[tuple[int, str]]
    last: int | None


class IntegrityCounts:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def studies(self, after: int) -> Miscounted:
        """Of some studies by their ids: those whose counts, or whose series' counts, are not those of their instances."""

        async def unit(connection: asyncpg.Connection) -> Miscounted:
            rows = await connection.fetch(_STUDIES, after, _STUDIES_AT_ONCE)
            last = rows[-1][0] if len(rows) == _STUDIES_AT_ONCE else None
            return Miscounted([(row[0], row[1]) for row in rows if row[2]], last)

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def recount(self, study: int) -> None:
        """Count a study and its series anew; what has no instances goes. Locks are taken as a deletion takes them."""

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                # Indexers must not rely on rows that may go.
                await connection.execute("UPDATE deletion_epoch SET number = number + 1")
                series = await connection.fetch(
                    "SELECT id FROM series WHERE study = $1 ORDER BY id FOR UPDATE", study
                )
                gone = await tidy(connection, study, [row[0] for row in series])
                await connection.execute(_ADD, _TOTALS_SLOT, *(-number for number in gone), 0, 0)

        await self.database.run(unit, within_s=_WITHIN_S)

    async def empty_patients(self, *, remove: bool) -> int:
        """How many patients have no study."""

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                empty = "FROM patients p WHERE NOT EXISTS (SELECT FROM studies s WHERE s.patient = p.id)"
                if not remove:
                    found: int = await connection.fetchval(f"SELECT count(*) {empty}")
                    return found
                await connection.execute("UPDATE deletion_epoch SET number = number + 1")
                gone: int = await connection.fetchval(
                    f"WITH gone AS (DELETE {empty} RETURNING 1) SELECT count(*) FROM gone"  # noqa: S608 - our words
                )
                await connection.execute(_ADD, _TOTALS_SLOT, -gone, 0, 0, 0, 0)
                return gone

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def totals_off_by(self, *, fix: bool) -> tuple[int, ...]:
        """By how much the archive has more patients, studies, series, instances, bytes than its totals say."""

        async def unit(connection: asyncpg.Connection) -> tuple[int, ...]:
            async with connection.transaction():
                row = await connection.fetchrow(_TOTALS)
                assert row is not None, "an aggregate has a row"
                off = tuple(int(number) for number in row)
                if fix and any(off):
                    await connection.execute(_ADD, _TOTALS_SLOT, *off)
                return off

        return await self.database.run(unit, within_s=_WITHIN_S)
