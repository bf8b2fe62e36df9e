"""Backups in a tier store, such as a bucket. Everything here blocks: for native threads that Trio started.

A container is written to a temporary file first: the store takes what is whole, and confirms what it has.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Final, TypeVar

import msgspec
import trio

from config.stores import LifecycleStoreSettings
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.backup import manifest
from pacs_actors.lifecycle.backup.frames import Broken
from pacs_actors.lifecycle.backup.places import Reader
from pacs_actors.lifecycle.stores.errors import CopyMissing
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.lifecycle.stores.opening import make_store

T = TypeVar("T")
_ID: Final = re.compile(r"([0-9]{8})T([0-9]{6})Z-(full|incremental|differential)(?:-([0-9]{1,6}))?", re.ASCII)
_FOLDER: Final = re.compile(
    r"([0-9]{8})t([0-9]{6})z(full|incremental|differential)(?:n([0-9]{1,6}))?", re.ASCII
)
_NAME: Final = re.compile(r"(?:index|objects|catalog)-[0-9]{5}|manifest|verified", re.ASCII)
_AT_ONCE: Final = 100
_LONGEST: Final = timedelta(days=7)


@asynccontextmanager
async def store_place(name: str, settings: LifecycleStoreSettings) -> AsyncIterator[StorePlace]:
    """raises: ConfigError, StoreUnavailable"""
    async with make_store(name, settings) as store:
        yield StorePlace(store, name)


class StorePlace:
    """See ``places.Place``. store: entered; nobody else keeps anything under its prefix"""

    def __init__(self, store: TierStore, name: str) -> None:
        self._store, self.name = store, name

    def ids(self) -> list[str]:
        return sorted({found for key in self._keys() if (found := _id(key.partition("/")[0])) is not None})

    def begin(self, backup: str) -> None:
        if backup in self.ids():
            raise FileExistsError(backup)

    def abandoned(self, backup: str) -> bool:
        """Nothing tells whether somebody is at it, but after a week nobody is."""
        match = _ID.fullmatch(backup)
        if match is None:
            return False
        began = datetime.strptime(f"{match[1]}{match[2]}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        return datetime.now(UTC) - began > _LONGEST

    def create(self, backup: str, name: str) -> BinaryIO:
        _key(backup, name)
        return tempfile.TemporaryFile(prefix="pacs-backup-", buffering=0)

    def finish(self, backup: str, name: str, file: BinaryIO) -> None:
        try:
            self._put(_key(backup, name), file)
        finally:
            file.close()

    def put(self, backup: str, name: str, content: bytes) -> None:
        key = _key(backup, name)
        with tempfile.TemporaryFile(prefix="pacs-backup-", buffering=0) as file:
            file.write(content)
            if self._there(key):
                trio.from_thread.run(self._store.remove, key)
            self._put(key, file)

    def get(self, backup: str, name: str) -> bytes | None:
        key = _key(backup, name)
        try:
            size = trio.from_thread.run(self._store.size, key)
            if size > manifest.MAX_BYTES:
                raise Broken(f"{name} of backup {backup} is too large")
            return self._read(key, 0, size)
        except CopyMissing:
            return None

    def open(self, backup: str, name: str) -> Reader:
        key = _key(backup, name)
        try:
            size = trio.from_thread.run(self._store.size, key)
        except CopyMissing:
            raise Broken(f"container {name} of backup {backup} is not there") from None
        return _StoreReader(self._read, key, size)

    def remove(self, backup: str) -> None:
        trio.from_thread.run(self._store.remove, _key(backup, manifest.NAME))
        keys = list(self._keys(_folder(backup)))
        for at in range(0, len(keys), _AT_ONCE):
            trio.from_thread.run(self._store.remove, *keys[at : at + _AT_ONCE])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """There is no lock in a bucket: the table ``backups`` and whoever schedules see to it."""
        yield

    def _put(self, key: str, file: BinaryIO) -> None:
        fd = file.fileno()
        trio.from_thread.run(self._store.put, key, ObjectFile(fd, 0, os.fstat(fd).st_size))

    def _there(self, key: str) -> bool:
        try:
            trio.from_thread.run(self._store.size, key)
        except CopyMissing:
            return False
        return True

    def _read(self, key: str, offset: int, length: int) -> bytes:
        async def read() -> bytes:
            found = bytearray()
            async with self._store.get(key, offset, length) as pieces:
                async for piece in pieces:
                    found += piece
            return bytes(found)

        return trio.from_thread.run(read) if length else b""

    def _keys(self, folder: str = "") -> list[str]:
        async def collect() -> list[str]:
            found: list[str] = []
            # Behind a key that is before all names that there can be.
            async for page in self._store.keys(f"{folder}/00" if folder else ""):
                found += [key for key in page if not folder or key.startswith(f"{folder}/")]
                if folder and page and not page[-1].startswith(f"{folder}/"):
                    break
            return found

        return trio.from_thread.run(collect)


class _StoreReader:
    def __init__(self, read: Callable[[str, int, int], bytes], key: str, size_bytes: int) -> None:
        self._read, self._key, self.size_bytes = read, key, size_bytes

    def read_at(self, offset: int, length: int) -> bytes:
        return self._read(self._key, offset, max(0, min(length, self.size_bytes - offset)))

    def close(self) -> None:
        """Nothing is held."""


def bucket_settings(
    bucket: str, prefix: str, known: dict[str, LifecycleStoreSettings]
) -> LifecycleStoreSettings:
    """How to reach ``s3://bucket/prefix``: as the ``[stores.NAME]`` table of that bucket says; without one, as boto3 finds out."""
    like = next((one for one in known.values() if one.kind == "s3" and one.bucket == bucket), None)
    base = like or LifecycleStoreSettings(kind="s3", bucket=bucket)
    return msgspec.structs.replace(base, prefix=f"{prefix.strip('/')}/" if prefix.strip("/") else "")


def _folder(backup: str) -> str:
    match = _ID.fullmatch(backup)
    if match is None:
        raise Broken(f"{backup!r} is no backup's name")
    return f"{match[1]}t{match[2]}z{match[3]}" + (f"n{match[4]}" if match[4] else "")


def _id(folder: str) -> str | None:
    match = _FOLDER.fullmatch(folder)
    if match is None:
        return None
    return f"{match[1]}T{match[2]}Z-{match[3]}" + (f"-{match[4]}" if match[4] else "")


def _key(backup: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Broken(f"{name!r} is no container's name")
    return f"{_folder(backup)}/{name}"
