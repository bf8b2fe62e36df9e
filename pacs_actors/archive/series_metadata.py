"""The metadata of series, made once and kept compressed until their set of instances changes.

What is kept is found by a hash of the series, its revision, and the root that its URIs begin with. Two who ask for the same
cold series make it once; if the first leaves, the other goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import asyncpg
import trio
from msgspec import Struct

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.metadata_files import MetadataFiles, series_name
from pacs_actors.archive.metadata_making import FORMAT, MetadataMaker
from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.progress import IndexProgress, wait_until_indexed
from pacs_actors.archive.scope import StudyScope, scope_clause
from pacs_actors.archive.web_locate import ServedInstance, WebLocator
from pacs_actors.threads import NativePool
from protocols.errors import Unavailable

_MADE_AT_ONCE: Final = 2
_PORTION: Final = 8
_MAKE_WITHIN_S: Final = 120.0
_CHECK_WITHIN_S: Final = 5.0
_MOST_SERIES: Final = 20_000


class SeriesState(Struct, frozen=True):
    """A series as it is now.

    revision: counts the changes of its set of instances
    """

    study_instance_uid: str
    series_instance_uid: str
    number: int
    revision: int
    instances: int
    size_bytes: int

    def name(self, base: str) -> str:
        """Name of its metadata with URIs that begin with ``base``: hexadecimal digits, the series' before a hyphen."""
        facts = (
            FORMAT, self.study_instance_uid, self.series_instance_uid, self.number, self.revision, self.instances,
            self.size_bytes, base,
        )  # fmt: skip
        digest = blake2b(repr(facts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
        return f"{series_name(self.study_instance_uid, self.series_instance_uid)}-{digest}"


class SeriesMetadata:
    """folder: where made metadata is kept; limit_bytes: how much of it
    online: brings back those of some instances whose objects are elsewhere
    """

    def __init__(
        self,
        catalogue: Catalogue,
        progress: IndexProgress,
        locator: WebLocator,
        store: ObjectStore,
        native: NativePool,
        folder: Path,
        *,
        limit_bytes: int,
        catch_up_s: float,
        online: Callable[[Sequence[ServedInstance]], Awaitable[Sequence[ServedInstance]]] | None = None,
    ) -> None:
        self._online = online
        self._database, self._progress, self._locator = catalogue.database, progress, locator
        self._store, self._native, self._catch_up_s = store, native, catch_up_s
        self._files = MetadataFiles(folder, limit_bytes)
        self._under_way: dict[str, trio.Event] = {}
        self._turns = trio.CapacityLimiter(_MADE_AT_ONCE)
        # Making holds the interpreter: two threads of it make nothing sooner, and the loop waits for both.
        self._hand = trio.CapacityLimiter(1)
        self.made = 0

    async def states(
        self, scope: StudyScope, study: str, series: str | None = None
    ) -> tuple[str, list[SeriesState]]:
        """The Patient ID, and the series of a study, or one of them, that the asker may see; by series number.

        raises: Unavailable
        """
        if not await wait_until_indexed(self._progress, within_s=self._catch_up_s):
            raise Unavailable("the index has not caught up")
        sql, parameters = _statement(scope, study, series)

        async def unit(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            return await connection.fetch(sql, *parameters)

        rows = await self._database.run(unit)
        return rows[0][0] if rows else "", [SeriesState(*row[1:]) for row in rows]

    async def of(self, scope: StudyScope, state: SeriesState, base: str) -> bytes:
        """A series' metadata: gzip of a JSON array. raises: Unavailable if it takes too long; TooMany"""
        name = state.name(base)
        with trio.move_on_after(_MAKE_WITHIN_S):
            while True:
                under_way = self._under_way.get(name)
                if under_way is not None:
                    await under_way.wait()
                    continue
                known = await self._native.run(self._files.read, name)
                if known is not None:
                    return known
                if name in self._under_way:
                    continue
                ended = self._under_way[name] = trio.Event()
                try:
                    return await self._make(scope, state, base, name)
                finally:
                    del self._under_way[name]
                    ended.set()
        raise Unavailable("the metadata is not made yet")

    async def _make(self, scope: StudyScope, state: SeriesState, base: str, name: str) -> bytes:
        async with self._turns:
            instances = await self._locator.instances(
                scope, state.study_instance_uid, state.series_instance_uid
            )
            maker = MetadataMaker(self._store.open, base)
            # A portion at a time: images that arrive want the threads as well, and a small series is not to wait for a large one.
            for start in range(0, len(instances), _PORTION):
                portion: Sequence[ServedInstance] = instances[start : start + _PORTION]
                if self._online is not None:
                    portion = await self._online(portion)
                async with self._hand:
                    await self._native.run(maker.add, portion)
            body = await self._native.run(maker.finish)
            self.made += 1
            # What has changed since ``state`` was read must not be kept under its name.
            if maker.complete and len(instances) == state.instances:
                with trio.CancelScope(shield=True):
                    await self._keep(state, name, body)
            return body

    async def _keep(self, state: SeriesState, name: str, body: bytes) -> None:
        """Keep it on disk only, where the deletion keeper can remove it.

        A deletion is durable before the keeper removes files: either that is seen here, or our file is there by then.
        """
        await self._native.run(self._files.write, name, body)
        if not await self._is_as_it_was(state):
            await self._native.run(
                self._files.remove, [series_name(state.study_instance_uid, state.series_instance_uid)]
            )

    async def _is_as_it_was(self, state: SeriesState) -> bool:
        async def unit(connection: asyncpg.Connection) -> bool:
            sql = "SELECT EXISTS (SELECT FROM series WHERE id = $1 AND revision = $2)"
            return bool(await connection.fetchval(sql, state.number, state.revision))

        try:
            return await self._database.run(unit, within_s=_CHECK_WITHIN_S)
        except Unavailable:
            return False


def _statement(scope: StudyScope, study: str, series: str | None) -> tuple[str, list[object]]:
    conditions = Conditions()
    clauses = [f"s.study_instance_uid = {conditions.parameter(study)}"]
    if series is not None:
        clauses.append(f"e.series_instance_uid = {conditions.parameter(series)}")
    seen = scope_clause(scope, conditions.parameter)
    if seen is not None:
        clauses.append(seen)
    sql = (
        "SELECT p.patient_id, s.study_instance_uid, e.series_instance_uid, e.id, e.revision, e.number_of_instances, "  # noqa: S608 - fixed words
        "e.size_bytes FROM series e JOIN studies s ON s.id = e.study JOIN patients p ON p.id = s.patient "
        f"WHERE {' AND '.join(clauses)} AND e.number_of_instances > 0 "
        f"ORDER BY dicom_number(e.series_number) NULLS LAST, e.id LIMIT {_MOST_SERIES}"
    )
    return sql, conditions.parameters
