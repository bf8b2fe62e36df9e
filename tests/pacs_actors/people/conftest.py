"""A reception with a database of its own, and an audit that is kept in a list."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from config.settings import DatabaseSettings, PeopleSettings
from pacs_actors.audit.audit import Audit
from pacs_actors.database import Database
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.people import passwords
from pacs_actors.people.accounts import User
from pacs_actors.people.password_hasher import PasswordHasher
from pacs_actors.people.reception import Reception
from protocols.messages.audit import AuditEvent
from tests.pacs_actors.archive.conftest import dsn, migrated

__all__ = ["dsn", "migrated"]

PASSWORD = "seven horses on the pier"
HASHED = passwords.hashed(PASSWORD)


class Desk(Reception):
    """events: what was audited"""

    def __init__(self, settings: PeopleSettings, database: Database, hasher: PasswordHasher) -> None:
        self.mailbox: Mailbox[AuditEvent] = Mailbox("audit", 1000)
        super().__init__(settings, database, hasher, Audit(self.mailbox))
        self.database = database

    def events(self) -> list[tuple[str, str, str]]:
        """(event, outcome, who) of all that was audited since the last call."""
        found = []
        while self.mailbox.statistics().depth:
            event = self.mailbox.receive_nowait().message
            found.append((event.event, event.outcome, event.who))
        return found

    async def sql(self, statement: str, *arguments: object) -> None:
        async def unit(connection: object) -> None:
            await connection.execute(statement, *arguments)  # type: ignore[attr-defined]

        await self.database.run(unit)
        self.forget()

    async def person(self, username: str, *roles: str, **facts: object) -> User:
        return await self.directory.add(User(id=0, username=username, roles=roles, **facts), HASHED)  # type: ignore[arg-type]


@pytest.fixture
async def people(dsn: str) -> AsyncIterator[Desk]:
    async with (
        Database(dsn, DatabaseSettings(connections=4)) as database,
        PasswordHasher() as hasher,
    ):
        desk = Desk(PeopleSettings(), database, hasher)
        await desk.directory.add_first_administrator("admin", HASHED)
        yield desk
