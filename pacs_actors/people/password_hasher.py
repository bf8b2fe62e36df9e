"""Hashes and checks passwords on a native thread of its own, with a bounded queue before it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, TypeVar

from pacs_actors.people import passwords
from pacs_actors.threads import NativePool
from protocols.errors import Unavailable

_MOST_WAITING: Final = 24
T = TypeVar("T")


class PasswordHasher:
    """An async context manager. argon2 lets go of the interpreter's lock while it works.

    One thread: a flood of logins takes no more than one core of this worker and 32 MiB. Who finds two dozen before
    them is told to come again.
    """

    def __init__(self) -> None:
        self._pool = NativePool(1, "passwords")
        self._waiting = 0

    async def __aenter__(self) -> PasswordHasher:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, trace)

    async def hash(self, password: str) -> str:
        """raises: Unavailable"""
        return await self._run(lambda: passwords.hashed(password))

    async def matches(self, password: str, stored: str | None) -> bool:
        """raises: Unavailable"""
        return await self._run(lambda: passwords.matches(password, stored))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("Too many people are logging in at once.")
        self._waiting += 1
        try:
            return await self._pool.run(work)
        finally:
            self._waiting -= 1
