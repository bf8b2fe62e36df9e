"""Carries one object between the online store and a tier store, and proves that it has arrived."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing, node_of_key
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress, batch_of
from pacs_actors.lifecycle.copies import Copies, Copy, Form, Held
from pacs_actors.lifecycle.copy_bytes import CopyBytes
from pacs_actors.lifecycle.node_cache import NodeCache
from pacs_actors.lifecycle.packing import SUFFIX, pack
from pacs_actors.lifecycle.recoding import SYNTAXES, CannotUndo, Recoder
from pacs_actors.lifecycle.stores.copy_keys import object_key
from pacs_actors.lifecycle.stores.errors import CopyDiffers, CopyMissing, StoreDenied, StoreUnavailable
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.operations import logs
from protocols.dataset.part10 import parse_prefix
from protocols.dataset.record import StoredObject
from protocols.errors import CannotUnderstand, PacsError, Unavailable

T = TypeVar("T")
_PIECE_BYTES: Final = 1024 * 1024


class NoGoodCopy(PacsError):
    """An instance has no object that is what was stored, wherever we looked."""

    def __init__(self, sop_instance_uid: str, why: str) -> None:
        super().__init__(sop_instance_uid, why)
        self.sop_instance_uid, self.why = sop_instance_uid, why

    def __str__(self) -> str:
        return f"no good copy of {self.sop_instance_uid}: {self.why}"


class OnAnotherNode(Unavailable):
    """The only object of an instance lies on another node, and no store has a copy of it yet."""

    retry_after_s = 10

    def __init__(self, sop_instance_uid: str, node: int) -> None:
        super().__init__(sop_instance_uid, node)
        self.sop_instance_uid, self.node = sop_instance_uid, node

    def __str__(self) -> str:
        return f"{self.sop_instance_uid} lies on node {self.node}, and no store has a copy yet"


class Carrier:
    """stores: by name, in the order in which they are asked
    cache:   of other nodes' objects
    scratch: folder for compressed copies on their way
    read_back: read a copy back before it counts as one, besides comparing checksums with the store
    """

    def __init__(
        self,
        store: LocalObjectStore,
        stores: Mapping[str, TierStore],
        copies: Copies,
        progress: IndexProgress,
        *,
        recoder: Recoder,
        scratch: Path,
        read_back: bool = True,
        cache: NodeCache | None = None,
    ) -> None:
        self._recoder, self._bytes = recoder, CopyBytes(recoder, store.threads, scratch)
        self.store, self.stores, self.copies, self.progress = store, stores, copies, progress
        self._scratch, self._read_back = scratch, read_back
        self._cache = cache

    def is_foreign(self, key: str) -> bool:
        """Whether an object of this key lies on another node."""
        try:
            return not self.store.owns(key)
        except ObjectMissing:  # in quarantine, or a copy in the cache: those are here
            return False

    async def kept(self, key: str) -> str | None:
        """The key of the copy that we have of another node's object."""
        return await self._cache.find(key) if self._cache is not None else None

    async def fetch(self, held: Held) -> str:
        """Have a copy of another node's object here, to read it; its key. The object stays where it is.

        raises: OnAnotherNode if no store has one; NoGoodCopy; Unavailable; OutOfResources
        """
        kept = await self.kept(held.key)
        if kept is not None:
            return kept
        cache = self._cache
        if cache is None or not held.copies:
            raise OnAnotherNode(held.sop_instance_uid, node_of_key(held.key))

        async def take(_: Held, data: AsyncIterator[bytes]) -> str:
            return await cache.take(held.key, held.size_bytes, held.digest, data)

        return await self._from_copies(held, take)

    async def copy_out(self, study_instance_uid: str, held: Held, to: str, form: Form) -> Copy:
        """Make a copy in a store, from the online object or else from another copy, and prove it; not noted anywhere yet.

        raises: NoGoodCopy; what TierStore.put does; Unavailable
        """
        target = self.stores[to]
        async with self._source(held, form) as (source, got):
            key = object_key(study_instance_uid, held.sop_instance_uid, held.digest, SUFFIX.get(got, ""))
            await self.copies.removals.announce(to, key, held.sop_instance_uid, held.digest)
            try:
                stored = await target.put(key, source)
            except CopyDiffers:
                # Left by somebody, or rotten: its key says what it should be, and it is in no book.
                logs.warning("copy_replaced", store=to, key=key)
                await target.remove(key)
                stored = await target.put(key, source)
        if not await (target.verify(stored) if self._read_back else target.confirm(stored)):
            await target.remove(key)
            raise StoreUnavailable(to, "what was stored is not what came back")
        return Copy(got, held.transfer_syntax_uid, stored)

    async def is_good(self, held: Held, store: str) -> bool:
        """Whether the copy of an instance in a store is what it should be; one that is not is a copy no more."""
        copy = held.copies[store]
        try:
            good = await self.stores[store].verify(copy.stored)
        except CopyMissing:
            good = False
        if not good:
            logs.error("copy_damaged", store=store, key=copy.stored.key, uid=held.sop_instance_uid)
            await self.copies.damaged(store, held, online=await self._is_good_online(held))
        return good

    async def _is_good_online(self, held: Held) -> bool:
        """Of what lies on another node, that is believed. raises: OSError if the disk does not give it now"""
        if not held.online or self.is_foreign(held.key):
            return held.online
        try:
            good = await self.store.verify(held.key)
        except ObjectMissing:
            good = False
        if not good:
            logs.error("object_damaged", key=held.key, uid=held.sop_instance_uid)
        return good

    async def bring_in(self, held: Held) -> str:
        """Give an instance an object in the online store again; the object's key.

        raises: ObjectMissing if the instance was deleted meanwhile; NoGoodCopy; Unavailable; OutOfResources
        """
        with self.progress.writing():
            stored = await self._from_copies(held, self._store)
            try:
                key = await self.copies.bring_online(held, stored)
            except BaseException:
                # Whether the index has it is not known: if it has, this is its object. Recovery tells them apart.
                self.progress.stay_below(batch_of(stored.key))
                raise
        if key != stored.key:
            await self.store.remove(stored.key)
        if key is None:
            raise ObjectMissing(held.key)
        return key

    async def restore(self, sop_instance_uid: str, digest: bytes, size_bytes: int) -> StoredObject | None:
        """Make an object in the online store of a copy of one that the index does not have any more; None: there is none.

        raises: Unavailable; OutOfResources
        """
        copies = await self.copies.of_object(sop_instance_uid, digest)
        if not copies:
            return None
        bare = Held(sop_instance_uid, "", "", "", size_bytes, 0, digest, "", "UNAVAILABLE", copies)
        try:
            async with self._object(bare) as file:
                head = await self.store.threads.run(os.pread, file.fd, _PIECE_BYTES, 0)
                told = parse_prefix(memoryview(head))
                held = msgspec.structs.replace(
                    bare, sop_class_uid=told.sop_class_uid, transfer_syntax_uid=told.transfer_syntax_uid,
                    data_offset=told.data_offset, source=told.record.source if told.record else "",
                )  # fmt: skip
                return await self._store(held, self._read(file))
        except (NoGoodCopy, CannotUnderstand) as why:
            logs.error("object_lost", uid=sop_instance_uid, why=str(why))
            return None

    async def forget_erased(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """Have the copies of erased objects removed: (SOP Instance UID, digest)."""
        await self.copies.forget_erased(objects)  # in stores that the settings lack now, too

    async def _read(self, file: ObjectFile) -> AsyncIterator[bytes]:
        for at in range(0, file.size_bytes, _PIECE_BYTES):
            yield await self.store.threads.run(os.pread, file.fd, _PIECE_BYTES, file.start + at)

    # -- sources ----------------------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def _source(self, held: Held, form: Form) -> AsyncIterator[tuple[ObjectFile, Form]]:
        """The object as a file in the form that is wanted, or as zstd if it has no images that can be coded so.

        raises: NoGoodCopy, Unavailable
        """
        async with self._object(held) as file:
            if form in SYNTAXES:
                try:
                    async with self._recoder.coded(file, held, form) as coded:
                        yield coded, form
                        return
                except CannotUndo:
                    form = "zstd"
            if form == "plain":
                yield file, form
                return
            with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as packed:
                size_bytes = await self.store.threads.run(pack, file, form, packed.fileno())
                yield ObjectFile(packed.fileno(), 0, size_bytes), form

    @asynccontextmanager
    async def _object(self, held: Held) -> AsyncIterator[ObjectFile]:
        """raises: NoGoodCopy; OnAnotherNode; Unavailable"""
        foreign = self.is_foreign(held.key)
        if not foreign and await self._is_good_online(held):
            try:
                file = self.store.open(held.key)
            except ObjectMissing as why:
                raise NoGoodCopy(held.sop_instance_uid, str(why)) from None
            try:
                yield file
            finally:
                os.close(file.fd)
            return
        if held.online and foreign and not held.copies:
            raise OnAnotherNode(held.sop_instance_uid, node_of_key(held.key))
        with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as unpacked:

            async def land(_: Held, data: AsyncIterator[bytes]) -> None:
                await self._bytes.land(unpacked.fileno(), held.digest, data)

            await self._from_copies(held, land)
            yield ObjectFile(unpacked.fileno(), 0, held.size_bytes)

    # -- copies -----------------------------------------------------------------------------------------------------------------
    async def _from_copies(self, held: Held, take: Callable[[Held, AsyncIterator[bytes]], Awaitable[T]]) -> T:
        """What ``take`` makes of the first copy that is what it should be.

        take:   gets the object's bytes; raises CannotUnderstand if they are not the object's
        raises: NoGoodCopy; Unavailable if a store that may have one does not answer
        """
        away: Unavailable | None = None
        for name, store in self.stores.items():
            copy = held.copies.get(name)
            if copy is None:
                continue
            try:
                async with store.get(copy.stored.key) as pieces:
                    return await take(held, self._bytes.plain(held.size_bytes, copy, pieces))
            except (CopyMissing, CannotUnderstand) as why:
                logs.error(
                    "copy_unusable", store=name, key=copy.stored.key, uid=held.sop_instance_uid, why=str(why)
                )
                try:
                    await self.is_good(held, name)  # perhaps it was only read, or decoded, wrongly
                except StoreUnavailable as gone:
                    away = gone
            except StoreDenied as why:
                away = StoreUnavailable(name, str(why))
            except Unavailable as why:
                away = why
        for name in held.copies.keys() - self.stores.keys():
            away = away or StoreUnavailable(name, "it is not in the settings")
        if away is not None:
            raise away
        raise NoGoodCopy(held.sop_instance_uid, "no store has one")

    async def _store(self, held: Held, data: AsyncIterator[bytes]) -> StoredObject:
        """Into the online store, durably."""
        staging = await self.store.stage(
            held.sop_class_uid, held.sop_instance_uid, held.transfer_syntax_uid, held.source
        )
        with staging:
            left = staging.position  # the store has written the header: it is the same for the same UIDs
            async for piece in data:
                await staging.write(memoryview(piece)[min(left, len(piece)) :])
                left -= min(left, len(piece))
            stored = (await self.store.commit(staging, _anything)).stored
        if stored.digest != held.digest:
            await self.store.remove(stored.key)
            raise CannotUnderstand("a copy with another digest")
        return stored


def _anything(_: memoryview, __: bool) -> None:
    """The object was looked at when it was received."""
