"""What commands make of the copies in the stores: finding what is only there, and holding them against the book of copies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from config.settings import Settings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.custom import custom_attributes
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.database import Database
from pacs_actors.lifecycle.copies import Copies
from pacs_actors.lifecycle.copy_checks import CopyChecks
from pacs_actors.lifecycle.copy_comparing import CopyComparison
from pacs_actors.lifecycle.copy_finding import CopyFinder, Searched
from pacs_actors.lifecycle.copy_reading import CopyReader
from pacs_actors.lifecycle.policies import Tier
from pacs_actors.lifecycle.recoding import Recoder
from pacs_actors.lifecycle.reconciling import Reconciliation
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.threads import NativePool
from supervisors.lifecycle_branch import open_stores

_MIB = 1024**2


@asynccontextmanager
async def copy_finder(
    settings: Settings, database: Database, stores: Mapping[str, TierStore]
) -> AsyncIterator[CopyFinder]:
    """Who tells what copies in these stores are."""
    scratch = Path(settings.server.data) / "tmp"
    tiers = {name: cast(Tier, one.tier) for name, one in settings.stores.items()}
    custom = custom_attributes(settings.index.custom_attributes)
    async with (
        NativePool(settings.storage.writer_threads, "copies") as threads,
        Transcoder(folder=scratch, memory_bytes=settings.pixels.memory_mib * _MIB) as transcoder,
    ):
        reader = CopyReader(
            Recoder(transcoder, threads, scratch),
            threads,
            scratch,
            most_bytes=settings.dicom.max_object_bytes + _MIB,
            custom=custom,
        )
        catalogue = Catalogue(database, custom=custom)
        yield CopyFinder(Copies(database), catalogue, reader, stores, tiers, settings.server.node)


async def search_stores(settings: Settings, dsn: str, tell: Callable[[int], None]) -> list[Searched]:
    """Look through the stores of the settings for copies that the index does not know.

    raises: as ``CopyFinder.search``
    """
    async with (
        Database(dsn, settings.database) as database,
        open_stores(settings) as stores,
        copy_finder(settings, database, stores) as finder,
    ):
        return await finder.search(tell)


async def compare_stores(
    settings: Settings, database: Database, online: LocalObjectStore, work: Reconciliation, *, fix: bool
) -> tuple[int, dict[str, str]]:
    """Hold the copies in the stores against the book, both ways; how many there are, and why a store was not looked through.

    work: counts and tells what is found
    raises: as ``CopyComparison.run``
    """
    async with open_stores(settings) as stores, copy_finder(settings, database, stores) as finder:
        comparison = CopyComparison(
            Copies(database), CopyChecks(database), stores, online, finder if fix else None, work.say
        )
        problems = await comparison.run()
        return comparison.copies, problems
