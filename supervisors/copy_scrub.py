"""Reading the copies in the tier stores, for the command that scrubs."""

from __future__ import annotations

from collections.abc import Callable

import trio
from msgspec import Struct

from config.settings import Settings
from pacs_actors.database import Database
from pacs_actors.lifecycle.copy_checks import CopyChecks, Due
from pacs_actors.lifecycle.copy_scrubber import what_is_wrong
from pacs_actors.lifecycle.stores.errors import StoreError
from pacs_actors.lifecycle.stores.interface import TierStore
from supervisors.lifecycle_branch import open_stores

_PAGE = 1000
_AT_ONCE = 4
_MB = 1_000_000


class CopiesRead(Struct):
    """problems: of stores that could not be read to the end, by name"""

    copies: int = 0
    size_bytes: int = 0
    problems: dict[str, str] = {}


async def read_copies(
    settings: Settings, database: Database, rate_mb_s: float | None, tell: Callable[[str, Due, str], None]
) -> CopiesRead:
    """Read every copy that the index knows, of each store of the settings, and compare it. Changes nothing.

    rate_mb_s: at most so much a second; None: as quickly as it goes
    tell:      called with store, copy and what is wrong with it
    raises:    Unavailable if the database does not answer
    """
    checks, done = CopyChecks(database), CopiesRead()
    began = trio.current_time()

    async def read(store: TierStore, left: list[Due]) -> None:
        while left:
            due = left.pop()
            if wrong := await what_is_wrong(store, due):
                tell(store.name, due, wrong)
            done.copies += 1
            done.size_bytes += due.stored.size_bytes
            if rate_mb_s is not None:
                await trio.sleep_until(began + done.size_bytes / (rate_mb_s * _MB))

    async with open_stores(settings) as stores:
        for name, store in stores.items():
            after = ""
            try:
                while page := await checks.page(name, after, _PAGE):
                    after = page[-1].sop_instance_uid
                    async with trio.open_nursery() as nursery:
                        for _ in range(_AT_ONCE):
                            nursery.start_soon(read, store, page)
            except* StoreError as group:
                done.problems[name] = str(_first(group))
    return done


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
