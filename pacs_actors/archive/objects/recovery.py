"""Objects that the index may not know: read back, verified, scanned.

At start, and when the index is made again, each batch folder from the mark on is read. What is torn or
damaged is moved to quarantine, never deleted: nobody was told that it is stored, unless it was damaged
later, and then it is evidence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

import trio
from msgspec import Struct

from pacs_actors.archive.objects.buffers import BUFFER_BYTES
from pacs_actors.archive.objects.heads import check_head
from pacs_actors.archive.objects.keys import ObjectMissing, QuarantineReason, place_of
from pacs_actors.archive.objects.reading import opened, read_intact
from pacs_actors.operations import logs
from pacs_actors.threads import NativePool
from protocols.dataset.part10 import parse_prefix
from protocols.dataset.record import IndexEntry, ScannedInstance, StoredObject
from protocols.errors import OutOfResources, PacsError

Scan = Callable[[memoryview, str, bool], ScannedInstance]
"""``scan(data_set, transfer_syntax_uid, complete)``, as ``protocols.dataset.scan.scan``."""

_KEYS_AT_ONCE: Final = 64


class RecoverableStore(Protocol):
    """What recovery needs of a store: its files, its threads, its quarantine, its syncs."""

    root: Path
    threads: NativePool

    def keys(self, slot: int, batch: int) -> list[str]: ...

    async def quarantine(self, key: str, why: QuarantineReason) -> str: ...

    async def sync_batch(self, slot: int, batch: int) -> None: ...


class Recovered(Struct):
    """What one batch folder holds besides what the index knows.

    entries:      verified; for the index
    damaged:      keys in quarantine of what was torn or damaged
    unscannable:  keys of what is intact but our scanner refuses; left where it is, another try ends the same
    unread:       keys that the disk would not give, sync or move: to be tried again
    """

    entries: list[IndexEntry]
    damaged: list[str]
    unscannable: list[str]
    unread: list[str]


async def recover_batch(
    store: RecoverableStore, slot: int, batch: int, known: Container[str], scan: Scan
) -> Recovered:
    """Read one batch folder: up to 4096 objects, a buffer of 1 MiB per thread.

    known:   keys that are indexed already
    raises:  OSError if the folder cannot be listed
    """
    found = Recovered([], [], [], [])
    keys = (key for key in await store.threads.run(store.keys, slot, batch) if key not in known)
    large_heads = Lock()
    damaged: list[str] = []

    async def read_on() -> None:
        while some := list(islice(keys, _KEYS_AT_ONCE)):
            for key, outcome in await store.threads.run(_read_some, store.root, some, scan, large_heads):
                match outcome:
                    case IndexEntry():
                        found.entries.append(outcome)
                    case None:
                        damaged.append(key)
                    case OSError():
                        found.unread.append(key)
                        logs.error("object_unreadable", key=key, why=str(outcome))
                    case _:
                        found.unscannable.append(key)
                        logs.error("object_unscannable", key=key, why=str(outcome))

    async with trio.open_nursery() as nursery:
        for _ in range(store.threads.statistics.threads):
            nursery.start_soon(read_on)
    for key in damaged:
        try:
            with suppress(ObjectMissing):
                found.damaged.append(await store.quarantine(key, "damaged"))
                logs.error("object_damaged", key=key, now=found.damaged[-1])
        except OutOfResources as why:
            found.unread.append(key)
            logs.error("object_damaged", key=key, why=str(why))
    if found.entries:
        try:
            await store.sync_batch(slot, batch)
        except OutOfResources as why:
            found.unread += [entry.stored.key for entry in found.entries]
            found.entries.clear()
            logs.error("recovered_not_durable", slot=slot, batch=batch, why=str(why))
    return found


def read_entry(root: Path, key: str, scan: Scan, buffer: memoryview, large_heads: Lock) -> IndexEntry | None:
    """The index entry of one object; None if it is damaged. For native threads.

    raises: ObjectMissing, OSError; PacsError if it is intact but the scan refuses it
    """
    with opened(root, key) as place:
        record = read_intact(place, buffer)
        if record is None:
            return None
        # A process that was killed between rename and sync leaves an object that only the page cache holds. Once it is
        # indexed it counts as the first copy, so it has to be as durable as one that was answered. A segment is synced
        # once for all of its objects, with its folder.
        if place_of(key).block is None:
            os.fdatasync(place.fd)
        got = os.preadv(place.fd, [buffer[: place.size_bytes]], place.start)
        file = parse_prefix(buffer[:got])
        offset = file.data_offset

        def check(data_set: memoryview, complete: bool) -> ScannedInstance:
            return scan(data_set, file.transfer_syntax_uid, complete)

        def read(length: int) -> bytes:
            return os.pread(place.fd, length, place.start + offset)

        scanned = check_head(check, buffer[offset:got], record.size_bytes - offset, read, large_heads)
    stored = StoredObject(key, record.size_bytes, offset, record.digest, record.received_ns, record.source)
    return IndexEntry(scanned, stored)


def _read_some(
    root: Path, keys: list[str], scan: Scan, large_heads: Lock
) -> list[tuple[str, IndexEntry | Exception | None]]:
    found: list[tuple[str, IndexEntry | Exception | None]] = []
    buffer = memoryview(bytearray(BUFFER_BYTES))
    for key in keys:
        try:
            found.append((key, read_entry(root, key, scan, buffer, large_heads)))
        except ObjectMissing:
            continue  # removed since it was listed
        except (PacsError, OSError) as error:
            found.append((key, error))
    return found
