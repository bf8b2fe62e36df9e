"""What the tests of moves share: a real index, online store, and two folders as tier stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from config.settings import DatabaseSettings
from config.stores import LifecycleStoreSettings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.database import Database
from pacs_actors.lifecycle.carrier import Carrier
from pacs_actors.lifecycle.copies import Copies, Held
from pacs_actors.lifecycle.moves import Move, Moves, Order
from pacs_actors.lifecycle.stores.folder import FolderStore
from pacs_actors.lifecycle.tier_mover import TierMover
from pacs_actors.node_page import NodePage
from protocols.dataset.record import IndexEntry
from tests.pacs_actors.archive.objects.helpers import EXPLICIT_LE, data_set, open_store, put, scan

NEAR, FAR = "nas", "vault"
STUDY = "1.2.3"


class Archive:
    """movers: as many as there may be workers"""

    def __init__(
        self, root: Path, database: Database, online: LocalObjectStore, stores: dict[str, Any]
    ) -> None:
        self.root, self.database, self.online, self.stores = root, database, online, stores
        self.copies, self.moves = Copies(database), Moves(database)
        page = NodePage.create(1)
        page.slot = 0
        recoder: Any = None
        self.carrier = Carrier(
            online,
            stores,
            self.copies,
            IndexProgress(page, online.current_batch),
            recoder=recoder,
            scratch=root,
        )
        self.mover = self.another_mover()

    def another_mover(self) -> TierMover:
        tiers: dict[str, Any] = {NEAR: "nearline", FAR: "archive"}
        return TierMover(self.online, self.carrier, self.copies, self.moves, tiers, at_once=2)

    async def store(self, *uids: str) -> None:
        look = partial(scan, transfer_syntax_uid=EXPLICIT_LE)
        made = [
            await put(self.online, uid, data_set(uid), lambda data, complete: look(data, complete=complete))
            for uid in uids
        ]
        await Catalogue(self.database).index_batch([IndexEntry(one.checked, one.stored) for one in made])

    async def order(self, from_store: str, to_store: str) -> None:
        await self.moves.order([Order(STUDY, from_store, to_store, "a test")])

    async def taken(self) -> Move:
        move = await self.moves.take([NEAR, FAR], 60)
        assert move is not None
        return move

    async def moved(self, from_store: str, to_store: str) -> Move:
        """One that has been tried, as it is then."""
        await self.order(from_store, to_store)
        await self.mover.serve(await self.taken())
        return await self.last()

    async def last(self) -> Move:
        [move] = await self.moves.listed(
            ["waiting", "running", "done", "failed", "cancelled"], before=None, most=1
        )
        return move

    async def held(self, uid: str) -> Held:
        [held] = await self.copies.of_instances([uid])
        return held

    def copies_in(self, store: str) -> list[Path]:
        return sorted(path for path in (self.root / store).rglob("*") if path.is_file())

    async def sql(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        async def unit(connection: asyncpg.Connection) -> Sequence[asyncpg.Record]:
            return await connection.fetch(statement, *arguments)

        return [tuple(row) for row in await self.database.run(unit)]


@asynccontextmanager
async def open_archive(root: Path, dsn: str) -> AsyncIterator[Archive]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(dsn, DatabaseSettings(connections=4)))
        online = await stack.enter_async_context(open_store(root / "data"))
        stores = {}
        for name in (NEAR, FAR):
            (root / name).mkdir()
            settings = LifecycleStoreSettings(kind="folder", path=str(root / name), reserve_bytes=0)
            stores[name] = await stack.enter_async_context(FolderStore(name, settings))
        yield Archive(root, database, online, stores)


def damage(path: Path) -> None:
    """Change its last byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
