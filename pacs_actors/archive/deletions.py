"""Deleting studies, series and instances, and what becomes of it: all SQL on ``deletions``; the transaction itself is in
``deleting``.

Every method raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive import study_copies
from pacs_actors.archive.deleting import COLUMNS, Deletion, State, Target, delete_rows, tell
from pacs_actors.archive.scope import StudyScope
from pacs_actors.audit import events
from pacs_actors.audit.audit import OURSELVES
from pacs_actors.database import Database
from pacs_actors.operations import logs
from protocols.errors import Refusal
from protocols.messages.audit import Actor

OPEN: Final = ("deleted", "undoing")
_ATTEMPTS: Final = 4
_LOST_RACE: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.SerializationError,
)
_WITHIN_S: Final = 120.0
MOST_LISTED: Final = 1000


class CannotUndo(Refusal):
    """409: what was deleted is erased, or back already."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0x0110, http_status=409)


class Due(Struct, frozen=True):
    """A deletion at which there is something to do, for this worker alone until its lease runs out."""

    id: int
    state: State
    patient_id: str
    target: Target


class DeletedObject(Struct, frozen=True):
    key: str
    sop_instance_uid: str
    digest: bytes
    size_bytes: int


_LEASE: Final = (
    "UPDATE deletions SET leased_until = now() + make_interval(secs => $2) WHERE id = $1 AND state = $3"
)


# The nodes that see to objects of it: each does its part of what the state asks for.
_NODES: Final = """coalesce((SELECT array_agg(DISTINCT slot_keeper(i.slot)) FROM deleted_instances i
    WHERE i.deletion = {}), '{{}}')"""


class Deletions:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def delete(self, target: Target, scope: StudyScope, by: Actor, *, undo_s: float) -> Deletion | None:
        """Take it out of the index, durably and with its audit event; None if there is no such thing within the scope.

        raises: UnderLegalHold
        """

        async def unit(connection: asyncpg.Connection) -> Deletion | None:
            for attempt in range(_ATTEMPTS):
                try:
                    return await delete_rows(connection, target, scope, by, undo_s)
                except _LOST_RACE as lost:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    logs.debug("deletion_again", why=type(lost).__name__)
            raise AssertionError

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def undo(self, number: int, by: Actor, *, own_only: bool) -> Deletion | None:
        """Have it brought back; None if there is no such deletion, or not for them.

        own_only: they may undo only what they deleted themselves
        raises:   CannotUndo
        """

        async def unit(connection: asyncpg.Connection) -> Deletion | None:
            async with connection.transaction():
                row = await connection.fetchrow(
                    f"SELECT {COLUMNS}, undo_until > now() FROM deletions WHERE id = $1 FOR UPDATE",  # noqa: S608 - our words
                    number,
                )
                if row is None or (own_only and row["deleted_by"] != by.who):
                    return None
                found = Deletion(*row[:-1])
                if found.state in ("undoing", "undone"):
                    return found
                if found.state != "deleted" or not row[-1]:
                    raise CannotUndo("It is too late: what was deleted is erased.")
                await connection.execute(
                    "UPDATE deletions SET state = 'undoing', leased_until = '-infinity', "  # noqa: S608 - our words
                    f"nodes_left = {_NODES.format('$1')} WHERE id = $1",
                    number,
                )
                await tell(connection, events.UNDELETED, by, found)
                return found

        return await self.database.run(unit)

    async def one(self, number: int) -> Deletion | None:
        async def unit(connection: asyncpg.Connection) -> Deletion | None:
            row = await connection.fetchrow(f"SELECT {COLUMNS} FROM deletions WHERE id = $1", number)  # noqa: S608 - our words
            return Deletion(*row) if row is not None else None

        return await self.database.run(unit)

    async def listed(self, states: Sequence[str], *, only_by: str | None) -> list[Deletion]:
        """The newest ones in these states. only_by: those of one user; None: of all"""

        async def unit(connection: asyncpg.Connection) -> list[Deletion]:
            rows = await connection.fetch(
                f"SELECT {COLUMNS} FROM deletions WHERE state = ANY ($1::text[]) "  # noqa: S608 - our words
                f"AND ($2::text IS NULL OR deleted_by = $2) ORDER BY id DESC LIMIT {MOST_LISTED}",
                list(states), only_by,
            )  # fmt: skip
            return [Deletion(*row) for row in rows]

        return await self.database.run(unit)

    # -- for the keeper ---------------------------------------------------------------------------------------------------------
    async def take(self, lease_s: float, node: int = 0) -> Due | None:
        """One at which a node has something to do. What nobody may undo any more is to be erased from here on.

        Not while the wall clock is another than it was a moment ago: a jump of years must not erase all that could be undone.
        """

        async def unit(connection: asyncpg.Connection) -> Due | None:
            row = await connection.fetchrow(
                """UPDATE deletions d SET leased_until = now() + make_interval(secs => $1),
                    state = CASE WHEN d.state = 'deleted' AND d.aside THEN 'erasing' ELSE d.state END
                FROM (SELECT id FROM deletions WHERE state IN ('deleted', 'undoing', 'erasing') AND leased_until <= now()
                    AND (nodes_left = '{}' OR $2 = ANY (nodes_left))
                    AND (state <> 'deleted' OR NOT aside OR undo_until <= now() AND EXISTS (SELECT FROM lifecycle_clock
                        WHERE doubted_since IS NULL AND now() - seen_at BETWEEN interval '-1 hour' AND interval '1 day'))
                    ORDER BY id LIMIT 1
                    FOR UPDATE SKIP LOCKED) due
                WHERE d.id = due.id
                RETURNING d.id, d.state, d.patient_id, d.study_instance_uid, d.series_instance_uid, d.sop_instance_uid""",
                lease_s, node,
            )  # fmt: skip
            return Due(row[0], row[1], row[2], Target(*row[3:])) if row is not None else None

        return await self.database.run(unit)

    async def objects(self, number: int, after: str, most: int, node: int = 0) -> list[DeletedObject]:
        """Some of its objects on a node, by their keys, beginning behind one."""

        async def unit(connection: asyncpg.Connection) -> list[DeletedObject]:
            rows = await connection.fetch(
                "SELECT object_key, sop_instance_uid, digest, size_bytes FROM deleted_instances "
                "WHERE deletion = $1 AND object_key > $2 AND slot_keeper(slot) = $4 "
                "ORDER BY object_key LIMIT $3",
                number, after, most, node,
            )  # fmt: skip
            return [DeletedObject(*row) for row in rows]

        return await self.database.run(unit)

    async def series(self, number: int) -> list[str]:
        """Series Instance UIDs of its objects."""

        async def unit(connection: asyncpg.Connection) -> list[str]:
            sql = "SELECT DISTINCT series_instance_uid FROM deleted_instances WHERE deletion = $1"
            return [row[0] for row in await connection.fetch(sql, number)]

        return await self.database.run(unit)

    async def renew(self, due: Due, lease_s: float, done: Sequence[str] = ()) -> None:
        """Keep it, unless somebody has undone it meanwhile. done: keys of objects that are no longer its"""

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                if done:
                    await connection.execute(
                        "DELETE FROM deleted_instances WHERE deletion = $1 AND object_key = ANY ($2::text[])",
                        due.id, list(done),
                    )  # fmt: skip
                await connection.execute(_LEASE, due.id, lease_s, due.state)

        await self.database.run(unit)

    async def put_off(self, due: Due, wait_s: float) -> None:
        await self._execute(_LEASE, due.id, wait_s, due.state)

    async def set_aside(self, number: int, node: int = 0) -> None:
        """All its objects on a node are moved aside."""
        await self._execute(
            f"""UPDATE deletions SET aside = left_then = '{{}}', leased_until = '-infinity',
                nodes_left = CASE WHEN left_then = '{{}}' THEN {_NODES.format("$1")} ELSE left_then END
            FROM (SELECT array_remove(nodes_left, $2::smallint) AS left_then FROM deletions WHERE id = $1) was
            WHERE id = $1 AND state = 'deleted'""",  # noqa: S608 - our words
            number, node,
        )  # fmt: skip

    async def undone(self, number: int, node: int = 0) -> None:
        """All of it on a node that could be brought back is in the index again."""

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                study = await connection.fetchval(
                    """UPDATE deletions SET nodes_left = left_then, leased_until = '-infinity',
                        state = CASE WHEN left_then = '{}' THEN 'undone' ELSE state END,
                        settled_at = CASE WHEN left_then = '{}' THEN now() END,
                        lost = (SELECT count(*) FROM deleted_instances WHERE deletion = $1)
                    FROM (SELECT array_remove(nodes_left, $2::smallint) AS left_then FROM deletions WHERE id = $1) was
                    WHERE id = $1 AND state = 'undoing' RETURNING study_instance_uid""",
                    number, node,
                )  # fmt: skip
                if study is not None:
                    await study_copies.recount(connection, study)

        await self.database.run(unit)

    async def is_indexed(self, sop_instance_uid: str, digest: bytes) -> bool:
        """Whether the index has this object, wherever it lies."""

        async def unit(connection: asyncpg.Connection) -> bool:
            found: bool = await connection.fetchval(
                "SELECT EXISTS (SELECT FROM instances WHERE sop_instance_uid = $1 AND digest = $2)",
                sop_instance_uid, digest,
            )  # fmt: skip
            return found

        return await self.database.run(unit)

    async def erased(self, due: Due, node: int = 0) -> None:
        """Its objects on a node are gone for good; with the audit event once they are on all."""

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                await connection.execute(
                    "DELETE FROM deleted_instances WHERE deletion = $1 AND slot_keeper(slot) = $2",
                    due.id,
                    node,
                )
                left = await connection.fetchval(
                    "UPDATE deletions SET nodes_left = array_remove(nodes_left, $2::smallint), leased_until = '-infinity' "
                    "WHERE id = $1 AND state = 'erasing' RETURNING nodes_left",
                    due.id, node,
                )  # fmt: skip
                if left:
                    return
                row = await connection.fetchrow(
                    "UPDATE deletions SET state = 'erased', settled_at = now() "  # noqa: S608 - our words
                    f"WHERE id = $1 AND state = 'erasing' RETURNING {COLUMNS}",
                    due.id,
                )
                if row is not None:
                    await tell(connection, events.ERASED, OURSELVES, Deletion(*row))

        await self.database.run(unit)

    async def _execute(self, statement: str, *arguments: object) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(statement, *arguments)

        await self.database.run(unit)
