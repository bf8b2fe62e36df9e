"""Policies, what they have done, legal holds and labels: all SQL on the tables that people write in.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import StudyScope, scope_clause
from pacs_actors.database import Database
from pacs_actors.lifecycle.copies import Availability
from pacs_actors.lifecycle.policies import Rule
from pacs_actors.lifecycle.selection import ORDER, TABLES, condition
from protocols.errors import Refusal

_RULE: Final = msgspec.json.Decoder(Rule)
_WITHIN_S: Final = 60.0
MOST_LABELS: Final = 32


class Policy(Struct, frozen=True):
    id: int
    name: str
    enabled: bool
    priority: int
    rule: Rule
    changed_by: str
    changed_at: datetime


class Run(Struct, frozen=True):
    """What a policy found at one time."""

    at: datetime
    studies: int
    size_bytes: int
    problem: str


class Named(Struct, frozen=True):
    """A study that a rule names."""

    study_instance_uid: str
    patient_id: str
    patient_name: str
    study_date: str
    study_description: str
    modalities: list[str]
    size_bytes: int
    received_at: datetime | None
    accessed_at: datetime | None
    availability: str


class Preview(Struct, frozen=True):
    """What a rule would do now. some: of the studies that the caller may see, in the order in which they would be taken"""

    studies: int
    size_bytes: int
    some: list[Named]


class Hold(Struct, frozen=True):
    id: int
    study_instance_uid: str
    reason: str
    placed_by: str
    placed_at: datetime
    lifted_by: str
    lifted_at: datetime | None


class StudyFacts(Struct, frozen=True):
    """online: instances in the online store; copies: (store, instances, bytes) of those elsewhere"""

    availability: Availability
    instances: int
    online: int
    copies: list[tuple[str, int, int]]
    accessed_at: datetime | None
    recalled_at: datetime | None
    labels: list[str]
    workflow_state: str
    patient_class: str


class NameTaken(Refusal):
    def __init__(self, name: str) -> None:
        super().__init__(f"There is a policy {name} already.", dimse_status=0x0110, http_status=409)


POLICY_COLUMNS: Final = "id, name, enabled, priority, rule::text, changed_by, changed_at"
_HOLD: Final = ", ".join(Hold.__struct_fields__)


class PolicyBook:
    def __init__(self, database: Database) -> None:
        self.database = database

    # -- policies ---------------------------------------------------------------------------------------------------------------
    async def policies(self) -> list[Policy]:
        """In the order in which they are asked."""

        async def unit(connection: asyncpg.Connection) -> list[Policy]:
            return [
                policy_of(row)
                for row in await connection.fetch(
                    f"SELECT {POLICY_COLUMNS} FROM lifecycle_policies ORDER BY priority, id"  # noqa: S608 - our words
                )
            ]

        return await self.database.run(unit)

    async def write(
        self, number: int | None, *, name: str, enabled: bool, priority: int, rule: Rule, by: str
    ) -> Policy | None:
        """A new policy, or another text for one; None if there is no such. raises: NameTaken"""

        async def unit(connection: asyncpg.Connection) -> asyncpg.Record | None:
            values: tuple[Any, ...] = (name, enabled, priority, msgspec.json.encode(rule).decode(), by)
            if number is None:
                return await connection.fetchrow(
                    "INSERT INTO lifecycle_policies (name, enabled, priority, rule, changed_by) "  # noqa: S608 - our words
                    f"VALUES ($1, $2, $3, $4::jsonb, $5) RETURNING {POLICY_COLUMNS}",
                    *values,
                )
            return await connection.fetchrow(
                "UPDATE lifecycle_policies SET name = $1, enabled = $2, priority = $3, rule = $4::jsonb, changed_by = $5, "  # noqa: S608
                f"changed_at = now() WHERE id = $6 RETURNING {POLICY_COLUMNS}",
                *values, number,
            )  # fmt: skip

        try:
            row = await self.database.run(unit)
        except asyncpg.UniqueViolationError:
            raise NameTaken(name) from None
        return None if row is None else policy_of(row)

    async def remove(self, number: int) -> Policy | None:
        async def unit(connection: asyncpg.Connection) -> Policy | None:
            row = await connection.fetchrow(
                f"DELETE FROM lifecycle_policies WHERE id = $1 RETURNING {POLICY_COLUMNS}",  # noqa: S608 - our words
                number,
            )
            return None if row is None else policy_of(row)

        return await self.database.run(unit)

    async def runs(self, number: int, most: int = 100) -> list[Run]:
        """What a policy has done, the newest first."""

        async def unit(connection: asyncpg.Connection) -> list[Run]:
            rows = await connection.fetch(
                "SELECT at, studies, size_bytes, problem FROM lifecycle_runs WHERE policy = $1 ORDER BY id DESC LIMIT $2",
                number, most,
            )  # fmt: skip
            return [Run(*row) for row in rows]

        return await self.database.run(unit)

    async def preview(self, rule: Rule, now: datetime, most: int, scope: StudyScope) -> Preview:
        """What a rule names now; nothing is done. scope: which of the studies may be shown"""

        async def unit(connection: asyncpg.Connection) -> Preview:
            conditions = Conditions()
            where = condition(rule, now, conditions)
            row = await connection.fetchrow(
                f"SELECT count(*), coalesce(sum(s.size_bytes), 0)::bigint FROM {TABLES} WHERE {where}",  # noqa: S608 - our words
                *conditions.parameters,
            )
            assert row is not None, "an aggregate has one row"
            return Preview(row[0], row[1], await _named(connection, where, conditions, most, scope))

        return await self.database.run(unit, within_s=_WITHIN_S)

    # -- studies ----------------------------------------------------------------------------------------------------------------
    async def seen(self, study_instance_uids: Iterable[str], scope: StudyScope) -> set[str]:
        """Those of these studies that are within the scope."""
        return await self._found(study_instance_uids, scope)

    async def offline(self, study_instance_uids: Sequence[str], scope: StudyScope) -> list[str]:
        """Those of them, in their order, of which nobody can have everything before it is recalled from a slow store."""
        found = await self._found(study_instance_uids, scope, ["s.availability = 'OFFLINE'"])
        return [uid for uid in study_instance_uids if uid in found]

    async def _found(
        self, study_instance_uids: Iterable[str], scope: StudyScope, also: Sequence[str] = ()
    ) -> set[str]:
        async def unit(connection: asyncpg.Connection) -> set[str]:
            conditions = Conditions()
            clauses = [f"s.study_instance_uid = ANY ({conditions.parameter(sorted(asked), 'text[]')})", *also]
            if (within := scope_clause(scope, conditions.parameter)) is not None:
                clauses.append(within)
            rows = await connection.fetch(
                f"SELECT s.study_instance_uid FROM studies s WHERE {' AND '.join(clauses)}",  # noqa: S608 - our words
                *conditions.parameters,
            )
            return {row[0] for row in rows}

        asked = set(study_instance_uids)
        return await self.database.run(unit) if asked else set()

    async def is_seen(self, study_instance_uid: str, scope: StudyScope) -> bool:
        """Whether there is such a study within the scope."""
        return bool(await self.seen([study_instance_uid], scope))

    async def facts(self, study_instance_uid: str) -> StudyFacts | None:
        async def unit(connection: asyncpg.Connection) -> StudyFacts | None:
            row = await connection.fetchrow(
                """SELECT s.availability, s.number_of_instances, (SELECT count(*) FROM series e JOIN instances i
                        ON i.series = e.id WHERE e.study = s.id AND i.availability = 'ONLINE'),
                    u.accessed_at, u.recalled_at, coalesce(u.labels, '{}'), coalesce(u.workflow_state, ''),
                    coalesce(u.patient_class, '')
                FROM studies s LEFT JOIN study_storage u ON u.study_instance_uid = s.study_instance_uid
                WHERE s.study_instance_uid = $1""",
                study_instance_uid,
            )
            if row is None:
                return None
            copies = await connection.fetch(
                """SELECT c.store, count(*)::integer, sum(c.stored_bytes)::bigint FROM studies s JOIN series e ON e.study = s.id
                JOIN instances i ON i.series = e.id JOIN object_copies c ON c.sop_instance_uid = i.sop_instance_uid
                    AND c.object_digest = i.digest
                WHERE s.study_instance_uid = $1 GROUP BY c.store ORDER BY 1""",
                study_instance_uid,
            )
            return StudyFacts(row[0], row[1], row[2], [tuple(one) for one in copies], *row[3:])

        return await self.database.run(unit)

    # -- holds and labels -------------------------------------------------------------------------------------------------------
    async def hold(self, study_instance_uid: str, reason: str, by: str) -> Hold | None:
        """Keep a study from being removed from anywhere; the hold that is in force. None: there is no such study."""

        async def unit(connection: asyncpg.Connection) -> Hold | None:
            async with connection.transaction():
                # Every deletion begins with this row: it sees the hold, or is over.
                await connection.execute("SELECT FROM deletion_epoch FOR SHARE")
                return await held(connection)

        async def held(connection: asyncpg.Connection) -> Hold | None:
            if not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM studies WHERE study_instance_uid = $1)", study_instance_uid
            ):
                return None
            await connection.execute(
                "INSERT INTO legal_holds (study_instance_uid, reason, placed_by) VALUES ($1, $2, $3) "
                "ON CONFLICT (study_instance_uid) WHERE lifted_at IS NULL DO NOTHING",
                study_instance_uid, reason, by,
            )  # fmt: skip
            row = await connection.fetchrow(
                f"SELECT {_HOLD} FROM legal_holds WHERE study_instance_uid = $1 AND lifted_at IS NULL",  # noqa: S608 - our words
                study_instance_uid,
            )
            return None if row is None else Hold(*row)

        return await self.database.run(unit)

    async def lift(self, study_instance_uid: str, by: str) -> Hold | None:
        """None: it is under no hold."""

        async def unit(connection: asyncpg.Connection) -> Hold | None:
            row = await connection.fetchrow(
                "UPDATE legal_holds SET lifted_by = $2, lifted_at = now() "  # noqa: S608 - our words
                f"WHERE study_instance_uid = $1 AND lifted_at IS NULL RETURNING {_HOLD}",
                study_instance_uid, by,
            )  # fmt: skip
            return None if row is None else Hold(*row)

        return await self.database.run(unit)

    async def holds(self, study_instance_uid: str | None = None, most: int = 1000) -> list[Hold]:
        """Those in force; of one study all there were, the newest first."""

        async def unit(connection: asyncpg.Connection) -> list[Hold]:
            rows = await connection.fetch(
                f"SELECT {_HOLD} FROM legal_holds WHERE ($1::text IS NULL AND lifted_at IS NULL) "  # noqa: S608 - our words
                "OR study_instance_uid = $1 ORDER BY id DESC LIMIT $2",
                study_instance_uid, most,
            )  # fmt: skip
            return [Hold(*row) for row in rows]

        return await self.database.run(unit)

    async def label(
        self, study_instance_uid: str, labels: Sequence[str], workflow_state: str, patient_class: str
    ) -> bool:
        """False: there is no such study."""

        async def unit(connection: asyncpg.Connection) -> bool:
            noted = await connection.fetchval(
                "INSERT INTO study_storage (study_instance_uid, labels, workflow_state, patient_class) "
                "SELECT study_instance_uid, $2, $3, $4 FROM studies WHERE study_instance_uid = $1 "
                "ON CONFLICT (study_instance_uid) DO UPDATE SET labels = excluded.labels, "
                "workflow_state = excluded.workflow_state, patient_class = excluded.patient_class RETURNING true",
                study_instance_uid, sorted(set(labels)), workflow_state, patient_class,
            )  # fmt: skip
            return noted is not None

        return await self.database.run(unit)


async def _named(
    connection: asyncpg.Connection, where: str, conditions: Conditions, most: int, scope: StudyScope
) -> list[Named]:
    seen = scope_clause(scope, conditions.parameter)
    rows = await connection.fetch(
        "SELECT s.study_instance_uid, p.patient_id, p.patient_name, s.study_date, s.study_description, s.modalities_in_study, "  # noqa: S608 - our words
        f"s.size_bytes, s.received_at, u.accessed_at, s.availability FROM {TABLES} JOIN patients p ON p.id = s.patient "
        f"WHERE {where}{f' AND {seen}' if seen else ''} ORDER BY {ORDER} LIMIT {int(most)}",
        *conditions.parameters,
    )
    return [Named(*row) for row in rows]


def policy_of(row: asyncpg.Record) -> Policy:
    return Policy(*(*row[:4], _RULE.decode(row[4]), *row[5:]))
