"""Copying objects into a backup: what is new since the last one, and nothing else is looked at. Blocks: for native threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, Protocol

import msgspec
from xxhash import xxh3_128

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing, parse_key, quarantine_key
from pacs_actors.lifecycle.backup.containers import ContainerWriter, StreamWriter
from pacs_actors.lifecycle.backup.frames import MAX_RAW_BYTES
from pacs_actors.lifecycle.backup.manifest import Gone, Held, Lacking, Line, Stream, Young
from pacs_actors.operations import logs
from protocols.dataset.part10 import PREAMBLE_BYTES, parse_prefix, read_record
from protocols.errors import PacsError

MOST_NAMED: Final = 1000
_LINES_BYTES: Final = 256 * 1024
_QUARANTINE: Final = "quarantine/"


class NotToBeHad(PacsError):
    """An object that is where we cannot read it, and no store gives a good copy."""

    def __init__(self, key: str, sop_instance_uid: str, why: str) -> None:
        super().__init__(key, sop_instance_uid, why)
        self.key, self.sop_instance_uid, self.why = key, sop_instance_uid, why

    def __str__(self) -> str:
        return f"object {self.sop_instance_uid} cannot be had: {self.why}"


class OwnObjects(Protocol):
    """What a backup needs of the store of its node's objects."""

    def slots(self) -> list[int]: ...

    def batches(self, slot: int, at_least: int = 0) -> list[int]: ...

    def keys(self, slot: int, batch: int) -> list[str]: ...

    def open(self, key: str) -> ObjectFile: ...


class Objects(OwnObjects, Protocol):
    """Those of all nodes. ``open`` may raise NotToBeHad."""

    def is_own(self, slot: int) -> bool:
        """Whether the slot is one of this node's."""


class Catalog:
    """Lines of the catalog, in the order in which they are told; an object's waits until it is known where it lies."""

    def __init__(self, stream: StreamWriter) -> None:
        self._stream = stream
        self._waiting: deque[Line] = deque()
        self._lines = bytearray()

    def tell(self, line: Line) -> None:
        self._waiting.append(line)
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, Held) and first.part.offset < 0:
                break
            self._write(self._waiting.popleft())

    def end(self) -> Stream:
        """Once every container of objects is closed."""
        for line in self._waiting:
            self._write(line)
        self._stream.write(bytes(self._lines))
        return self._stream.end()

    def _write(self, line: Line) -> None:
        encoded = msgspec.json.encode(line) + b"\n"
        if len(self._lines) + len(encoded) > _LINES_BYTES:
            self._stream.write(bytes(self._lines))
            self._lines.clear()
        self._lines += encoded


class Copier:
    """Of one backup.

    since:   slot -> batch: the marks of the backup that this one builds on; empty: of a full one
    young:   keys from those marks on that it has, or one before it
    lacking: keys that the backup it builds on could not get
    told:    called after each object with objects and bytes so far; what it raises ends the copying

    missing: key -> SOP Instance UID of what could not be had
    """

    def __init__(
        self,
        store: Objects,
        objects: ContainerWriter,
        catalog: Catalog,
        since: Mapping[int, int],
        young: set[str],
        lacking: set[str],
        told: Callable[[int, int], None],
    ) -> None:
        self._store, self._objects, self._catalog, self._told = store, objects, catalog, told
        self._since, self._young, self._lacking = since, young, lacking
        self._here: set[str] = set()
        self.newest: dict[int, int] = {}
        self.objects = self.size_bytes = self.gone = 0
        self.damaged: list[str] = []
        self.missing: dict[str, str] = {}

    def copy_new(self, marks: Mapping[int, int]) -> None:
        """Everything in folders from the last backup's marks on that it has not.

        marks: below which nothing will be added any more; the next backup begins there
        raises: OSError if a folder cannot be listed
        """
        slots = sorted({*self._store.slots(), *self._since})
        for slot in slots:
            for batch in self._store.batches(slot, self._since.get(slot, 0)):
                self.newest[slot] = batch
                for key in sorted(self._store.keys(slot, batch)):
                    if key in self._young or self._copy(key, key):
                        self._seen(key, marks)
        for key in sorted(self._lacking - self._here):
            if self._copy(key, key):
                self._seen(key, marks)
        for key in sorted(self._young - self._here):
            self._seen_gone(key)

    def tell_missing(self) -> None:
        """Once everything was looked for."""
        for key in self._here:
            self.missing.pop(key, None)
        for key in self.missing:
            self._catalog.tell(Lacking(key))

    def copy_changed(self, keys: Iterable[str], marks: Mapping[int, int]) -> None:
        """What changed places, where this backup and those before it have not got it yet.

        Deleted objects are kept under the keys that they had: where they belong the index will say.
        """
        for key in keys:
            if key.startswith(_QUARANTINE):
                self._copy(key, key)
            elif not self._has(key):
                aside = quarantine_key(key, "deleted")
                # It may be moved just now, either way.
                if any(self._copy(key, place) for place in (key, aside, key)):
                    self._seen(key, marks)

    def _has(self, key: str) -> bool:
        parts = parse_key(key)
        if key in self._lacking or key in self.missing:
            return key in self._here
        return key in self._here or key in self._young or parts.batch < self._since.get(parts.slot, 0)

    def _seen(self, key: str, marks: Mapping[int, int]) -> None:
        parts = parse_key(key)
        self._here.add(key)
        if parts.batch >= marks.get(parts.slot, 0):
            self._catalog.tell(Young(key))

    def _seen_gone(self, key: str) -> None:
        self.gone += 1
        self._catalog.tell(Gone(key))

    def _copy(self, key: str, place: str) -> bool:
        """Copy an object that lies at ``place`` under a key; False if nothing is there."""
        try:
            file = self._store.open(place)
        except ObjectMissing:
            return False
        except NotToBeHad as why:
            if key not in self.missing:
                logs.error("backup_object_not_to_be_had", key=key, uid=why.sop_instance_uid, why=why.why)
            self.missing[key] = why.sop_instance_uid
            return False
        try:
            reading = _Reading(file)
            part = self._objects.part(reading.pieces())
        except OSError as failure:
            logs.error("backup_object_unreadable", key=key, why=str(failure))
            self.damaged += [key][: MOST_NAMED - len(self.damaged)]
            return True
        finally:
            os.close(file.fd)
        if not reading.intact:
            logs.error("backup_object_damaged", key=key, sop_instance_uid=reading.uid)
            self.damaged += [reading.uid or key][: MOST_NAMED - len(self.damaged)]
        self._catalog.tell(Held(key, reading.uid, reading.all_of_it.hexdigest(), part))
        self.objects += 1
        self.size_bytes += part.size_bytes
        self._told(self.objects, self.size_bytes)
        return True


class _Reading:
    """One object as it is read. intact: it is what its own record says; all_of_it: the digest with the preamble"""

    def __init__(self, file: ObjectFile) -> None:
        self._file = file
        self.uid, self.intact = "", False
        self.all_of_it = xxh3_128()

    def pieces(self) -> Iterator[bytes]:
        fd, start, size = self._file
        behind = xxh3_128()
        record, at = None, 0
        while at < size:
            piece = os.pread(fd, min(MAX_RAW_BYTES, size - at), start + at)
            if not piece:
                break
            if not at:
                record = read_record(piece)
                behind.update(piece[PREAMBLE_BYTES:])
                with suppress(PacsError):
                    self.uid = parse_prefix(piece).sop_instance_uid
            else:
                behind.update(piece)
            self.all_of_it.update(piece)
            at += len(piece)
            yield piece
        self.intact = (
            record is not None and record.size_bytes == at == size and behind.digest() == record.digest
        )
