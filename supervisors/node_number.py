"""Whether a data folder may be served under the node's number: before anything is written, as far as the database answers."""

from __future__ import annotations

import asyncio
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg
import trio

from config.settings import Settings
from pacs_actors.archive.objects import listing
from pacs_actors.archive.objects.batches import sync_folder
from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.archive.objects.keys import node_of
from pacs_actors.nodes import NumberTaken, claim
from protocols.errors import ConfigError

_IDENTITY: Final = "node-id"
_IDENTITY_BYTES: Final = 16
_COMMANDS_NODE: Final = 99  # no node: slots of commands, which store nothing
_CONNECT_WITHIN_S: Final = 5.0


def folder_identity(data: Path) -> str:
    """What the folder is called in the database: 32 hexadecimal digits, made once. Whoever asks holds the folder's lock.

    raises: ConfigError
    """
    path = data / _IDENTITY
    try:
        if not path.exists():
            half = path.with_suffix(".new")
            with half.open("w", encoding="ascii") as file:
                file.write(secrets.token_hex(_IDENTITY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            half.rename(path)
            sync_folder(FileSystem(), data)
        found = path.read_text("ascii").strip()
        if len(bytes.fromhex(found)) != _IDENTITY_BYTES:
            raise ValueError
    except OSError as error:
        raise ConfigError(f"server.data: cannot use {path}: {error.strerror}") from error
    except ValueError:
        raise ConfigError(f"server.data: {path} is damaged; it has 32 hexadecimal digits") from None
    return found


def check_folder(data: Path, node: int) -> None:
    """raises: ConfigError if the folder has objects of another node"""
    try:
        slots = listing.slots(data)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"server.data: cannot read {data / 'objects'}: {error.strerror}") from error
    others = {node_of(slot) for slot in slots} - {node, _COMMANDS_NODE}
    if others:
        raise ConfigError(
            f"server.node: {data} has objects of node {min(others)}, and is none of node {node}'s"
        )


async def check_number(settings: Settings, identity: str) -> None:
    """Claim our number, if a database that several nodes may share answers: else a worker does, before it indexes anything.

    raises: NumberTaken
    """
    if settings.database.url is None:
        return
    dsn, node = settings.database.url, settings.server.node
    taken = await trio.to_thread.run_sync(lambda: asyncio.run(_claim(dsn, node, identity)))
    if taken is not None:
        raise NumberTaken(node, taken)


async def _claim(dsn: str, node: int, identity: str) -> datetime | None:
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            connection = await asyncpg.connect(dsn)
            try:
                return await claim(connection, node, identity)
            finally:
                await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None  # it is away, or has no tables yet
