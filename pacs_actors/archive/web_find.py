"""Searches of DICOMweb: a page of matches by offset, newest first, and how many come behind it.

Goes to the catalogue itself, few at a time; who comes while too many wait is told to come later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import trio
from msgspec import Struct, structs

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.key_values import has_wildcard, is_universal
from pacs_actors.archive.matching import FindPlan, FindQuery, plan
from pacs_actors.archive.progress import IndexProgress, wait_until_indexed
from protocols.errors import Unavailable

AT_ONCE: Final = 8
MOST_WAITING: Final = 256
WITHIN_S: Final = 20.0
COUNTED_UP_TO: Final = 1_000
COUNT_WITHIN_S: Final = 0.25
DEEP: Final = 1_000
_REMEMBERED: Final = 256
_REMEMBERED_S: Final = 60.0

# How many rows a range or a wildcard leaves depends on its value, and a plan for any value may be a hundred times slower.
# Sequential scans look cheaper than they are: a date costs a regular expression a row.
_PLAN_ANEW: Final = "SET plan_cache_mode = force_custom_plan; SET enable_seqscan = off"
_PLAN_AS_EVER: Final = "RESET plan_cache_mode; RESET enable_seqscan"
_SHARP: Final = (0x0020000D, 0x0020000E, 0x00080018, 0x00100020, 0x00080050)


class Found(Struct, frozen=True):
    """A page of matches.

    returns:  the tag of each value of a row
    rows:     values as text, "" where there is none; of a sequence DICOM JSON
    further:  matches behind the page, counted up to COUNTED_UP_TO
    exact:    whether there are no more than ``further``
    """

    returns: tuple[int, ...]
    rows: list[tuple[str, ...]]
    further: int = 0
    exact: bool = True


class WebFind:
    """catch_up_s: longest wait for the index to show what was stored before the query came"""

    def __init__(self, catalogue: Catalogue, progress: IndexProgress, *, catch_up_s: float) -> None:
        self.catalogue, self.progress, self._catch_up_s = catalogue, progress, catch_up_s
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._cursors = _Cursors()

    async def page(self, query: FindQuery, offset: int, limit: int) -> Found:
        """Matches from ``offset`` on, at most ``limit``.

        raises: BadIdentifier for a malformed key; Unavailable if it takes too long, or too many are waiting
        """
        async with self._turn():
            if not await wait_until_indexed(self.progress, within_s=self._catch_up_s):
                raise Unavailable("the index has not caught up")
            return await self._page(query, offset, limit)

    async def _page(self, query: FindQuery, offset: int, limit: int) -> Found:
        # One row more than wanted tells whether there are more, and most of the time there are not.
        base = structs.replace(query, limit=limit + 1)
        found = plan(base, self.catalogue.custom)
        key = (found.matching, tuple(map(_hashable, found.parameters[: found.matching_parameters])))
        after = self._cursors.place(key, offset) if offset >= DEEP else None
        if after is not None:
            found = plan(structs.replace(base, after=after), self.catalogue.custom)
        elif offset:
            found = plan(structs.replace(base, offset=offset), self.catalogue.custom)
        width = -found.cursor_width

        sharp = _is_sharp(query)

        async def unit(connection: asyncpg.Connection) -> tuple[list[asyncpg.Record], int | None]:
            if not sharp:
                await connection.execute(_PLAN_ANEW)
            try:
                records = await connection.fetch(found.sql, *found.parameters)
                if len(records) <= limit:
                    return records, 0
                return records, await _count(connection, found, offset + limit)
            finally:
                if not sharp:
                    await connection.execute(_PLAN_AS_EVER)

        records, further = await self.catalogue.database.run(unit, within_s=WITHIN_S)
        if len(records) > limit:
            del records[limit:]
            if records and offset + limit >= DEEP:
                self._cursors.remember(key, offset + limit, tuple(records[-1][width:]))
        rows = [record[:width] for record in records]
        exact = further is not None and further <= COUNTED_UP_TO
        return Found(found.returns, rows, min(further or 0, COUNTED_UP_TO), exact)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._turns.statistics().tasks_waiting >= MOST_WAITING:
            raise Unavailable("too many searches at once")
        with trio.move_on_after(WITHIN_S) as patience:
            await self._turns.acquire()
        if patience.cancelled_caught:
            raise Unavailable("too many searches at once")
        try:
            yield
        finally:
            self._turns.release()


async def _count(connection: asyncpg.Connection, found: FindPlan, behind: int) -> int | None:
    """How many match behind so many, at most one more than COUNTED_UP_TO; None if that takes too long to tell."""
    sql = (
        f"SELECT count(*) FROM (SELECT {found.matching} "  # noqa: S608 - names and parameter numbers only
        f"OFFSET ${found.matching_parameters + 1}::bigint LIMIT {COUNTED_UP_TO + 1}) further"
    )
    parameters = found.parameters[: found.matching_parameters]
    try:
        count: int = await connection.fetchval(sql, *parameters, behind, timeout=COUNT_WITHIN_S)
    except TimeoutError:
        return None
    return count


def _is_sharp(query: FindQuery) -> bool:
    """Whether a key narrows the search to a few rows whatever its value is."""
    return any(
        not is_universal(key) and not has_wildcard(key) for tag in _SHARP if (key := query.keys.get(tag, ""))
    )


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class _Cursors:
    """Where a page that was given ended, so that who reads page by page does not skip all before it again and again."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[object, int], tuple[float, tuple[int, ...]]] = OrderedDict()

    def place(self, key: object, offset: int) -> tuple[int, ...] | None:
        at, cursor = self._places.get((key, offset), (-_REMEMBERED_S, None))
        return cursor if trio.current_time() - at < _REMEMBERED_S else None

    def remember(self, key: object, offset: int, cursor: tuple[int, ...]) -> None:
        self._places[key, offset] = (trio.current_time(), cursor)
        self._places.move_to_end((key, offset))
        while len(self._places) > _REMEMBERED:
            self._places.popitem(last=False)
