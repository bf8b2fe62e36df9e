"""A tier store whose steps are timed: each is noted when it has succeeded, with what asking again took."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from types import TracebackType

from pacs_actors.lifecycle.stores.interface import Pieces, Source, StoredCopy, TierStore
from pacs_actors.operations.step_times import StepTimes


class TimedStore:
    """See ``interface.TierStore``. store: opened and closed by whoever has it

    paths: by step and store. A get is over when the first bytes are here, whatever its reader does with them
    """

    def __init__(self, store: TierStore) -> None:
        self.name = store.name
        self._store = store
        self._put, self._get, self._verify = StepTimes(), StepTimes(), StepTimes()

    @property
    def paths(self) -> Mapping[str, StepTimes]:
        return {
            f"put {self.name}": self._put,
            f"get {self.name}": self._get,
            f"verify {self.name}": self._verify,
        }

    async def __aenter__(self) -> TimedStore:
        await self._store.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._store.__aexit__(kind, error, trace)

    async def put(self, key: str, source: Source) -> StoredCopy:
        began = monotonic()
        stored = await self._store.put(key, source)
        self._put.note(began, monotonic())
        return stored

    @asynccontextmanager
    async def get(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[Pieces]:
        began = monotonic()
        async with self._store.get(key, offset, length) as pieces:
            self._get.note(began, monotonic())
            yield pieces

    async def size(self, key: str) -> int:
        return await self._store.size(key)

    async def confirm(self, copy: StoredCopy) -> bool:
        return await self._store.confirm(copy)

    async def verify(self, copy: StoredCopy) -> bool:
        began = monotonic()
        good = await self._store.verify(copy)
        self._verify.note(began, monotonic())
        return good

    async def remove(self, *keys: str) -> None:
        await self._store.remove(*keys)

    def keys(self, after: str = "") -> AsyncIterator[list[str]]:
        return self._store.keys(after)

    async def sweep(self, older_than_s: float) -> int:
        return await self._store.sweep(older_than_s)

    async def free_bytes(self) -> int | None:
        return await self._store.free_bytes()
