"""Making the index again from the objects alone: what recovery does at start, for every object there is.

Safe to interrupt and to run again: what is indexed already is skipped, and a batch is in the index whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import asyncpg
import trio
from msgspec import Struct

from config.settings import Settings
from pacs_actors import migrations
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.custom import custom_attributes
from pacs_actors.archive.indexer import Indexer
from pacs_actors.archive.objects.keys import MAX_SLOT
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.archive.recovery_reader import RecoveryReader
from pacs_actors.database import Database
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.node_page import NodePage
from protocols.messages.archive import IndexMessage

_MIGRATE_WITHIN_S = 600.0
_TELL_EVERY_S = 0.5
_AGAIN = 3  # over seven seconds
_TABLES = "instances, series, studies, patients, archive_totals, ingest_mark"


class Rebuilt(Struct, frozen=True):
    """What a rebuild did.

    indexed:     objects that the index did not know
    duplicates:  of them, copies of others; conflicts: of them, set aside in quarantine
    damaged:     objects that are not what they were, set aside; unreadable: left alone, because the disk
                 does not give them, or because they are intact but beyond our scanner
    """

    indexed: int
    duplicates: int
    conflicts: int
    damaged: int
    unreadable: int


async def rebuild(
    settings: Settings, dsn: str, *, from_scratch: bool, tell: Callable[[int], None] = lambda _: None
) -> Rebuilt:
    """Index every object under the data folder that is not indexed.

    from_scratch:  empty the index first: no server may be running
    tell:          called now and then with the number of objects indexed so far
    raises:        Unavailable if the database or the store's spare slot cannot be had
    """
    page = NodePage.create(1)
    page.slot = 0
    custom = custom_attributes(settings.index.custom_attributes)
    # A slot of its own, so that a running server's are left alone; nothing is stored in it.
    async with (
        LocalObjectStore(
            Path(settings.server.data), MAX_SLOT, settings.storage, node=settings.server.node
        ) as store,
        Database(dsn, settings.database) as database,
        trio.open_nursery() as nursery,
    ):
        await database.run(migrations.migrate, within_s=_MIGRATE_WITHIN_S)
        if from_scratch:
            await database.run(_empty, within_s=_MIGRATE_WITHIN_S)
        catalogue = Catalogue(database, custom=custom)
        progress = IndexProgress(page, store.current_batch)
        index: Mailbox[IndexMessage] = Mailbox("index", settings.storage.backlog)
        indexer = Indexer(settings.index, catalogue, store, progress, index)
        reader = RecoveryReader(
            store.slots(),
            catalogue,
            store,
            progress,
            index,
            first_own_batch=0,
            debt=0,
            custom=custom,
            whole=True,
            again=_AGAIN,
        )

        async def telling() -> None:
            while True:
                await trio.sleep(_TELL_EVERY_S)
                tell(indexer.instances)

        nursery.start_soon(indexer.run)
        nursery.start_soon(telling)
        await reader.run()
        tell(indexer.instances)
        nursery.cancel_scope.cancel()
    return Rebuilt(reader.recovered, indexer.duplicates, indexer.conflicts, reader.damaged, reader.unreadable)


async def _empty(connection: asyncpg.Connection) -> None:
    await connection.execute(f"TRUNCATE {_TABLES}")
