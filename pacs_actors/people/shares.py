"""Share links in PostgreSQL; all SQL on ``shares`` and ``share_sessions`` is here.

Every method is one unit of work on ``Database``; all raise Unavailable when PostgreSQL is away or too slow. Secrets come and
are kept as their SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import StudyScope, scope_clause
from pacs_actors.database import Database
from pacs_actors.people.directory import user_and_roles
from pacs_actors.people.share_rules import Link

MOST_IN_FORCE: Final = 1000
_MOST_LISTED: Final = 5000
_MOST_SESSIONS: Final = 200
_KEPT_AFTER: Final = timedelta(days=30)
_WITHIN_S: Final = 5.0

_SHARE: Final = """
    SELECT h.id, h.study_instance_uid, h.created_at, u.username, h.expires_at, h.note, h.password_hash IS NOT NULL,
        'study.download' = ANY (h.actions), h.opened, h.revoked_at, h.patient_id
    FROM shares h JOIN users u ON u.id = h.user_id
"""
_LINK: Final = """
    SELECT h.id, h.study_instance_uid, h.patient_id, h.actions, h.password_hash, h.expires_at,
        h.revoked_at IS NOT NULL AS revoked, h.user_id
"""


class Share(Struct, frozen=True):
    """A link as its maker sees it: never with its secret. opened: how often"""

    id: int
    study_instance_uid: str
    created_at: str
    created_by: str
    expires_at: str
    note: str
    has_password: bool
    download: bool
    opened: int
    revoked_at: str | None


class NewShare(Struct, frozen=True, kw_only=True):
    """Its repr shows no hash. user_id: who makes it"""

    user_id: int
    study_instance_uid: str
    patient_id: str
    actions: Sequence[str]
    note: str
    password_hash: str | None
    lifetime_s: int

    def __repr__(self) -> str:
        return f"NewShare(study_instance_uid={self.study_instance_uid!r})"


class Shares:
    def __init__(self, database: Database) -> None:
        self.database = database

    # -- for who makes them -------------------------------------------------------------------------------------------------------
    async def add(self, new: NewShare, secret: bytes) -> Share | None:
        """None if there are too many of the user's in force."""

        async def unit(connection: asyncpg.Connection) -> Share | None:
            async with connection.transaction():
                await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", new.user_id)
                in_force = await connection.fetchval(
                    "SELECT count(*) FROM shares WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now()",
                    new.user_id,
                )
                if in_force >= MOST_IN_FORCE:
                    return None
                number = await connection.fetchval(
                    "INSERT INTO shares (secret_hash, study_instance_uid, patient_id, user_id, actions, note,"
                    " password_hash, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
                    secret, new.study_instance_uid, new.patient_id, new.user_id, list(new.actions), new.note,
                    new.password_hash, datetime.now(UTC) + timedelta(seconds=new.lifetime_s),
                )  # fmt: skip
                return _share(await connection.fetchrow(f"{_SHARE} WHERE h.id = $1", number))

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def listed(self, scope: StudyScope, user_id: int | None, study: str | None) -> list[Share]:
        """Of studies within the scope, newest first. user_id: only theirs; study: only of this one"""
        where, parameters = _where(scope, user_id, study)

        async def unit(connection: asyncpg.Connection) -> list[Share]:
            rows = await connection.fetch(
                f"{_SHARE} WHERE {where} ORDER BY h.id DESC LIMIT {_MOST_LISTED}", *parameters
            )
            return [_share(row) for row in rows]

        return await self.database.run(unit)

    async def revoke(self, number: int, scope: StudyScope, user_id: int | None) -> tuple[Share, str] | None:
        """End a link and all that it has opened: what it was, and its patient's ID.

        None if there is none in force by that number, of the user if one is given, of a study within the scope
        """
        where, parameters = _where(scope, user_id, None, number)

        async def unit(connection: asyncpg.Connection) -> tuple[Share, str] | None:
            async with connection.transaction():
                row = await connection.fetchrow(
                    f"{_SHARE} WHERE {where} AND h.revoked_at IS NULL FOR UPDATE OF h", *parameters
                )
                if row is None:
                    return None
                await connection.execute("UPDATE shares SET revoked_at = now() WHERE id = $1", number)
                await connection.execute("DELETE FROM share_sessions WHERE share_id = $1", number)
                return _share(row), row["patient_id"]

        return await self.database.run(unit, within_s=_WITHIN_S)

    # -- for who opens them -------------------------------------------------------------------------------------------------------
    async def link(self, secret: bytes) -> Link | None:
        """The link with this secret, in force or not."""

        async def unit(connection: asyncpg.Connection) -> Link | None:
            row = await connection.fetchrow(f"{_LINK} FROM shares h WHERE h.secret_hash = $1", secret)
            return None if row is None else await _link(connection, row)

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def study_is_there(self, study: str, scope: StudyScope) -> bool:
        conditions = Conditions()
        clause = f"s.study_instance_uid = {conditions.parameter(study, 'text')}"
        if (seen := scope_clause(scope, conditions.parameter)) is not None:
            clause += f" AND {seen}"

        async def unit(connection: asyncpg.Connection) -> bool:
            sql = f"SELECT EXISTS (SELECT FROM studies s WHERE {clause})"  # noqa: S608 - fixed words, parameter numbers
            return bool(await connection.fetchval(sql, *conditions.parameters))

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def open(self, number: int, secret: bytes, expires_at: datetime) -> bool:
        """Count it and begin a session; False if it was revoked or has expired meanwhile. Old sessions make room."""

        async def unit(connection: asyncpg.Connection) -> bool:
            async with connection.transaction():
                counted = await connection.execute(
                    "UPDATE shares SET opened = opened + 1 WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()",
                    number,
                )
                if counted != "UPDATE 1":
                    return False
                await connection.execute(
                    "INSERT INTO share_sessions (secret_hash, share_id, expires_at) VALUES ($1, $2, $3)",
                    secret, number, expires_at,
                )  # fmt: skip
                await connection.execute(
                    "DELETE FROM share_sessions WHERE share_id = $1 AND id IN (SELECT id FROM share_sessions"
                    " WHERE share_id = $1 ORDER BY id DESC OFFSET $2)",
                    number, _MOST_SESSIONS,
                )  # fmt: skip
                return True

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def session_of(self, secret: bytes) -> tuple[int, Link, datetime] | None:
        """The session with this cookie: its number, its link as it is now, and when it ends."""
        return await self._session("secret_hash", secret)

    async def session(self, number: int) -> tuple[int, Link, datetime] | None:
        return await self._session("id", number)

    async def _session(self, column: str, value: bytes | int) -> tuple[int, Link, datetime] | None:
        async def unit(connection: asyncpg.Connection) -> tuple[int, Link, datetime] | None:
            row = await connection.fetchrow(
                f"{_LINK}, x.id AS session, x.expires_at AS until FROM share_sessions x JOIN shares h ON h.id = x.share_id"
                f" WHERE x.{column} = $1 AND x.expires_at > now()",
                value,
            )
            return None if row is None else (row["session"], await _link(connection, row), row["until"])

        return await self.database.run(unit, within_s=_WITHIN_S, urgent=True)

    async def prune(self) -> None:
        """Forget sessions that have ended, and some time later links as well; the audit knows of them."""

        async def unit(connection: asyncpg.Connection) -> None:
            now = datetime.now(UTC)
            await connection.execute("DELETE FROM share_sessions WHERE expires_at <= $1", now)
            await connection.execute(
                "DELETE FROM shares WHERE least(expires_at, revoked_at) <= $1", now - _KEPT_AFTER
            )

        await self.database.run(unit)


def _where(
    scope: StudyScope, user_id: int | None, study: str | None, number: int | None = None
) -> tuple[str, list[object]]:
    conditions = Conditions()
    clauses = [
        f"{column} = {conditions.parameter(value, kind)}"
        for column, value, kind in (
            ("h.user_id", user_id, "bigint"), ("h.study_instance_uid", study, "text"), ("h.id", number, "bigint"),
        )
        if value is not None
    ]  # fmt: skip
    if (seen := scope_clause(scope, conditions.parameter)) is not None:
        clauses.append(
            f"EXISTS (SELECT FROM studies s WHERE s.study_instance_uid = h.study_instance_uid AND {seen})"
        )
    return " AND ".join(clauses) or "true", conditions.parameters


async def _link(connection: asyncpg.Connection, row: Any) -> Link:
    maker, roles = await user_and_roles(connection, row["user_id"]) or (None, [])
    return Link(
        number=row["id"],
        study_instance_uid=row["study_instance_uid"],
        patient_id=row["patient_id"],
        actions=tuple(row["actions"]),
        password_hash=row["password_hash"],
        expires_at=row["expires_at"],
        revoked=row["revoked"],
        maker=maker,
        roles=roles,
    )


def _share(row: Any) -> Share:
    number, study, created, by, expires, note, has_password, download, opened, revoked = tuple(row)[:10]
    return Share(
        number, study, created.isoformat(timespec="seconds"), by, expires.isoformat(timespec="seconds"), note,
        has_password, download, opened, None if revoked is None else revoked.isoformat(timespec="seconds"),
    )  # fmt: skip
