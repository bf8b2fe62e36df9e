"""Finding what is only in the stores, for a command that makes the index again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from config.settings import Settings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.custom import custom_attributes
from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.database import Database
from pacs_actors.lifecycle.copies import Copies
from pacs_actors.lifecycle.copy_finding import CopyFinder, Searched
from pacs_actors.lifecycle.copy_reading import CopyReader
from pacs_actors.lifecycle.policies import Tier
from pacs_actors.lifecycle.recoding import Recoder
from pacs_actors.threads import NativePool
from supervisors.lifecycle_branch import open_stores

_MIB = 1024**2


async def search_stores(settings: Settings, dsn: str, tell: Callable[[int], None]) -> list[Searched]:
    """Look through the stores of the settings for copies that the index does not know.

    raises: as ``CopyFinder.search``
    """
    scratch = Path(settings.server.data) / "tmp"
    tiers = {name: cast(Tier, one.tier) for name, one in settings.stores.items()}
    custom = custom_attributes(settings.index.custom_attributes)
    async with (
        Database(dsn, settings.database) as database,
        open_stores(settings) as stores,
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
        finder = CopyFinder(Copies(database), catalogue, reader, stores, tiers, settings.server.node)
        return await finder.search(tell)
