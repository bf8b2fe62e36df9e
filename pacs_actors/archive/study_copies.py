"""Which studies are wholly in a store besides the online one: all that writes ``study_copies``.

A row is true as long as the study has as many instances as it says. Whoever takes instances away, or brings them back, counts anew:
as many others may have come.
"""

from __future__ import annotations

import asyncpg


async def recount(connection: asyncpg.Connection, study_instance_uid: str, store: str = "") -> bool:
    """Note in which stores all of a study is; False: in none of these. store: of one only"""
    complete = await connection.fetch(
        """WITH of_it AS MATERIALIZED (
            SELECT i.sop_instance_uid, i.digest, i.availability FROM studies s JOIN series e ON e.study = s.id
            JOIN instances i ON i.series = e.id WHERE s.study_instance_uid = $1),
        counted AS (SELECT c.store, count(*) AS copied, sum(c.stored_bytes) AS bytes FROM of_it i JOIN object_copies c
            ON c.sop_instance_uid = i.sop_instance_uid AND c.object_digest = i.digest
            WHERE $2 IN ('', c.store) GROUP BY c.store),
        whole AS (SELECT count(*) AS instances, bool_or(availability = 'ONLINE') AS some_online FROM of_it)
        INSERT INTO study_copies (study_instance_uid, store, instances, stored_bytes, some_online)
        SELECT $1, c.store, c.copied, c.bytes, w.some_online FROM counted c, whole w WHERE c.copied = w.instances
        ON CONFLICT (study_instance_uid, store) DO UPDATE SET instances = excluded.instances,
            stored_bytes = excluded.stored_bytes, some_online = excluded.some_online
        RETURNING store""",
        study_instance_uid, store,
    )  # fmt: skip
    if not store:
        await connection.execute(
            "DELETE FROM study_copies WHERE study_instance_uid = $1 AND store <> ALL ($2::text[])",
            study_instance_uid, [row[0] for row in complete],
        )  # fmt: skip
    return bool(complete)


async def released(connection: asyncpg.Connection, study_instance_uid: str) -> None:
    """After the online store has let a study go: nothing of it is a cached copy any more, unless some of it is there again."""
    await connection.execute(
        "SELECT FROM series e JOIN studies s ON s.id = e.study WHERE s.study_instance_uid = $1 ORDER BY e.id FOR UPDATE OF e",
        study_instance_uid,
    )
    await connection.execute(
        """WITH left_over AS (SELECT EXISTS (SELECT FROM studies s JOIN series e ON e.study = s.id
            JOIN instances i ON i.series = e.id WHERE s.study_instance_uid = $1 AND i.availability = 'ONLINE') AS online),
        noted AS (UPDATE study_copies SET some_online = (SELECT online FROM left_over) WHERE study_instance_uid = $1)
        UPDATE study_storage SET recalled_at = NULL WHERE study_instance_uid = $1 AND NOT (SELECT online FROM left_over)""",
        study_instance_uid,
    )


async def note_recalled(connection: asyncpg.Connection, series: int) -> None:
    """An instance of a series that was elsewhere only is online again. Not noted for each of a thousand that come together."""
    await connection.execute(
        """INSERT INTO study_storage AS u (study_instance_uid, recalled_at, accessed_at)
        SELECT s.study_instance_uid, now(), now() FROM series e JOIN studies s ON s.id = e.study WHERE e.id = $1
        ON CONFLICT (study_instance_uid) DO UPDATE SET recalled_at = excluded.recalled_at, accessed_at = excluded.accessed_at
        WHERE u.recalled_at IS NULL OR u.recalled_at < now() - interval '1 minute'""",
        series,
    )
