"""Storage commitment in PostgreSQL: all SQL on the table ``commitment_requests``.

Every method is one unit of work on ``Database``; all raise Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import EVERYTHING, StudyScope, scope_clause
from pacs_actors.database import Database
from protocols.dimse.commitment import CommitmentRequest, CommitmentResult, Reference

HEAD_START_S: Final = 6.0
"""More than an agent lets pass between two looks."""
_REFERENCES = msgspec.json.Decoder(tuple[Reference, ...])
_SCOPE = msgspec.json.Decoder(StudyScope)
_RESULT = msgspec.json.Decoder(CommitmentResult)


class DueRequest(Struct, frozen=True):
    """A request to check or to report.

    result: None until it was checked
    scope:  the studies that whoever asked may see
    """

    number: int
    transaction_uid: str
    requester: str
    references: tuple[Reference, ...]
    attempts: int
    result: CommitmentResult | None
    scope: StudyScope = EVERYTHING


class StoredInstance(Struct, frozen=True):
    sop_class_uid: str
    key: str
    size_bytes: int


class CommitmentBook:
    """``next_attempt_at`` is for every worker; whoever has the association that asked comes HEAD_START_S sooner."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def write(self, requester: str, request: CommitmentRequest, scope: StudyScope) -> int:
        """Keep a request before it is answered; its number. The same transaction again is due again, as if it were new."""
        kept = None if scope.everything else msgspec.json.encode(scope).decode()

        async def unit(connection: asyncpg.Connection) -> int:
            number: int = await connection.fetchval(
                "INSERT INTO commitment_requests AS r (transaction_uid, requester, references_asked, scope, next_attempt_at) "
                "VALUES ($1, $2, $3, $4::jsonb, now() + make_interval(secs => $5)) "
                "ON CONFLICT (requester, transaction_uid) DO UPDATE SET references_asked = excluded.references_asked, "
                "scope = excluded.scope, state = 'received', attempts = 0, next_attempt_at = excluded.next_attempt_at, "
                "result = NULL RETURNING r.id",
                request.transaction_uid,
                requester,
                msgspec.json.encode(request.references).decode(),
                kept,
                HEAD_START_S,
            )
            return number

        return await self.database.run(unit, urgent=True)

    async def take_due(self, most: int, asked_here: Sequence[int], *, lease_s: float) -> list[DueRequest]:
        """Requests whose time has come, for this worker alone until the lease runs out.

        asked_here: numbers of those that came on an association of this worker's
        """

        async def unit(connection: asyncpg.Connection) -> list[Any]:
            rows: list[Any] = await connection.fetch(
                "UPDATE commitment_requests r SET attempts = r.attempts + 1, "
                "next_attempt_at = now() + make_interval(secs => $2) FROM (SELECT id FROM commitment_requests "
                "WHERE state IN ('received', 'checked') AND next_attempt_at <= now() + make_interval(secs => $4) "
                "AND (next_attempt_at <= now() OR id = ANY ($3::bigint[])) ORDER BY next_attempt_at LIMIT $1 "
                "FOR UPDATE SKIP LOCKED) due WHERE r.id = due.id "
                "RETURNING r.id, r.transaction_uid, r.requester, r.references_asked::text, r.attempts - 1, r.result::text, "
                "r.scope::text",
                most,
                lease_s + HEAD_START_S,
                asked_here,
                HEAD_START_S,
            )
            return rows

        return [
            DueRequest(
                row[0],
                row[1],
                row[2],
                _REFERENCES.decode(row[3]),
                row[4],
                _RESULT.decode(row[5]) if row[5] is not None else None,
                EVERYTHING if row[6] is None else _SCOPE.decode(row[6]),
            )
            for row in await self.database.run(unit)
        ]

    async def checked(self, number: int, result: CommitmentResult) -> None:
        await self._execute(
            "UPDATE commitment_requests SET state = 'checked', result = $2 WHERE id = $1",
            number,
            msgspec.json.encode(result).decode(),
        )

    async def reported(self, number: int) -> None:
        await self._execute("UPDATE commitment_requests SET state = 'reported' WHERE id = $1", number)

    async def put_off(self, number: int, wait_s: float, *, given_up: bool) -> None:
        await self._execute(
            "UPDATE commitment_requests SET next_attempt_at = now() + make_interval(secs => $2), "
            "state = CASE WHEN $3 THEN 'given up' ELSE state END WHERE id = $1",
            number,
            wait_s + HEAD_START_S,
            given_up,
        )

    async def stored(
        self, sop_instance_uids: Sequence[str], scope: StudyScope, source: str | None = None
    ) -> dict[str, StoredInstance]:
        """What the index knows of these instances, as far as they are within the scope, or came from this source."""
        conditions = Conditions()
        clause = f"i.sop_instance_uid = ANY ({conditions.parameter(list(sop_instance_uids), 'text[]')})"
        seen = scope_clause(scope, conditions.parameter)
        if seen is not None:
            own = "" if source is None else f" OR i.source = {conditions.parameter(source, 'text')}"
            clause += (
                " AND (EXISTS (SELECT FROM series e JOIN studies s ON s.id = e.study"
                f" WHERE e.id = i.series AND {seen}){own})"
            )

        async def unit(connection: asyncpg.Connection) -> list[Any]:
            rows: list[Any] = await connection.fetch(
                f"SELECT i.sop_instance_uid, i.sop_class_uid, i.object_key, i.size_bytes FROM instances i WHERE {clause}",  # noqa: S608
                *conditions.parameters,
            )
            return rows

        return {row[0]: StoredInstance(row[1], row[2], row[3]) for row in await self.database.run(unit)}

    # -- transactions that are answered at once: of DICOMweb ----------------------------------------------------------------------
    async def keep(self, requester: str, transaction_uid: str, answer: bytes) -> bool:
        """Keep the answer (JSON) to a transaction; False if there was one of that UID already."""

        async def unit(connection: asyncpg.Connection) -> bool:
            number = await connection.fetchval(
                "INSERT INTO commitment_requests (transaction_uid, requester, references_asked, state, result) "
                "VALUES ($1, $2, '[]', 'reported', $3) ON CONFLICT (requester, transaction_uid) DO NOTHING RETURNING id",
                transaction_uid, requester, answer.decode(),
            )  # fmt: skip
            return number is not None

        return await self.database.run(unit, urgent=True)

    async def kept(self, requester: str, transaction_uid: str) -> bytes | None:
        """The answer to a transaction; None if there was none."""

        async def unit(connection: asyncpg.Connection) -> bytes | None:
            text: str | None = await connection.fetchval(
                "SELECT result::text FROM commitment_requests WHERE requester = $1 AND transaction_uid = $2",
                requester,
                transaction_uid,
            )
            return None if text is None else text.encode()

        return await self.database.run(unit)

    async def _execute(self, statement: str, *arguments: object) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(statement, *arguments)

        await self.database.run(unit, urgent=True)
