"""Finding copies that the index does not know: after it was lost, and was made again from what is online.

Every store is listed. What no row refers to is read to its end and told from its own bytes; its object is indexed where the index
lacks it, as an instance that is elsewhere only, and the copy is noted. Nothing is written to a store or removed there, and
nothing comes back online for it. Safe to interrupt and to run again, and beside running servers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.objects.keys import SLOTS_OF_A_NODE, Names
from pacs_actors.lifecycle.copies import Availability, Copies, Copy, Held
from pacs_actors.lifecycle.copy_adoptions import CopyAdoptions
from pacs_actors.lifecycle.copy_reading import CopyReader, FoundCopy, with_key
from pacs_actors.lifecycle.policies import Tier
from pacs_actors.lifecycle.stores.copy_keys import told_by
from pacs_actors.lifecycle.stores.errors import CopyMissing, StoreError
from pacs_actors.lifecycle.stores.interface import TierStore
from protocols.errors import CannotUnderstand

_AT_ONCE: Final = 4
_CHUNK: Final = 64
_MOST_UNUSABLE: Final = 1000
_FOLDER_OBJECTS: Final = 4096
_FREE_SLOT: Final = SLOTS_OF_A_NODE - 1
"""Of a node: no worker has it. Keys of what was never online here lie in it."""


class Searched(Struct):
    """What a store had.

    copies:    that the index knows now and did not know before; instances: of which it had no other object
    unusable:  keys of copies that are not what they should be, or of other bytes than the index has, and why; the first thousand
    problem:   why the search ended before its time
    """

    store: str
    copies: int = 0
    instances: int = 0
    unusable: dict[str, str] = {}
    problem: str = ""


class CopyFinder:
    """tiers: of the stores; node: ours"""

    def __init__(
        self,
        copies: Copies,
        catalogue: Catalogue,
        reader: CopyReader,
        stores: Mapping[str, TierStore],
        tiers: Mapping[str, Tier],
        node: int,
    ) -> None:
        self._copies, self._catalogue, self._reader = copies, catalogue, reader
        self._stores, self._tiers, self._node = stores, tiers, node
        self._slot = SLOTS_OF_A_NODE * node + _FREE_SLOT
        self._adoptions = CopyAdoptions(copies.database)
        self._names = Names()
        self._batch, self._room = 0, 0

    async def search(self, tell: Callable[[int], None] = lambda copies: None) -> list[Searched]:
        """Look through every store.

        tell:   called now and then with the copies noted so far
        raises: Unavailable if the database does not answer; OSError if there is no room to look at copies
        """
        results = []
        for name, store in self._stores.items():
            result = Searched(name)
            results.append(result)
            try:
                async for page in store.keys():
                    keys = [key for key in page if told_by(key) is not None]
                    unknown = await self._adoptions.unknown(name, keys)
                    for at in range(0, len(unknown), _CHUNK):
                        await self.take_in(result, store, unknown[at : at + _CHUNK])
                        tell(sum(one.copies for one in results))
            except StoreError as why:
                result.problem = str(why)
        return results

    async def take_in(self, result: Searched, store: TierStore, keys: Sequence[str]) -> None:
        """Read copies that the index does not know, and let it know them. raises: as ``search``; StoreError"""
        found = await self._read(result, store, keys)
        now = time.time_ns()
        folder = f"{self._slot}/{await self._room_for(len(found)):08x}"
        entries = [
            with_key(one.entry, f"{folder}/{self._names.next(uid)}.dcm", now) for uid, one in found.items()
        ]
        await self._catalogue.index_batch(entries)
        held = {one.sop_instance_uid: one for one in await self._copies.of_instances(list(found))}
        noted: list[tuple[Held, Copy]] = []
        for uid, one in found.items():
            instance = held.get(uid)
            if instance is None:
                continue  # deleted, and known to be so
            if instance.digest != one.entry.stored.digest:
                self._cannot_use(result, one.stored.key, "the index has another object of this instance")
                continue
            noted.append((instance, Copy(one.form, one.syntax, one.stored)))
        state: Availability = "NEARLINE" if self._is_quick(store.name) else "OFFLINE"
        copies, instances = await self._adoptions.adopt(store.name, noted, state, self._slot)
        result.copies, result.instances = result.copies + copies, result.instances + instances
        for study in sorted({one.entry.scanned.study_instance_uid for one in found.values()}):
            await self._copies.complete(study, store.name)
            await self._copies.settle_study(study, [name for name in self._tiers if self._is_quick(name)])

    async def _room_for(self, objects: int) -> int:
        """A batch folder for so many keys: whoever reads the index goes from folder to folder, and takes one whole."""
        if objects > self._room:
            self._batch, self._room = await self._adoptions.free_batch(self._slot), _FOLDER_OBJECTS
        self._room -= objects
        return self._batch

    async def _read(self, result: Searched, store: TierStore, keys: Sequence[str]) -> dict[str, FoundCopy]:
        """By SOP Instance UID."""
        left, found = iter(keys), dict[str, FoundCopy]()

        async def read_on() -> None:
            for key in left:
                try:
                    one = await self._reader.read(store, key)
                except CopyMissing:
                    continue
                except CannotUnderstand as why:
                    self._cannot_use(result, key, str(why))
                    continue
                if found.setdefault(one.entry.scanned.sop_instance_uid, one) is not one:
                    self._cannot_use(result, key, "there is another copy of this instance")

        try:
            async with trio.open_nursery() as nursery:
                for _ in range(_AT_ONCE):
                    nursery.start_soon(read_on)
        except* StoreError as group:
            raise group.exceptions[0] from None
        return found

    def _cannot_use(self, result: Searched, key: str, why: str) -> None:
        if len(result.unusable) < _MOST_UNUSABLE:
            result.unusable[key] = why

    def _is_quick(self, store: str) -> bool:
        return self._tiers[store] == "nearline"
