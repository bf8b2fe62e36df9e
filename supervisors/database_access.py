"""The index database for a command: the configured one, the running server's, or one started for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import trio

from config.settings import Settings
from protocols.errors import Unavailable
from supervisors.node import own_data_folder
from supervisors.postgres import EmbeddedPostgres, running_dsn, started

T = TypeVar("T")
_LOCK_WAIT_S = 1.0  # a server that was told to stop may be about to be gone
_REFUSALS = (
    OSError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    asyncpg.ReadOnlySQLTransactionError,
)


@asynccontextmanager
async def reachable(settings: Settings, *, alone: bool = False) -> AsyncIterator[str]:
    """The DSN of a database that answers for the length of the block, as the role that owns the tables.

    alone:   hold the data folder's lock meanwhile: no server runs on it
    raises:  FolderInUse if that, or the embedded database, cannot be had because a server runs; ConfigError if the
             embedded one cannot be started
    """
    data = Path(settings.server.data).resolve()  # noqa: ASYNC240  # nothing else runs yet
    dsn = settings.database.owner_url or settings.database.url
    if dsn is None and not alone:
        dsn = running_dsn(data)
    with ExitStack() as held:
        if alone or dsn is None:
            held.enter_context(own_data_folder(data, wait_s=_LOCK_WAIT_S))
        if dsn is not None:
            yield dsn
            return
        async with started(EmbeddedPostgres(data, settings.database)) as own:
            yield own


async def on_connection(settings: Settings, unit: Callable[[asyncpg.Connection[Any]], Awaitable[T]]) -> T:
    """Run one asyncpg coroutine on a connection of its own.

    raises: Unavailable if the database cannot be reached, ConfigError as ``reachable``
    """
    async with reachable(settings) as dsn:
        return await trio.to_thread.run_sync(lambda: asyncio.run(_connected(dsn, settings, unit)))


async def _connected(
    dsn: str, settings: Settings, unit: Callable[[asyncpg.Connection[Any]], Awaitable[T]]
) -> T:
    try:
        connection = await asyncpg.connect(dsn, timeout=settings.database.call_timeout_s)
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"the database does not answer: {error or type(error).__name__}") from error
    try:
        return await unit(connection)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        raise Unavailable(
            "the database is that of an earlier release; run: pacs-actors db migrate"
        ) from error
    except _REFUSALS as error:
        raise Unavailable(f"the database refuses: {error}") from error
    finally:
        await connection.close()
