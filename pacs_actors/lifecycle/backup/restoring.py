"""Bringing a backup back: the index first, because it says where each object belongs, then the objects.

Everything goes to a folder of our own beside the wanted one, which gets its name as the last step: what is there is whole.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import asyncpg
import trio
from msgspec import Struct

from config.settings import DatabaseSettings
from pacs_actors.archive.objects.implanting import Implanter
from pacs_actors.archive.objects.keys import ObjectMissing, quarantine_key
from pacs_actors.audit import anchors, events, trail
from pacs_actors.audit.audit import made
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup import book, changes, one_node
from pacs_actors.lifecycle.backup.containers import Containers
from pacs_actors.lifecycle.backup.frames import Broken
from pacs_actors.lifecycle.backup.manifest import Gone, Held, Index, Lacking, Line, Manifest
from pacs_actors.lifecycle.backup.places import Place
from pacs_actors.lifecycle.backup.sealing import BackupKey
from pacs_actors.lifecycle.backup.verifying import content_of, held
from protocols.errors import ConfigError, OutOfResources, Unavailable
from protocols.messages.audit import Actor

_DRAFT: Final = ".restoring-"
_WITHIN_S: Final = 600.0
_LONG_S: Final = 86400.0
_QUARANTINED: Final = re.compile(
    r"quarantine/[a-z]+/([0-9]{1,4})-([0-9a-f]{8})-(?:([0-9a-f]{32})(\.dcm)|([0-9a-f]{8})\.dcm)", re.ASCII
)

Pieces = Callable[[], Iterator[bytes]]


class IndexTarget(Protocol):
    """Brings the index back."""

    def put_back(
        self, folder: Path, copies: Sequence[tuple[Index, Pieces]]
    ) -> AbstractAsyncContextManager[str]:
        """The DSN of a database that has what the last copy had; it answers for the length of the block.

        folder:  the server's new one
        copies:  a whole copy, then what changed, in order; each iterator is read once, on a native thread
        raises:  Unavailable, ConfigError; Broken, from the iterators or because a copy is not as it was written
        """


class Restored(Struct, frozen=True):
    """backup: up to which; objects: brought back; deleted: of them, those that may still be undone

    node:    the number that the folder is to be served under
    missing: instances whose objects are not in the backup; lacking: SOP Instance UIDs of them, the first thousand
    """

    backup: str
    objects: int
    size_bytes: int
    deleted: int
    instances: int
    node: int = 0
    missing: int = 0
    lacking: tuple[str, ...] = ()


def free_folder(folder: Path) -> Path:
    """Whether a restore may go there: nothing is there, or an empty folder; its absolute path. raises: ConfigError"""
    folder = folder.absolute()
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise ConfigError(
                f"server.data: {folder} is not empty; a backup is restored to a new folder only"
            )
        if folder.is_mount():
            raise ConfigError(f"server.data: {folder} is a mount point; name a folder in it")
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"server.data: cannot use {folder}: {error.strerror}") from None
    return folder


async def restore(
    chain: Sequence[Manifest],
    place: Place,
    key: BackupKey | None,
    folder: Path,
    target: IndexTarget,
    settings: DatabaseSettings,
    who: str,
    tell: Callable[[str, int, int], None] = lambda phase, objects, size: None,
    *,
    node: int = 0,
) -> Restored:
    """Restore a chain, the full backup first, with seals looked at; durable on return.

    folder:  a free one
    node:    that it will be the folder of, alone, however many there were
    raises:  Broken naming the SOP Instance UID where it is an object; Unavailable, OutOfResources, ConfigError
    """
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}{_DRAFT}", dir=folder.parent))
    try:
        work = _Restoring(chain, place, key, draft, tell, node)
        async with (
            target.put_back(draft, work.index_copies()) as dsn,
            Database(dsn, settings) as database,
        ):
            done = await work.run(database)
            finishing = partial(_finish_rows, Actor(who, "command"), done, chain[-1])
            await database.run(finishing, within_s=_WITHIN_S)
        await trio.to_thread.run_sync(work.put_in_place, folder)
        return done
    except OSError as error:
        raise OutOfResources(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(shutil.rmtree, draft, ignore_errors=True))


class _Restoring:
    def __init__(
        self,
        chain: Sequence[Manifest],
        place: Place,
        key: BackupKey | None,
        draft: Path,
        tell: Callable[[str, int, int], None],
        node: int,
    ) -> None:
        self.chain, self.place, self.key, self.draft, self.tell = chain, place, key, draft, tell
        self.objects = self.size_bytes = self.deleted = 0
        self.node = node
        self.slots: dict[int, int] = {}

    def index_copies(self) -> list[tuple[Index, Pieces]]:
        """Those that the last one needs, the whole one first. raises: Broken"""
        by_id = {one.id: one for one in self.chain}
        needed = [self.chain[-1]]
        while (onto := needed[-1].index.onto) is not None:
            if onto not in by_id or by_id[onto] in needed:
                raise Broken(f"backup {needed[-1].id}: its index needs backup {onto}")
            needed.append(by_id[onto])
        return [(one.index, partial(self._stream, one, "index")) for one in reversed(needed)]

    async def run(self, database: Database) -> Restored:
        gone, lacking = await trio.to_thread.run_sync(self._gone_and_lacking)
        self.slots = one_node.places(await database.run(one_node.all_slots, within_s=_WITHIN_S), self.node)
        with Implanter(self.draft) as implanter:
            for backup in self.chain:
                with self._containers(backup) as catalog, self._containers(backup) as bodies:
                    some = held(catalog, backup)
                    while (frame := await trio.to_thread.run_sync(next, some, None)) is not None:
                        lines = [line for line in frame if isinstance(line, Held)]
                        where = await self._where(database, [line.key for line in lines], gone)
                        await trio.to_thread.run_sync(self._implant, implanter, backup, bodies, lines, where)
            self.tell("sync", self.objects, self.size_bytes)
            await trio.to_thread.run_sync(self._anchors)
            await trio.to_thread.run_sync(implanter.sync)
        if lacking:
            await database.run(partial(one_node.give_up, keys=lacking), within_s=_LONG_S)
        if self.slots:
            carry_over = partial(one_node.carry_over, node=self.node, slots=self.slots)
            await database.run(carry_over, within_s=_LONG_S)
        instances = await database.run(book.instances, within_s=_WITHIN_S)
        last = self.chain[-1]
        return Restored(
            last.id, self.objects, self.size_bytes, self.deleted, instances, self.node, last.missing, last.lacking
        )  # fmt: skip

    def put_in_place(self, folder: Path) -> None:
        """Once nothing runs in it."""
        with Implanter(self.draft) as everything:
            everything.sync()
        self.draft.replace(folder)
        fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    async def _where(self, database: Database, keys: Sequence[str], gone: set[str]) -> dict[str, str | None]:
        """Where each object belongs; None: it is not to come back."""
        aside = [key for key in keys if key.startswith("quarantine/")]
        plain = [key for key in keys if not key.startswith("quarantine/")]
        missing = [key for key in plain if key in gone]
        asked = partial(changes.situation, keys=plain, gone=missing)
        found = await database.run(asked, within_s=_WITHIN_S)
        where: dict[str, str | None] = {}
        for key in plain:
            here = one_node.moved(key, self.slots)
            if key in found.aside:
                where[key] = quarantine_key(here, "deleted")
            else:
                where[key] = None if key in found.dropped else here
        if aside:
            known = await database.run(partial(changes.quarantined, keys=aside), within_s=_WITHIN_S)
            # It was set aside after the index was copied: recovery will do so again.
            where |= {key: key if key in known else _unquarantined(key) for key in aside}
        return where

    def _implant(
        self,
        implanter: Implanter,
        backup: Manifest,
        bodies: Containers,
        lines: Sequence[Held],
        where: dict[str, str | None],
    ) -> None:
        for line in lines:
            trio.from_thread.check_cancelled()
            target = where[line.key]
            if target is None:
                continue
            try:
                self.size_bytes += implanter.put(target, content_of(bodies, line))
            except (Broken, ObjectMissing) as broken:
                raise Broken(f"backup {backup.id}: object {line.uid or line.key}: {broken}") from None
            self.objects += 1
            self.deleted += target.startswith("quarantine/") and not line.key.startswith("quarantine/")
            self.tell("objects", self.objects, self.size_bytes)

    def _gone_and_lacking(self) -> tuple[set[str], list[str]]:
        """What was found gone by any of them, and what the last one lacks."""
        gone, lacking, last = set[str](), list[str](), self.chain[-1]
        for backup in self.chain:
            if backup.gone or (backup is last and backup.missing):
                with self._containers(backup) as containers:
                    for some in held(containers, backup):
                        gone |= {line.key for line in some if isinstance(line, Gone)}
                        if backup is last:
                            lacking += [line.key for line in some if isinstance(line, Lacking)]
        return gone, lacking

    def _anchors(self) -> None:
        content = b"".join(self._stream(self.chain[-1], "anchors"))
        if content:
            file = anchors.file_of(self.draft)
            file.parent.mkdir(mode=0o700, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o600)

    def _stream(self, backup: Manifest, name: str) -> Iterator[bytes]:
        with self._containers(backup) as containers:
            try:
                for piece in containers.stream(backup.streams[name]):
                    trio.from_thread.check_cancelled()
                    yield piece
            except KeyError:
                raise Broken(f"backup {backup.id} has no {name}") from None
            except Broken as broken:
                raise Broken(f"backup {backup.id}: {name}: {broken}") from None

    def _containers(self, backup: Manifest) -> Containers:
        return Containers(self.place, backup.id, backup.containers, self.key if backup.key_check else None)


async def _finish_rows(by: Actor, done: Restored, last: Manifest, connection: asyncpg.Connection) -> None:
    """What was going on when the index was copied is not going on any more; and who restored it is in the audit."""
    await book.restored(
        connection, book.outcome_of(last, verified=True), datetime.fromisoformat(last.finished)
    )
    told = made(events.IMPORTED, by, {"what": "backup", "backup": done.backup, "instances": done.instances})
    await trail.append(connection, told)


def _unquarantined(key: str) -> str:
    """The key that an object had. raises: Broken"""
    match = _QUARANTINED.fullmatch(key)
    if match is None:
        raise Broken(f"{key!r} is no key of an object")
    return f"{int(match[1])}/{match[2]}/{match[3] or match[5]}{match[4] or ''}"


__all__ = ["IndexTarget", "Line", "Restored", "Unavailable", "free_folder", "restore"]
