"""Logins at an identity provider that are under way, in PostgreSQL: any worker may see the end of one; all SQL on ``oidc_logins``
but its pruning is here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from pacs_actors.database import Database
from pacs_actors.people import tickets
from pacs_actors.people.oidc import Asked

_PATIENCE: Final = timedelta(minutes=10)
_MOST: Final = 10_000


class OidcLogins:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, asked: Asked, return_to: str) -> None:
        """Beyond ten thousand at once nothing is kept: then nobody comes back in time. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> None:
            now = datetime.now(UTC)
            await connection.execute("DELETE FROM oidc_logins WHERE expires_at <= $1", now)
            await connection.execute(
                "INSERT INTO oidc_logins (state_hash, nonce, code_verifier, return_to, expires_at)"
                " SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM oidc_logins) < $6",
                tickets.digest(asked.state), asked.nonce, asked.code_verifier, return_to, now + _PATIENCE, _MOST,
            )  # fmt: skip

        await self._database.run(unit)

    async def take(self, state: str) -> tuple[str, str, str] | None:
        """(nonce, code verifier, return to), once; None if there is no such login any more. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> tuple[str, str, str] | None:
            row = await connection.fetchrow(
                "DELETE FROM oidc_logins WHERE state_hash = $1 RETURNING nonce, code_verifier, return_to, expires_at",
                tickets.digest(state),
            )
            if row is None or row["expires_at"] <= datetime.now(UTC):
                return None
            return row["nonce"], row["code_verifier"], row["return_to"]

        return await self._database.run(unit)
