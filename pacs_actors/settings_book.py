"""Settings book: keeps the settings in force current: those that were started with, and the changes in the database.

Every worker reads the table every few seconds and tells whoever asked to be told. Environment and command line win over a
change, a change wins over file and default. While PostgreSQL is away the last known ones hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
import trio
from msgspec import Struct

from config.live import LIVE, with_overrides
from config.settings import Settings
from pacs_actors.database import Database
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import ConfigError, Unavailable

CHANGED_HERE: Final = "changed here"
_REREAD_S: Final = 2.0


class Override(Struct, frozen=True):
    """A change that holds until it is taken back."""

    key: str
    value: Any
    changed_by: str
    changed_at: datetime


class SettingsBook:
    """settings: as the server was started. origins: key path -> where it was written; as ``config.load`` has them

    current:    those in force
    overrides:  the changes in force, by key path
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str], database: Database) -> None:
        self.started_with, self.origins, self.database = settings, origins, database
        self.current = settings
        self.overrides: dict[str, Override] = {}
        self._listeners: list[Callable[[Settings], None]] = []

    def listen(self, listener: Callable[[Settings], None]) -> None:
        """Have it called with the settings in force whenever they have changed."""
        self._listeners.append(listener)

    def fixed_by(self, path: str) -> str | None:
        """The variable or flag that a change cannot win over; None: there is none."""
        origin = self.origins.get(path, "default")
        return origin if origin.startswith(("PACS_", "--")) else None

    def source(self, path: str) -> str:
        """Where the value in force comes from."""
        return CHANGED_HERE if path in self.overrides else self.origins.get(path, "default")

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            try:
                await self.reread()
            except (Unavailable, asyncpg.UndefinedTableError):
                pass  # the last known ones hold; without tables nothing was changed yet
            await trio.sleep(_REREAD_S)

    async def reread(self) -> None:
        """Take in the changes as they are now. raises: Unavailable"""
        found = {each.key: each for each in await self._stored() if self._may_hold(each)}
        if found == self.overrides:
            return
        before = self.current
        self.overrides = found
        self.current = with_overrides(
            self.started_with, {key: override.value for key, override in found.items()}
        )
        if self.current != before:
            for listener in self._listeners:
                listener(self.current)
            logs.event("settings_in_force", changed=sorted(found))

    async def put(self, key: str, value: Any, by: str) -> None:
        """Keep a change, checked before, for all workers. raises: Unavailable"""
        encoded = msgspec.json.encode(value).decode()

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                """INSERT INTO settings_overrides (key, value, changed_by) VALUES ($1, $2::jsonb, $3)
                ON CONFLICT (key) DO UPDATE SET value = excluded.value, changed_by = excluded.changed_by, changed_at = now()""",
                key, encoded, by,
            )  # fmt: skip

        await self.database.run(unit)
        await self.reread()

    async def remove(self, key: str) -> bool:
        """Take a change back; False if there is none. raises: Unavailable"""

        async def unit(connection: asyncpg.Connection) -> bool:
            done: str = await connection.execute("DELETE FROM settings_overrides WHERE key = $1", key)
            return done != "DELETE 0"

        removed = await self.database.run(unit)
        await self.reread()
        return removed

    def _may_hold(self, override: Override) -> bool:
        """Not one that a flag wins over now, and not what another release, or a hand, has left."""
        if override.key not in LIVE or self.fixed_by(override.key) is not None:
            return False
        try:
            with_overrides(self.started_with, {override.key: override.value})
        except ConfigError as mistake:
            if self.overrides.get(override.key) != override:
                logs.warning("setting_ignored", key=override.key, why=str(mistake))
            return False
        return True

    async def _stored(self) -> list[Override]:
        async def unit(connection: asyncpg.Connection) -> list[Override]:
            rows = await connection.fetch(
                "SELECT key, value::text, changed_by, changed_at FROM settings_overrides ORDER BY key"
            )
            return [Override(row[0], msgspec.json.decode(row[1]), row[2], row[3]) for row in rows]

        return await self.database.run(unit)
