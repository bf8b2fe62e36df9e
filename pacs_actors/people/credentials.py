"""What proves who somebody is, in PostgreSQL: all SQL on sessions, refresh tokens, API tokens and signing keys is here; on
attempts to log in it is in ``attempts.py``.

Every method is one unit of work on ``Database``; all raise Unavailable when PostgreSQL is away or too slow. Secrets come and
are kept as their SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
from msgspec import Struct

from pacs_actors.database import Database
from pacs_actors.people.accounts import Role, User
from pacs_actors.people.backoff import FORGOTTEN_AFTER_S, USUAL_FOR_S
from pacs_actors.people.directory import user_and_roles

_WITHIN_S: Final = 5.0
_TOUCHED_EVERY: Final = timedelta(seconds=30)


class Found(Struct, frozen=True):
    """Whom a credential belongs to. actions: of an API token, what it is limited to; None: not limited"""

    number: int
    user: User
    roles: Sequence[Role]
    actions: tuple[str, ...] | None = None


class ApiToken(Struct, frozen=True):
    id: int
    user_id: int
    username: str
    name: str
    actions: tuple[str, ...] | None
    created_at: str
    expires_at: str
    used_at: str | None


class SigningKey(Struct, frozen=True):
    """Its repr shows no key. signs_until, verifies_until: seconds since 1970"""

    kid: str
    pem: str
    signs_until: float
    verifies_until: float

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


class Credentials:
    def __init__(self, database: Database, *, idle_s: float) -> None:
        self.database, self.idle_s = database, idle_s

    @property
    def _idle(self) -> timedelta:
        return timedelta(seconds=self.idle_s)

    # -- sessions ---------------------------------------------------------------------------------------------------------------
    async def open_session(
        self, user_id: int, network: str, address: str, lifetime_s: float, secret: bytes, refresh: bytes
    ) -> int:
        """The session's number. network: remembered as a usual place of the user"""

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                expires_at = datetime.now(UTC) + timedelta(seconds=lifetime_s)
                number: int = await connection.fetchval(
                    "INSERT INTO sessions (secret_hash, user_id, address, expires_at) VALUES ($1, $2, $3, $4) RETURNING id",
                    secret, user_id, address, expires_at,
                )  # fmt: skip
                await _add_refresh(connection, number, refresh, expires_at)
                await connection.execute(
                    "INSERT INTO known_addresses (user_id, address) VALUES ($1, $2)"
                    " ON CONFLICT (user_id, address) DO UPDATE SET last_at = now()",
                    user_id, network,
                )  # fmt: skip
                await connection.execute("UPDATE users SET last_login_at = now() WHERE id = $1", user_id)
                return number

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def session_of(self, secret: bytes) -> Found | None:
        """Whose cookie this is, if the session still holds; that counts as use of it."""

        async def unit(connection: asyncpg.Connection) -> Found | None:
            row = await connection.fetchrow(
                "SELECT id, user_id, used_at, expires_at FROM sessions WHERE secret_hash = $1", secret
            )
            return await self._live(connection, row, use=True)

        return await self.database.run(unit, within_s=_WITHIN_S, urgent=True)

    async def session(self, number: int, *, use: bool) -> Found | None:
        """Whose session this is, if it still holds."""

        async def unit(connection: asyncpg.Connection) -> Found | None:
            row = await connection.fetchrow(
                "SELECT id, user_id, used_at, expires_at FROM sessions WHERE id = $1", number
            )
            return await self._live(connection, row, use=use)

        return await self.database.run(unit, within_s=_WITHIN_S, urgent=True)

    async def _live(self, connection: asyncpg.Connection, row: Any, *, use: bool) -> Found | None:
        now = datetime.now(UTC)
        if row is None or row["expires_at"] <= now or row["used_at"] + self._idle <= now:
            return None
        if use and row["used_at"] + min(_TOUCHED_EVERY, self._idle / 10) <= now:
            await connection.execute("UPDATE sessions SET used_at = now() WHERE id = $1", row["id"])
        found = await user_and_roles(connection, row["user_id"])
        return None if found is None else Found(row["id"], *found)

    async def end_session(self, number: int) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute("DELETE FROM sessions WHERE id = $1", number)

        await self.database.run(unit, within_s=_WITHIN_S)

    async def end_all(self, user_id: int) -> int:
        """Every session and API token of a user; how many there were."""

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                ended = 0
                for table in ("sessions", "api_tokens"):
                    rows = await connection.fetch(
                        f"DELETE FROM {table} WHERE user_id = $1 RETURNING id",  # noqa: S608 - one of the two above
                        user_id,
                    )
                    ended += len(rows)
                return ended

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def refresh(self, secret: bytes, successor: bytes) -> tuple[Found | None, User | None]:
        """Use a refresh token up; its successor takes its place.

        returns: whose session it is; or None, and if the token had been used before, whose session that ended
        """

        async def unit(connection: asyncpg.Connection) -> tuple[Found | None, User | None]:
            async with connection.transaction():
                token = await connection.fetchrow(
                    "SELECT session_id, used, expires_at FROM refresh_tokens WHERE secret_hash = $1 FOR UPDATE",
                    secret,
                )
                if token is None:
                    return None, None
                number = token["session_id"]
                row = await connection.fetchrow(
                    "SELECT id, user_id, used_at, expires_at FROM sessions WHERE id = $1", number
                )
                found = await self._live(connection, row, use=True)
                if token["used"]:
                    await connection.execute("DELETE FROM sessions WHERE id = $1", number)
                    return None, None if found is None else found.user
                if found is None or token["expires_at"] <= datetime.now(UTC):
                    return None, None
                assert row is not None
                await connection.execute(
                    "UPDATE refresh_tokens SET used = true WHERE secret_hash = $1", secret
                )
                await _add_refresh(connection, number, successor, row["expires_at"])
                return found, None

        return await self.database.run(unit, within_s=_WITHIN_S)

    # -- API tokens -------------------------------------------------------------------------------------------------------------
    async def add_token(
        self, user_id: int, name: str, actions: Sequence[str] | None, lifetime_s: float, secret: bytes
    ) -> ApiToken:
        async def unit(connection: asyncpg.Connection) -> ApiToken:
            number = await connection.fetchval(
                "INSERT INTO api_tokens (secret_hash, user_id, name, actions, expires_at) VALUES ($1, $2, $3, $4, $5)"
                " RETURNING id",
                secret, user_id, name, None if actions is None else list(actions),
                datetime.now(UTC) + timedelta(seconds=lifetime_s),
            )  # fmt: skip
            row = await connection.fetchrow(f"{_API_TOKEN} WHERE t.id = $1", number)
            return _token(row)

        return await self.database.run(unit)

    async def tokens(self, user_id: int | None) -> list[ApiToken]:
        """A user's, or everybody's, newest first."""

        async def unit(connection: asyncpg.Connection) -> list[ApiToken]:
            rows = await connection.fetch(
                f"{_API_TOKEN} WHERE $1::bigint IS NULL OR t.user_id = $1 ORDER BY t.id DESC", user_id
            )
            return [_token(row) for row in rows]

        return await self.database.run(unit)

    async def end_token(self, number: int, user_id: int | None) -> ApiToken | None:
        """Which it was; None if there is no such token (of this user)."""

        async def unit(connection: asyncpg.Connection) -> ApiToken | None:
            async with connection.transaction():
                row = await connection.fetchrow(
                    f"{_API_TOKEN} WHERE t.id = $1 AND ($2::bigint IS NULL OR t.user_id = $2)",
                    number,
                    user_id,
                )
                if row is not None:
                    await connection.execute("DELETE FROM api_tokens WHERE id = $1", number)
                return None if row is None else _token(row)

        return await self.database.run(unit)

    async def token_of(self, secret: bytes) -> Found | None:
        return await self._token("secret_hash", secret, use=True)

    async def token(self, number: int) -> Found | None:
        return await self._token("id", number, use=False)

    async def _token(self, column: str, value: bytes | int, *, use: bool) -> Found | None:
        async def unit(connection: asyncpg.Connection) -> Found | None:
            row = await connection.fetchrow(
                f"SELECT id, user_id, actions, used_at FROM api_tokens WHERE {column} = $1 AND expires_at > now()",  # noqa: S608
                value,
            )
            if row is None:
                return None
            now, used_at = datetime.now(UTC), row["used_at"]
            if use and (used_at is None or used_at + _TOUCHED_EVERY <= now):
                await connection.execute("UPDATE api_tokens SET used_at = now() WHERE id = $1", row["id"])
            found = await user_and_roles(connection, row["user_id"])
            limited = None if row["actions"] is None else tuple(row["actions"])
            return None if found is None else Found(row["id"], *found, limited)

        return await self.database.run(unit, within_s=_WITHIN_S, urgent=True)

    # -- signing keys -----------------------------------------------------------------------------------------------------------
    async def signing_keys(self, new: SigningKey | None = None) -> list[SigningKey]:
        """All that still verify, the one that signs first. new: taken if none of them signs any more"""

        async def unit(connection: asyncpg.Connection) -> list[SigningKey]:
            async with connection.transaction():
                if new is not None:
                    await connection.execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
                    await connection.execute(
                        "INSERT INTO signing_keys (kid, private_key, signs_until, verifies_until) SELECT $1, $2, $3, $4"
                        " WHERE NOT EXISTS (SELECT FROM signing_keys WHERE signs_until > now())",
                        new.kid, new.pem, _moment(new.signs_until), _moment(new.verifies_until),
                    )  # fmt: skip
                rows = await connection.fetch(
                    "SELECT kid, private_key, signs_until, verifies_until FROM signing_keys"
                    " WHERE verifies_until > now() ORDER BY signs_until DESC"
                )
                return [
                    SigningKey(
                        row["kid"],
                        row["private_key"],
                        row["signs_until"].timestamp(),
                        row["verifies_until"].timestamp(),
                    )
                    for row in rows
                ]

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def prune(self) -> None:
        """Forget what has expired."""

        async def unit(connection: asyncpg.Connection) -> None:
            now = datetime.now(UTC)
            for statement, moment in (
                ("DELETE FROM sessions WHERE expires_at <= $1", now),
                ("DELETE FROM sessions WHERE used_at <= $1", now - self._idle),
                ("DELETE FROM api_tokens WHERE expires_at <= $1", now - timedelta(days=30)),
                ("DELETE FROM signing_keys WHERE verifies_until <= $1", now),
                ("DELETE FROM login_failures WHERE last_at <= $1", now - timedelta(seconds=FORGOTTEN_AFTER_S)),
                ("DELETE FROM known_addresses WHERE last_at <= $1", now - timedelta(seconds=USUAL_FOR_S)),
                ("DELETE FROM oidc_logins WHERE expires_at <= $1", now),
            ):  # fmt: skip
                await connection.execute(statement, moment)

        await self.database.run(unit)


_API_TOKEN: Final = """
    SELECT t.id, t.user_id, u.username, t.name, t.actions, t.created_at, t.expires_at, t.used_at
    FROM api_tokens t JOIN users u ON u.id = t.user_id
"""  # noqa: S105 - SQL


def _token(row: Any) -> ApiToken:
    used = row["used_at"]
    return ApiToken(
        row["id"],
        row["user_id"],
        row["username"],
        row["name"],
        None if row["actions"] is None else tuple(row["actions"]),
        row["created_at"].isoformat(timespec="seconds"),
        row["expires_at"].isoformat(timespec="seconds"),
        None if used is None else used.isoformat(timespec="seconds"),
    )


async def _add_refresh(
    connection: asyncpg.Connection, session: int, secret: bytes, expires_at: datetime
) -> None:
    await connection.execute(
        "INSERT INTO refresh_tokens (secret_hash, session_id, expires_at) VALUES ($1, $2, $3)",
        secret, session, expires_at,
    )  # fmt: skip


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
