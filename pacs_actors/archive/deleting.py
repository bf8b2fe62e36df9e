"""The transaction of a deletion: rows leave the index, counts stay right, its audit event is written.

Locks are taken in the order of ``index_batch.sql``: series, instances, studies, patients, totals; deletions themselves go one
after the other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from pacs_actors.archive import availability, study_copies
from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import StudyScope, scope_clause
from pacs_actors.audit import events, trail
from pacs_actors.audit.audit import made
from protocols.errors import Refusal
from protocols.messages.audit import Actor, Details

State = Literal["deleted", "undoing", "undone", "erasing", "erased"]
_TOTALS_SLOT: Final = -1  # no worker's: what deletions took away is a negative number of its own
_HELD: Final = "SELECT EXISTS (SELECT FROM legal_holds WHERE study_instance_uid = $1 AND lifted_at IS NULL)"


class UnderLegalHold(Refusal):
    """409: somebody has seen to it that nothing of the study goes."""

    def __init__(self) -> None:
        super().__init__("The study is under a legal hold.", dimse_status=0x0124, http_status=409)


class Target(Struct, frozen=True):
    """What to delete: a study, or one series or instance of it."""

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uid: str = ""

    @property
    def level(self) -> Literal["study", "series", "instance"]:
        return "instance" if self.sop_instance_uid else "series" if self.series_instance_uid else "study"

    @property
    def below(self) -> tuple[str, ...]:
        """UIDs below the study's."""
        return tuple(uid for uid in (self.series_instance_uid, self.sop_instance_uid) if uid)


class Deletion(Struct, frozen=True):
    """What somebody deleted.

    instances:   how many; undo_until: until when it may be brought back
    lost:        once it is undone, how many could not be brought back
    """

    id: int
    level: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    patient_id: str
    patient_name: str
    study_date: str
    study_description: str
    instances: int
    size_bytes: int
    deleted_by: str
    deleted_at: datetime
    undo_until: datetime
    state: State
    lost: int


COLUMNS: Final = ", ".join(Deletion.__struct_fields__)


async def delete_rows(
    connection: asyncpg.Connection, target: Target, scope: StudyScope, by: Actor, undo_s: float
) -> Deletion | None:
    try:
        async with connection.transaction():
            return await _delete(connection, target, scope, by, undo_s)
    except _NothingThere:
        return None


class _NothingThere(Exception):
    """Rolls back."""


async def _delete(
    connection: asyncpg.Connection, target: Target, scope: StudyScope, by: Actor, undo_s: float
) -> Deletion:
    await connection.execute("UPDATE deletion_epoch SET number = number + 1")
    study = await _study(connection, target, scope)
    if study is None:
        raise _NothingThere
    if await connection.fetchval(_HELD, target.study_instance_uid):
        raise UnderLegalHold
    series = [
        row[0]
        for row in await connection.fetch(
            "SELECT id FROM series WHERE study = $1 AND ($2 = '' OR series_instance_uid = $2) ORDER BY id FOR UPDATE",
            study["id"],
            target.series_instance_uid,
        )
    ]
    row = await connection.fetchrow(
        f"""INSERT INTO deletions (deleted_by, level, study_instance_uid, series_instance_uid, sop_instance_uid, patient_id,
            patient_name, study_date, study_description, instances, size_bytes, undo_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, now() + make_interval(secs => $10)) RETURNING {COLUMNS}""",  # noqa: S608 - our words
        by.who, target.level, target.study_instance_uid, target.series_instance_uid, target.sop_instance_uid,
        study["patient_id"], study["patient_name"], study["study_date"], study["study_description"], undo_s,
    )  # fmt: skip
    assert row is not None, "a row that is inserted is returned"
    number = row["id"]
    counted = await connection.fetchrow(
        """WITH gone AS (
            DELETE FROM instances WHERE series = ANY ($2::bigint[]) AND ($3 = '' OR sop_instance_uid = $3) RETURNING *),
        kept AS (
            INSERT INTO deleted_instances (deletion, object_key, slot, batch, sop_instance_uid, series_instance_uid,
                sop_class_uid, size_bytes, digest)
            SELECT $1, g.object_key, g.slot, g.batch, g.sop_instance_uid, e.series_instance_uid, g.sop_class_uid,
                g.size_bytes, g.digest
            FROM gone g JOIN series e ON e.id = g.series RETURNING size_bytes, slot)
        SELECT count(*)::integer, coalesce(sum(size_bytes), 0)::bigint,
            coalesce(array_agg(DISTINCT slot_keeper(slot)), '{}') FROM kept""",
        number, series, target.sop_instance_uid,
    )  # fmt: skip
    instances, size_bytes, nodes = counted or (0, 0, [])
    if not instances:
        raise _NothingThere
    await connection.execute(
        "UPDATE deletions SET instances = $2, size_bytes = $3, nodes_left = $4 WHERE id = $1",
        number, instances, size_bytes, nodes,
    )  # fmt: skip
    levels = await tidy(connection, study["id"], series)
    await availability.settle(connection, series)  # what is left may all be online
    await study_copies.recount(connection, target.study_instance_uid)
    await connection.execute(
        """INSERT INTO archive_totals AS t (slot, patients, studies, series, instances, size_bytes)
        VALUES ($1, -$2::bigint, -$3::bigint, -$4::bigint, -$5::bigint, -$6::bigint)
        ON CONFLICT (slot) DO UPDATE SET patients = t.patients + excluded.patients, studies = t.studies + excluded.studies,
            series = t.series + excluded.series, instances = t.instances + excluded.instances,
            size_bytes = t.size_bytes + excluded.size_bytes""",
        _TOTALS_SLOT, *levels, instances, size_bytes,
    )  # fmt: skip
    deletion = Deletion(*{**dict(row), "instances": instances, "size_bytes": size_bytes}.values())
    await tell(connection, events.DELETED, by, deletion)
    return deletion


async def _study(connection: asyncpg.Connection, target: Target, scope: StudyScope) -> asyncpg.Record | None:
    conditions = Conditions()
    clauses = [f"s.study_instance_uid = {conditions.parameter(target.study_instance_uid, 'text')}"]
    seen = scope_clause(scope, conditions.parameter)
    if seen is not None:
        clauses.append(seen)
    return await connection.fetchrow(
        "SELECT s.id, s.patient, p.patient_id, p.patient_name, s.study_date, s.study_description "  # noqa: S608 - fixed words
        f"FROM studies s JOIN patients p ON p.id = s.patient WHERE {' AND '.join(clauses)}",
        *conditions.parameters,
    )


async def tidy(connection: asyncpg.Connection, study: int, series: list[int]) -> tuple[int, int, int]:
    """Bring the levels above deleted instances up to date, and remove what is empty; (patients, studies, series) removed.

    Each row is locked by a statement of its own, so that the next one sees what a batch that held it has done.
    """
    await connection.execute(
        """UPDATE series e SET number_of_instances = d.n, size_bytes = d.bytes, revision = e.revision + 1
        FROM (SELECT i.series, count(*)::integer AS n, sum(i.size_bytes)::bigint AS bytes
            FROM instances i WHERE i.series = ANY ($1::bigint[]) GROUP BY i.series) d
        WHERE e.id = d.series""",
        series,
    )
    gone_series = await connection.fetch(
        "DELETE FROM series e WHERE e.id = ANY ($1::bigint[]) "
        "AND NOT EXISTS (SELECT FROM instances i WHERE i.series = e.id) RETURNING e.id",
        series,
    )
    # Its patient as of now: a batch may just have found out whose it is.
    patient = await connection.fetchval("SELECT patient FROM studies WHERE id = $1 FOR UPDATE", study)
    gone_studies = await connection.fetch(
        "DELETE FROM studies s WHERE s.id = $1 AND NOT EXISTS (SELECT FROM series e WHERE e.study = s.id) RETURNING s.id",
        study,
    )
    if not gone_studies:
        await connection.execute(
            """UPDATE studies s SET number_of_series = d.series, number_of_instances = d.instances, size_bytes = d.bytes,
                modalities_in_study = d.modalities,
                sop_classes_in_study = ARRAY (SELECT DISTINCT i.sop_class_uid::text FROM instances i
                    JOIN series e ON e.id = i.series WHERE e.study = s.id ORDER BY 1)
            FROM (SELECT count(*)::integer AS series, sum(e.number_of_instances)::integer AS instances,
                    sum(e.size_bytes)::bigint AS bytes,
                    coalesce(array_agg(DISTINCT e.modality::text) FILTER (WHERE e.modality <> ''), '{}') AS modalities
                FROM series e WHERE e.study = $1) d
            WHERE s.id = $1""",
            study,
        )
        return 0, 0, len(gone_series)
    await connection.execute("SELECT FROM patients WHERE id = $1 FOR UPDATE", patient)
    gone_patients = await connection.fetch(
        "DELETE FROM patients p WHERE p.id = $1 AND NOT EXISTS (SELECT FROM studies s WHERE s.patient = p.id) RETURNING p.id",
        patient,
    )
    return len(gone_patients), len(gone_studies), len(gone_series)


async def tell(connection: asyncpg.Connection, event: str, by: Actor, what: Deletion) -> None:
    """As the last statement of the transaction: the audit's chain is written one row after the other."""
    details: Details = {"deletion": what.id, "level": what.level, "instances": what.instances}
    below = Target(what.study_instance_uid, what.series_instance_uid, what.sop_instance_uid).below
    told = made(event, by, details, (what.study_instance_uid, *below), what.patient_id)
    await trail.append(connection, told)
