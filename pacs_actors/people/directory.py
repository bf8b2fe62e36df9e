"""Users and roles in PostgreSQL; all SQL on ``users``, ``user_roles`` and ``roles`` is here.

Every method is one unit of work on ``Database``; all raise Unavailable when PostgreSQL is away or too slow. Changes of who is an
administrator wait for each other, so that two of them cannot remove the last one together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import UNSET, Struct, UnsetType

from pacs_actors.database import Database
from pacs_actors.people.accounts import (
    ADMINISTRATOR,
    Role,
    RoleScope,
    User,
    decoded_scope,
    fold_username,
)
from pacs_actors.people.rights import Action
from protocols.errors import Refusal

_LOCK: Final = 0x50454F50  # of this wing's own; see ``_alone``
_USER: Final = """
    SELECT u.id, u.username, u.display_name, u.email, u.department, u.language, u.enabled, u.scope::text AS scope,
        u.password_hash IS NOT NULL AS has_password, u.issuer, u.created_at, u.last_login_at,
        array(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS roles
    FROM users u
"""
_ROLE: Final = "SELECT name, description, actions, scope::text AS scope FROM roles"
_TAKEN: Final = "There is somebody of that name already."


class Conflict(Refusal):
    """409: the change does not fit what is there."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0x0111, http_status=409)


class UserChange(Struct, frozen=True, kw_only=True):
    """What is to be other than it is; UNSET stays."""

    display_name: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    department: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    roles: tuple[str, ...] | UnsetType = UNSET
    scope: RoleScope | UnsetType | None = UNSET


class Directory:
    def __init__(self, database: Database) -> None:
        self.database = database

    # -- users ------------------------------------------------------------------------------------------------------------------
    async def users(self) -> list[User]:
        """Everybody, by name."""

        async def unit(connection: asyncpg.Connection) -> list[User]:
            return [_user(row) for row in await connection.fetch(f"{_USER} ORDER BY u.folded")]

        return await self.database.run(unit)

    async def user(self, user_id: int) -> User | None:
        async def unit(connection: asyncpg.Connection) -> User | None:
            return await _one(connection, user_id)

        return await self.database.run(unit)

    async def password_hash(self, username: str) -> tuple[User, str | None] | None:
        """Who has this name, and the hash of their password; None if nobody has."""

        async def unit(connection: asyncpg.Connection) -> tuple[User, str | None] | None:
            row = await connection.fetchrow(
                "SELECT id, password_hash FROM users WHERE folded = $1", fold_username(username)
            )
            user = None if row is None else await _one(connection, row["id"])
            return None if row is None or user is None else (user, row["password_hash"])

        return await self.database.run(unit)

    async def is_empty(self) -> bool:
        async def unit(connection: asyncpg.Connection) -> bool:
            return not await connection.fetchval("SELECT EXISTS (SELECT FROM users)")

        return await self.database.run(unit)

    async def add_first_administrator(self, username: str, password_hash: str) -> bool:
        """False if there is anybody already; any number of workers may call it at once."""

        async def unit(connection: asyncpg.Connection) -> bool:
            async with connection.transaction():
                await _alone(connection)
                if await connection.fetchval("SELECT EXISTS (SELECT FROM users)"):
                    return False
                new = User(id=0, username=username, display_name="Administrator", roles=(ADMINISTRATOR,))
                await _insert(connection, new, password_hash)
                return True

        return await self.database.run(unit)

    async def add(self, user: User, password_hash: str | None, subject: str | None = None) -> User:
        """The user with their number. raises: Conflict if the name is taken or a role unknown"""

        async def unit(connection: asyncpg.Connection) -> User:
            async with connection.transaction():
                user_id = await _insert(connection, user, password_hash, subject)
                made = await _one(connection, user_id)
                assert made is not None
                return made

        try:
            return await self.database.run(unit)
        except asyncpg.UniqueViolationError:
            raise Conflict(_TAKEN) from None

    async def change(self, user_id: int, change: UserChange) -> User | None:
        """None if there is no such user. raises: Conflict if nobody would be left to administrate, or a role is unknown"""

        async def unit(connection: asyncpg.Connection) -> User | None:
            async with connection.transaction():
                await _alone(connection)
                if await _one(connection, user_id) is None:
                    return None
                for name in ("display_name", "email", "department", "language", "enabled"):
                    value = getattr(change, name)
                    if value is not UNSET:
                        await connection.execute(
                            f"UPDATE users SET {name} = $2 WHERE id = $1",  # noqa: S608 - one of five names above
                            user_id, value,
                        )  # fmt: skip
                if change.scope is not UNSET:
                    scope = None if change.scope is None else _json(change.scope)
                    await connection.execute(
                        "UPDATE users SET scope = $2::jsonb WHERE id = $1", user_id, scope
                    )
                if not isinstance(change.roles, UnsetType):
                    await connection.execute("DELETE FROM user_roles WHERE user_id = $1", user_id)
                    await _give(connection, user_id, change.roles)
                if change.enabled is False:
                    await _end_sessions(connection, user_id)
                await _still_administrated(connection)
                return await _one(connection, user_id)

        return await self.database.run(unit)

    async def delete(self, user_id: int) -> User | None:
        """Who it was; None if there was no such user. raises: Conflict for the last administrator"""

        async def unit(connection: asyncpg.Connection) -> User | None:
            async with connection.transaction():
                await _alone(connection)
                user = await _one(connection, user_id)
                await connection.execute("DELETE FROM users WHERE id = $1", user_id)
                await _still_administrated(connection)
                return user

        return await self.database.run(unit)

    async def set_password(self, user_id: int, password_hash: str, keep_session: str = "") -> None:
        """Ends their sessions but the one named; a hash renewed with the same password is ``renew_hash``'s."""

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                await connection.execute(
                    "UPDATE users SET password_hash = $2 WHERE id = $1", user_id, password_hash
                )
                await _end_sessions(connection, user_id, keep_session)

        await self.database.run(unit)

    async def renew_hash(self, user_id: int, before: str, after: str) -> None:
        """The same password with newer parameters, unless it was changed meanwhile."""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
                user_id, before, after,
            )  # fmt: skip

        await self.database.run(unit)

    async def by_subject(self, issuer: str, subject: str) -> User | None:
        """Whom an identity provider calls so."""

        async def unit(connection: asyncpg.Connection) -> User | None:
            row = await connection.fetchrow(
                f"{_USER} WHERE u.issuer = $1 AND u.subject = $2", issuer, subject
            )
            return None if row is None else _user(row)

        return await self.database.run(unit)

    # -- roles ------------------------------------------------------------------------------------------------------------------
    async def roles(self) -> list[Role]:
        async def unit(connection: asyncpg.Connection) -> list[Role]:
            return [_role(row) for row in await connection.fetch(f"{_ROLE} ORDER BY name")]

        return await self.database.run(unit)

    async def add_role(self, role: Role) -> None:
        """raises: Conflict if the name is taken"""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                "INSERT INTO roles (name, description, actions, scope) VALUES ($1, $2, $3, $4::jsonb)",
                role.name, role.description, list(role.actions), _json(role.scope),
            )  # fmt: skip

        try:
            await self.database.run(unit)
        except asyncpg.UniqueViolationError:
            raise Conflict("There is a role of that name already.") from None

    async def replace_role(self, role: Role) -> bool:
        """False if there is no such role. raises: Conflict if the administrator's would lose an action or a study"""
        if role.name == ADMINISTRATOR and not (
            role.scope.everything and {action.value for action in Action} <= set(role.actions)
        ):
            raise Conflict("The role administrator keeps every permission and every study.")

        async def unit(connection: asyncpg.Connection) -> bool:
            done = await connection.execute(
                "UPDATE roles SET description = $2, actions = $3, scope = $4::jsonb WHERE name = $1",
                role.name, role.description, list(role.actions), _json(role.scope),
            )  # fmt: skip
            return bool(done == "UPDATE 1")

        return await self.database.run(unit)

    async def delete_role(self, name: str) -> bool:
        """False if there is no such role. raises: Conflict while somebody has it"""
        if name == ADMINISTRATOR:
            raise Conflict("The role administrator stays.")

        async def unit(connection: asyncpg.Connection) -> bool:
            return bool(await connection.execute("DELETE FROM roles WHERE name = $1", name) == "DELETE 1")

        try:
            return await self.database.run(unit)
        except asyncpg.ForeignKeyViolationError:
            raise Conflict("Somebody has this role: take it from them first.") from None


# -- parts of units, for this wing's other SQL as well ----------------------------------------------------------------------------
async def user_and_roles(connection: asyncpg.Connection, user_id: int) -> tuple[User, list[Role]] | None:
    """A user with what their roles are now; None if there is no such user or they are disabled."""
    user = await _one(connection, user_id)
    if user is None or not user.enabled:
        return None
    rows = await connection.fetch(f"{_ROLE} WHERE name = ANY ($1::text[])", list(user.roles))
    return user, [_role(row) for row in rows]


async def _one(connection: asyncpg.Connection, user_id: int) -> User | None:
    row = await connection.fetchrow(f"{_USER} WHERE u.id = $1", user_id)
    return None if row is None else _user(row)


async def _insert(
    connection: asyncpg.Connection, user: User, password_hash: str | None, subject: str | None = None
) -> int:
    user_id: int = await connection.fetchval(
        "INSERT INTO users (username, folded, display_name, email, department, language, enabled, password_hash, scope,"
        " issuer, subject) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11) RETURNING id",
        user.username, fold_username(user.username), user.display_name, user.email, user.department, user.language,
        user.enabled, password_hash, None if user.scope is None else _json(user.scope), user.issuer, subject,
    )  # fmt: skip
    await _give(connection, user_id, user.roles)
    return user_id


async def _give(connection: asyncpg.Connection, user_id: int, roles: Sequence[str]) -> None:
    try:
        await connection.executemany(
            "INSERT INTO user_roles (user_id, role) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            [(user_id, role) for role in roles],
        )
    except asyncpg.ForeignKeyViolationError:
        raise Conflict("There is no role of that name.") from None


async def _alone(connection: asyncpg.Connection) -> None:
    """Until the transaction ends, no other one changes who administrates."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def _still_administrated(connection: asyncpg.Connection) -> None:
    left = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM users u JOIN user_roles r ON r.user_id = u.id WHERE u.enabled AND r.role = $1)",
        ADMINISTRATOR,
    )
    if not left:
        raise Conflict("This is the last administrator who can log in.")


async def _end_sessions(connection: asyncpg.Connection, user_id: int, but: str = "") -> None:
    await connection.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND 'session:' || id::text <> $2", user_id, but
    )


def _user(row: Any) -> User:
    last = row["last_login_at"]
    return User(
        id=row["id"],
        username=row["username"],
        display_name=row["display_name"],
        email=row["email"],
        department=row["department"],
        language=row["language"],
        enabled=row["enabled"],
        roles=tuple(row["roles"]),
        scope=decoded_scope(row["scope"]),
        has_password=row["has_password"],
        issuer=row["issuer"],
        created_at=row["created_at"].isoformat(timespec="seconds"),
        last_login_at=None if last is None else last.isoformat(timespec="seconds"),
    )


def _role(row: Any) -> Role:
    scope = decoded_scope(row["scope"]) or RoleScope()
    return Role(row["name"], row["description"], tuple(row["actions"]), scope)


def _json(scope: RoleScope) -> str:
    return msgspec.json.encode(scope).decode()
