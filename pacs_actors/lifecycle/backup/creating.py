"""Making a backup. The index is copied first, then the objects: so each row of the copy has its object, and an object that it
does not know yet is indexed when a restored server starts, as after any crash. The manifest comes last.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import trio
from msgspec import Struct

from pacs_actors import cores
from pacs_actors.audit import anchors
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup import chain, changes
from pacs_actors.lifecycle.backup import manifest as manifests
from pacs_actors.lifecycle.backup.changes import Before
from pacs_actors.lifecycle.backup.containers import Containers, ContainerWriter, Writing
from pacs_actors.lifecycle.backup.copying import MOST_NAMED, Catalog, Copier, Objects
from pacs_actors.lifecycle.backup.manifest import (
    Index,
    Kind,
    Lacking,
    Manifest,
    Method,
    Stream,
    Young,
)
from pacs_actors.lifecycle.backup.places import Place
from pacs_actors.lifecycle.backup.sealing import BackupKey
from pacs_actors.lifecycle.backup.tar_scan import TarScanner
from pacs_actors.lifecycle.backup.verifying import held, sealed, shelf
from pacs_actors.operations import logs
from protocols.errors import Unavailable

T = TypeVar("T")
Tell = Callable[[str, int, int], None]
"""``tell(phase, objects, bytes)``: any thread, often."""

_ARCHIVE: Final = "archive-id"
_PAGE: Final = 1000
_WITHIN_S: Final = 600.0


class NotIncremental(Unavailable):
    """PostgreSQL cannot tell what has changed in the index since that backup."""


class IndexSource(Protocol):
    """Copies the index. major: of PostgreSQL"""

    method: Method
    major: int

    async def copy(self, onto: bytes | None, take: Callable[[Iterator[bytes]], T]) -> T:
        """Copy it, durable changes and all, to what ``take`` makes of the pieces, on a native thread.

        onto:   PostgreSQL's manifest of the copy that this one's changes shall apply to; None: a whole one
        raises: NotIncremental; Unavailable
        """


class Order(Struct, frozen=True):
    """What to make. data: the server's folder"""

    kind: Kind
    data: Path
    program: str


async def create(
    order: Order,
    store: Objects,
    index: IndexSource,
    database: Database,
    place: Place,
    key: BackupKey | None,
    tell: Tell = lambda phase, objects, size: None,
) -> Manifest:
    """Make a backup; its manifest. What a crashed one left in the place is removed.

    database: as the role that owns the tables
    raises:   NoChain, ConfigError, Unavailable, OutOfResources, Broken
    """
    with place.locked():
        making = await trio.to_thread.run_sync(_Making, order, store, place, key, tell)
        noted = await database.run(changes.before, within_s=_WITHIN_S)
        making.check(noted)
        await trio.to_thread.run_sync(making.begin)
        try:
            with making.writing:
                await making.run(index, database, noted)
                return await trio.to_thread.run_sync(making.finish, noted)
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(making.abandon)
            raise


class _Making:
    """One backup on its way. What blocks runs on native threads, one after the other."""

    def __init__(self, order: Order, store: Objects, place: Place, key: BackupKey | None, tell: Tell) -> None:
        self.order, self.store, self.place, self.key, self.tell = order, store, place, key, tell
        self.shelf = shelf(place)
        self.archive = archive_id(order.data)
        parent = chain.parent_of(order.kind, self.shelf.backups, self.archive, encrypted=key is not None)
        self.parent = sealed(place, parent, key) if parent is not None else None
        self.streams: dict[str, Stream] = {}
        self.copier: Copier | None = None

    def check(self, noted: Before) -> None:
        """raises: NoChain if what the parent says has no meaning any more"""
        parent = self.parent
        if parent is None:
            return
        if parent.index.system != noted.system:
            raise chain.NoChain(
                "the database was made anew since the last backup: begin a new chain with --full"
            )
        if parent.changes_from < noted.floor:
            raise chain.NoChain(f"backup {parent.id} is too old to build on: begin a new chain with --full")
        for slot, newest in parent.newest.items():
            if not self.store.is_own(int(slot)):  # what other nodes have may have moved on
                continue
            there = self.store.batches(int(slot), newest)
            if not there:
                raise chain.NoChain(
                    "the archive is older than its last backup: begin a new chain with --full"
                )

    def begin(self) -> None:
        """Sweep, then make the backup's folder."""
        for left in self.shelf.unfinished:
            if self.place.abandoned(left):
                self.place.remove(left)
                logs.event("backup_leftover_removed", backup=left)
        self.began = datetime.now(UTC)
        stem = f"{self.began:%Y%m%dT%H%M%SZ}-{self.order.kind}"
        for number in range(1, 10_000):
            self.id = stem if number == 1 else f"{stem}-{number}"
            try:
                self.place.begin(self.id)
                break
            except FileExistsError:
                continue
        threads = max(2, len(cores.available()) // 2)
        self.writing = Writing(self.place, self.id, self.key, threads)
        self.writers = {stem: ContainerWriter(self.writing, stem) for stem in ("index", "objects", "catalog")}

    async def run(self, index: IndexSource, database: Database, noted: Before) -> None:
        anchors_then = await trio.to_thread.run_sync(_anchors, self.order.data)
        self.index = await self._copy_index(index, noted)
        self.streams["anchors"] = await trio.to_thread.run_sync(self._small, anchors_then)
        self.marks = await database.run(changes.marks, within_s=_WITHIN_S)
        self.copier = copier = await trio.to_thread.run_sync(self._copier)
        await self._in_copier(copier.copy_new, self.marks)
        after = ""
        while True:
            page = (
                partial(changes.changed, since=self.parent.changes_from, after=after, most=_PAGE)
                if self.parent is not None
                else partial(changes.kept_aside, after=after, most=_PAGE)
            )
            keys = await database.run(page, within_s=_WITHIN_S)
            if not keys:
                return
            await self._in_copier(copier.copy_changed, keys, self.marks)
            after = keys[-1]

    def finish(self, noted: Before) -> Manifest:
        """Everything durable, then the manifest."""
        assert self.copier is not None
        copier, parent = self.copier, self.parent
        copier.tell_missing()
        self.writers["index"].close()
        self.writers["objects"].close()
        self.streams["catalog"] = self.catalog.end()
        self.writers["catalog"].close()
        made = Manifest(
            id=self.id,
            sequence=max((one.sequence for one in self.shelf.backups), default=0) + 1,
            kind=self.order.kind,
            parent=parent.id if parent is not None else None,
            archive=self.archive,
            program=self.order.program,
            began=self.began.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            key_check=self.key.check(self.id) if self.key is not None else "",
            index=self.index,
            changes_from=noted.changes_from,
            marks={str(slot): batch for slot, batch in self.marks.items()},
            newest={str(slot): batch for slot, batch in self._newest(copier).items()},
            containers=self.writing.sizes,
            streams=self.streams,
            objects=copier.objects,
            size_bytes=copier.size_bytes,
            gone=copier.gone,
            damaged=tuple(copier.damaged),
            missing=len(copier.missing),
            lacking=tuple(sorted(copier.missing.values())[:MOST_NAMED]),
        )
        self.place.put(self.id, manifests.NAME, manifests.encode(made, self.key))
        return made

    def abandon(self) -> None:
        """Leave nothing, if the place lets us; else the next backup sweeps."""
        for writer in self.writers.values():
            writer.abandon()
        try:
            self.place.remove(self.id)
        except (Unavailable, OSError) as trouble:
            logs.warning("backup_leftover", backup=self.id, why=str(trouble))

    async def _copy_index(self, index: IndexSource, noted: Before) -> Index:
        self.method = index.method
        onto, base = None, self.parent
        if (
            base is not None
            and index.method == "physical" == base.index.method
            and base.index.major == index.major
        ):
            onto = await trio.to_thread.run_sync(self._index_manifest, base)
        try:
            await index.copy(onto, self._take_index)
        except NotIncremental as why:
            if onto is None:
                raise
            logs.warning("backup_index_whole", why=str(why))
            onto = None
            await index.copy(None, self._take_index)
        return Index(index.method, base.id if base is not None and onto else None, noted.system, index.major)

    def _take_index(self, pieces: Iterator[bytes]) -> None:
        stream, scanner, size = self.writers["index"].stream(), TarScanner(), 0
        for piece in pieces:
            if self.method == "physical":
                scanner.feed(piece)
            stream.write(piece)
            size += len(piece)
            self._told("index", 0, size)
        self.streams["index"] = stream.end()
        if scanner.manifest:
            self.streams["index manifest"] = self._small(bytes(scanner.manifest))

    def _small(self, content: bytes) -> Stream:
        stream = self.writers["index"].stream()
        stream.write(content)
        return stream.end()

    def _index_manifest(self, base: Manifest) -> bytes | None:
        stream = base.streams.get("index manifest")
        if stream is None:
            return None
        with Containers(self.place, base.id, base.containers, self.key) as containers:
            return b"".join(containers.stream(stream))

    def _copier(self) -> Copier:
        young, lacking = set[str](), set[str]()
        since: dict[int, int] = {}
        if self.parent is not None:
            since = {int(slot): batch for slot, batch in self.parent.marks.items()}
            with Containers(self.place, self.parent.id, self.parent.containers, self.key) as containers:
                for some in held(containers, self.parent):
                    young.update(line.key for line in some if isinstance(line, Young))
                    lacking.update(line.key for line in some if isinstance(line, Lacking))
        self.catalog = Catalog(self.writers["catalog"].stream())
        told = partial(self._told, "objects")
        return Copier(self.store, self.writers["objects"], self.catalog, since, young, lacking, told)

    async def _in_copier(self, work: Callable[..., None], *arguments: object) -> None:
        """On a native thread, which ends soon after we are cancelled."""
        try:
            await trio.to_thread.run_sync(partial(work, *arguments))
        except OSError as error:
            raise Unavailable(f"the object store does not answer: {error.strerror}") from error

    def _told(self, phase: str, objects: int, size: int) -> None:
        trio.from_thread.check_cancelled()
        self.tell(phase, objects, size)

    def _newest(self, copier: Copier) -> dict[int, int]:
        before = self.parent.newest if self.parent is not None else {}
        return {int(slot): batch for slot, batch in before.items()} | copier.newest


def archive_id(data: Path) -> str:
    """Whose backups these are. A restored folder has none, so it gets one of its own: its chain is another.

    raises: Unavailable
    """
    file = data / _ARCHIVE
    try:
        if not file.exists():
            draft = file.with_name(f"{_ARCHIVE}.{os.getpid()}")
            with draft.open("w", encoding="ascii") as new:
                new.write(uuid.uuid4().hex)
                new.flush()
                os.fsync(new.fileno())
            try:
                os.link(draft, file)
            except FileExistsError:
                pass  # somebody was quicker
            draft.unlink()
            fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        found = file.read_text("ascii").strip()
        return uuid.UUID(found).hex
    except (OSError, ValueError) as error:
        raise Unavailable(f"{file}: {error}") from error


def _anchors(data: Path) -> bytes:
    """Before the index is copied: no anchor must be of a later row than the copy has."""
    file = anchors.file_of(data)
    return file.read_bytes() if file.exists() else b""
