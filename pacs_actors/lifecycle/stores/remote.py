"""What clients of remote stores have in common: an asyncio thread, a deadline a request, asking again, windows of a copy.

Every request moves at most one part, has a deadline, and is made again while that may help; what the libraries would repeat
by themselves is switched off.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self, TypeVar

import trio
from msgspec import Struct

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores.asyncio_thread import AsyncioThread, Pending
from pacs_actors.lifecycle.stores.errors import StoreError, StoreUnavailable
from pacs_actors.lifecycle.stores.retrying import Backoff, retrying

T = TypeVar("T")

_CLOSE_WITHIN_S: Final = 5.0


class PreconditionFailed(StoreError):
    """What was asked under a condition (RFC 9110 13.1) does not hold."""


class RangeBeyondEnd(StoreError):
    """The copy ends before what was asked for begins."""


class Head(Struct, frozen=True):
    """What the server tells of a copy.

    digest:  as it was put with, hexadecimal; empty if without
    md5:     of what it has, hexadecimal; empty if it does not tell
    """

    size_bytes: int
    etag: str
    digest: str
    md5: str = ""


class Window(Struct, frozen=True):
    """A part of a copy. size_bytes: of the whole copy"""

    content: bytes
    size_bytes: int
    etag: str


class RemoteClient(ABC):
    """An async context manager. Names of objects here are whole: prefix and key."""

    def __init__(self, store: str, settings: LifecycleStoreSettings) -> None:
        self.store, self.settings = store, settings
        self._thread = AsyncioThread(f"{settings.kind}-{store}")
        self._backoff = Backoff.of(settings)
        self._readers = trio.Semaphore(settings.connections)

    async def __aenter__(self) -> Self:
        await self._thread.__aenter__()
        self._held = AsyncExitStack()
        try:
            await self._thread.run(self._connect)
        except BaseException:
            await self._thread.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.move_on_after(_CLOSE_WITHIN_S, shield=True):
            await self._thread.run(self._held.aclose)
        await self._thread.__aexit__(kind, error, trace)

    @abstractmethod
    async def head(self, name: str) -> Head:
        """raises: CopyMissing"""

    @abstractmethod
    async def remove(self, names: list[str]) -> None:
        """At most a thousand. Those that are not there are passed over."""

    async def window(self, name: str, offset: int, length: int, etag: str = "") -> Window:
        """Up to ``length`` bytes, at least 1, from ``offset`` on; fewer only at the end.

        etag:    of the object it must still be, if given
        raises:  CopyMissing, RangeBeyondEnd, PreconditionFailed
        """
        unit = self._window_unit(name, offset, length, etag)
        async with self._readers:
            return await self._ask(unit)

    def prefetch(self, name: str, offset: int, length: int, etag: str) -> Pending[Window] | None:
        """Ask for a window that will be wanted; None if others want the connections more."""
        try:
            self._readers.acquire_nowait()
        except trio.WouldBlock:
            return None
        return self._thread.start(self._window_unit(name, offset, length, etag), self._readers.release)

    async def prefetched(self, pending: Pending[Window]) -> Window:
        """What was asked for, once. raises: as ``window``"""
        return await self._once(pending.wait)

    async def _ask(self, unit: Callable[[], Awaitable[T]]) -> T:
        return await retrying(self._backoff, lambda: self._once(lambda: self._thread.run(unit)))

    async def _once(self, wait: Callable[[], Awaitable[T]]) -> T:
        limit_s = self.settings.request_timeout_s
        with trio.move_on_after(limit_s):
            try:
                return await wait()
            except Exception as error:
                failure = self._failure(error)
                if failure is None:
                    raise
                raise failure from error
        raise StoreUnavailable(self.store, f"no answer in {limit_s:g} s")

    @abstractmethod
    def _failure(self, error: Exception) -> StoreError | None:
        """In our words, if it is the network's, the server's or the credentials'; None if it is our bug or in our words."""

    # On the asyncio thread.

    @abstractmethod
    async def _connect(self) -> None:
        """Make the library's client; ``_held`` closes it."""

    @abstractmethod
    def _window_unit(
        self, name: str, offset: int, length: int, etag: str
    ) -> Callable[[], Awaitable[Window]]: ...
