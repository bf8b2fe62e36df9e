"""What a copy in a store is, told from its own bytes: whose object, in which form, and whether it is whole.

For the day when nothing else is left to say so.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec
from msgspec import Struct
from xxhash import xxh3_128

from pacs_actors.archive.objects.heads import HEAD_BYTES, check_head
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.transcoding.syntaxes import TARGETS
from pacs_actors.lifecycle.copies import Form
from pacs_actors.lifecycle.packing import SUFFIX, Unpacker
from pacs_actors.lifecycle.recoding import SYNTAXES, Recoder
from pacs_actors.lifecycle.stores.copy_keys import object_key, told_by
from pacs_actors.lifecycle.stores.interface import StoredCopy, TierStore
from pacs_actors.threads import NativePool
from protocols.dataset.part10 import PREAMBLE_BYTES, parse_prefix
from protocols.dataset.record import IndexEntry, ScannedInstance, StoredObject
from protocols.dataset.scan import scan
from protocols.errors import CannotUnderstand, DataSetMismatch

_PIECE_BYTES: Final = 1024 * 1024
_FORMS: Final[dict[str, Form]] = {suffix: form for form, suffix in SUFFIX.items()}
_CODED: Final[dict[str, Form]] = {syntax: form for form, syntax in SYNTAXES.items()}


class FoundCopy(Struct, frozen=True):
    """A whole copy.

    form:   how it lies there; syntax: Transfer Syntax UID of the object
    entry:  the object for the index; its key is empty: it has none
    """

    form: Form
    syntax: str
    stored: StoredCopy
    entry: IndexEntry


class CopyReader:
    """scratch:    folder for what is being looked at
    most_bytes: of one object: no copy makes more of itself
    custom:     attributes indexed besides the built-in ones
    """

    def __init__(
        self,
        recoder: Recoder,
        threads: NativePool,
        scratch: Path,
        *,
        most_bytes: int,
        custom: dict[int, str],
    ) -> None:
        self._recoder, self._threads, self._scratch = recoder, threads, scratch
        self._most_bytes, self._custom = most_bytes, custom
        self._large_heads = Lock()

    async def read(self, store: TierStore, key: str) -> FoundCopy:
        """Read a copy to its end.

        raises: CannotUnderstand if it is not what its key says; CopyMissing; StoreUnavailable; StoreDenied; Unavailable;
                OSError if there is no room to look at it
        """
        named = told_by(key)
        if named is None:
            raise CannotUnderstand("no key of an object")
        digest, compression = named
        with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as file:
            copy = _Landing(self._threads, file.fileno(), self._most_bytes)
            async with store.get(key) as pieces:
                async for piece in pieces:
                    await copy.add(piece)
            stored = StoredCopy(key, copy.size_bytes, copy.digest_of_all)
            if compression:
                form = _FORMS[compression]
                syntax, entry = await self._unpacked(copy, form, digest)
            elif copy.digest == digest:
                form = "plain"
                syntax, entry = await self._looked_at(copy)
            else:
                form, syntax, entry = await self._decoded(copy, digest)
        scanned = entry.scanned
        made = object_key(scanned.study_instance_uid, scanned.sop_instance_uid, digest, SUFFIX.get(form, ""))
        if made != key:
            raise CannotUnderstand("the object of another key")
        return FoundCopy(form, syntax, stored, entry)

    async def _unpacked(self, copy: _Landing, form: Form, digest: bytes) -> tuple[str, IndexEntry]:
        with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as file:
            made = _Landing(self._threads, file.fileno(), self._most_bytes)
            unpacker = Unpacker(form, self._most_bytes)
            for at in range(0, copy.size_bytes, _PIECE_BYTES):
                for piece in await self._threads.run(_feed, unpacker, copy.fd, at):
                    await made.add(piece)
            if made.digest != digest:
                raise CannotUnderstand("another object than its key says")
            return await self._looked_at(made)

    async def _decoded(self, copy: _Landing, digest: bytes) -> tuple[Form, str, IndexEntry]:
        """Of a coded one: what it was before is tried, for nothing else says it."""
        head = await self._threads.run(os.pread, copy.fd, _PIECE_BYTES, 0)
        form = _CODED.get(parse_prefix(head).transfer_syntax_uid)
        for syntax in TARGETS if form is not None else ():
            with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as file:
                made = _Landing(self._threads, file.fileno(), self._most_bytes)
                try:
                    async for piece in self._recoder.decoded(ObjectFile(copy.fd, 0, copy.size_bytes), syntax):
                        await made.add(piece)
                except CannotUnderstand:
                    break  # what cannot be decoded cannot be given in another syntax either
                if form is not None and made.digest == digest:
                    _, entry = await self._looked_at(made)
                    return form, syntax, entry
        raise CannotUnderstand("another object than its key says")

    async def _looked_at(self, file: _Landing) -> tuple[str, IndexEntry]:
        try:
            return await self._threads.run(self._look, file)
        except DataSetMismatch as why:
            raise CannotUnderstand(str(why)) from None

    def _look(self, file: _Landing) -> tuple[str, IndexEntry]:
        head = os.pread(file.fd, _PIECE_BYTES, 0)
        told = parse_prefix(head)
        offset = told.data_offset

        def check(data_set: memoryview, complete: bool) -> ScannedInstance:
            return scan(data_set, told.transfer_syntax_uid, custom=self._custom, complete=complete)

        scanned = check_head(
            check,
            memoryview(head)[offset : offset + HEAD_BYTES],
            file.size_bytes - offset,
            lambda length: os.pread(file.fd, length, offset),
            self._large_heads,
        )
        record = told.record
        stored = StoredObject(
            "",
            file.size_bytes,
            offset,
            file.digest,
            record.received_ns if record is not None else 0,
            record.source if record is not None else "",
        )
        return told.transfer_syntax_uid, IndexEntry(scanned, stored)


class _Landing:
    """A file that is written from its beginning. digest: of what is behind the preamble"""

    def __init__(self, threads: NativePool, fd: int, most_bytes: int) -> None:
        self.fd, self.size_bytes = fd, 0
        self._threads, self._most_bytes = threads, most_bytes
        self._all, self._object = xxh3_128(), xxh3_128()

    @property
    def digest(self) -> bytes:
        return self._object.digest()

    @property
    def digest_of_all(self) -> bytes:
        return self._all.digest()

    async def add(self, piece: bytes) -> None:
        """raises: CannotUnderstand if it becomes too large; OSError"""
        if self.size_bytes + len(piece) > self._most_bytes:
            raise CannotUnderstand("larger than any object may be")
        await self._threads.run(self._write, piece)

    def _write(self, piece: bytes) -> None:
        self._all.update(piece)
        self._object.update(piece[max(0, PREAMBLE_BYTES - self.size_bytes) :])
        left = memoryview(piece)
        while left:
            written = os.pwrite(self.fd, left, self.size_bytes)
            left, self.size_bytes = left[written:], self.size_bytes + written


def _feed(unpacker: Unpacker, fd: int, at: int) -> list[bytes]:
    return list(unpacker.feed(os.pread(fd, _PIECE_BYTES, at)))


def with_key(entry: IndexEntry, key: str, received_ns: int) -> IndexEntry:
    """The entry under a key. received_ns: when it counts as received if the copy does not say"""
    stored = msgspec.structs.replace(
        entry.stored, key=key, received_ns=entry.stored.received_ns or received_ns
    )
    return IndexEntry(entry.scanned, stored)
