"""What ``scrub`` and ``reconcile`` share: how they run, the index for them, and what is said when one cannot run."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import trio

from config.settings import Settings
from pacs_actors import migrations
from pacs_actors.database import Database
from pacs_actors.operations import logs
from protocols.errors import ConfigError, PacsError, Unavailable
from supervisors.data_folder import with_objects
from supervisors.database_access import reachable
from supervisors.postgres import running_dsn

T = TypeVar("T")
COULD_NOT_RUN: Final = 2
_MIGRATE_WITHIN_S: Final = 600.0


def ran(name: str, settings: Settings, work: Callable[[], Awaitable[T]]) -> T | None:
    """What the command's work returns; None if it could not be done, which is said on standard error.

    raises: ConfigError if there are no objects
    """
    logs.configure("critical", name)
    with_objects(settings.server.data)
    failure: str | None = None
    try:
        return trio.run(work)
    except* (PacsError, OSError) as group:
        failure = failure_of(group)
    print(f"pacs-actors: {failure}", file=sys.stderr)
    return None


@asynccontextmanager
async def index(settings: Settings) -> AsyncIterator[Database]:
    """The index database with our tables, of a running server or started for the length of the block.

    raises: Unavailable, ConfigError
    """
    async with reachable(settings) as dsn, Database(dsn, settings.database) as database:
        await database.run(migrations.migrate, within_s=_MIGRATE_WITHIN_S)
        yield database


@asynccontextmanager
async def index_if_any(settings: Settings) -> AsyncIterator[Database | None]:
    """As ``index``; None if there is none, or it does not answer: said on standard error."""
    async with AsyncExitStack() as held:
        database: Database | None = None
        why = "there is no database"
        if not _embedded(settings) or (_data(settings) / "postgres").is_dir():
            try:
                database = await held.enter_async_context(index(settings))
            except* (Unavailable, ConfigError) as group:
                why = failure_of(group)
        if database is None:
            print(f"pacs-actors: without the index: {why}", file=sys.stderr)
        yield database


def server_runs(settings: Settings) -> bool:
    """Whether a server seems to use the data folder. With a database elsewhere nobody knows: then one does."""
    return not _embedded(settings) or running_dsn(_data(settings)) is not None


def failure_of(error: BaseException) -> str:
    """The first reason in a group, as a sentence."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _embedded(settings: Settings) -> bool:
    return settings.database.url is None and settings.database.owner_url is None


def _data(settings: Settings) -> Path:
    return Path(settings.server.data).resolve()
