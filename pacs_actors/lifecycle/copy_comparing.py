"""Holding the copies in the stores against the book of copies, both ways: those that no row knows, and rows whose copy is gone.

Nothing is read but keys; whether copies are whole is the scrubber's to find out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.lifecycle.copies import Copies
from pacs_actors.lifecycle.copy_adoptions import CopyAdoptions
from pacs_actors.lifecycle.copy_checks import CopyChecks
from pacs_actors.lifecycle.copy_finding import CopyFinder, Searched
from pacs_actors.lifecycle.reconciling import Kind, Trouble
from pacs_actors.lifecycle.stores.copy_keys import told_by
from pacs_actors.lifecycle.stores.errors import CopyMissing, StoreError
from pacs_actors.lifecycle.stores.interface import TierStore

_PAGE: Final = 1000
_CHUNK: Final = 64


class CopyComparison:
    """One walk through every store.

    online:  the online store, to tell whether an object is good before the row of a lost copy goes
    finder:  None: nothing is changed
    say:     called with everything that is found
    """

    def __init__(
        self,
        copies: Copies,
        checks: CopyChecks,
        stores: Mapping[str, TierStore],
        online: LocalObjectStore,
        finder: CopyFinder | None,
        say: Callable[[Trouble], Awaitable[None]],
    ) -> None:
        self._copies, self._checks, self._stores, self._online = copies, checks, stores, online
        self._adoptions, self._finder, self._say = CopyAdoptions(copies.database), finder, say
        self.copies = 0

    async def run(self) -> dict[str, str]:
        """Why stores could not be looked through to the end, by name. raises: Unavailable if the database does not answer"""
        problems = {}
        for name, store in self._stores.items():
            try:
                await self._compare(name, store)
            except StoreError as why:
                problems[name] = str(why)
        return problems

    async def _compare(self, name: str, store: TierStore) -> None:
        after = ""
        async for page in store.keys():
            keys = [key for key in page if told_by(key) is not None]
            self.copies += len(keys)
            await self._unknown(name, store, keys)
            await self._lost(name, store, set(keys), after, page[-1])
            after = page[-1]
        await self._lost(name, store, set(), after, "")

    async def _unknown(self, name: str, store: TierStore, keys: Sequence[str]) -> None:
        unknown = await self._adoptions.unknown(name, keys)
        for at in range(0, len(unknown), _CHUNK):
            chunk, why, left = unknown[at : at + _CHUNK], dict[str, str](), set(unknown)
            if self._finder is not None:
                result = Searched(name)
                await self._finder.take_in(result, store, chunk)
                why, left = result.unusable, set(await self._adoptions.unknown(name, chunk))
            for key in chunk:
                if key in left and await self._is_gone(store, key):
                    continue  # removed since it was listed
                detail = why.get(key, "the index does not know it")
                await self._say(Trouble(Kind.COPY_UNKNOWN, f"{name} {key}", detail, fixed=key not in left))

    async def _lost(self, name: str, store: TierStore, there: set[str], after: str, upto: str) -> None:
        """Of the rows whose keys lie behind one and not behind another; upto: "": all that are left"""
        while rows := await self._checks.noted(name, after, upto, _PAGE):
            for key, uid in rows:
                if key not in there and await self._is_gone(store, key):
                    await self._lose(name, key, uid)
            after = rows[-1][0]

    async def _is_gone(self, store: TierStore, key: str) -> bool:
        """It may have come or gone since its page was listed."""
        try:
            await store.size(key)
        except CopyMissing:
            return True
        return False

    async def _lose(self, name: str, key: str, uid: str) -> None:
        held = [one for one in await self._copies.of_instances([uid]) if name in one.copies]
        if not held or held[0].copies[name].stored.key != key:
            return  # removed since it was listed, or of an instance that was deleted
        fixed, one = False, held[0]
        if self._finder is not None:
            await self._copies.damaged(name, one, online=one.online and await self._is_good(one.key))
            fixed = all(name not in now.copies for now in await self._copies.of_instances([uid]))
        detail = (
            "it is not there"
            if fixed or one.online or len(one.copies) > 1
            else "it is not there, and was the last"
        )
        await self._say(Trouble(Kind.COPY_LOST, f"{name} {key}", detail, uid, fixed=fixed))

    async def _is_good(self, key: str) -> bool:
        try:
            return self._online.owns(key) and await self._online.verify(key)
        except ObjectMissing:
            return False
