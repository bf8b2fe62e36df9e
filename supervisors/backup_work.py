"""Backups and restores of a data folder, for the command and for the process that the server starts for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import asyncpg
import msgspec
import trio
from msgspec import Struct

from config.settings import DatabaseSettings, Settings
from config.stores import problems as store_problems
from pacs_actors.archive.objects.keys import MAX_SLOT, node_of
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup import book, chain, changes
from pacs_actors.lifecycle.backup.archive_objects import ArchiveObjects
from pacs_actors.lifecycle.backup.book import Outcome
from pacs_actors.lifecycle.backup.creating import IndexSource, Order, create
from pacs_actors.lifecycle.backup.manifest import Kind, Manifest
from pacs_actors.lifecycle.backup.places import FolderPlace, Place
from pacs_actors.lifecycle.backup.restoring import Restored, free_folder, restore
from pacs_actors.lifecycle.backup.sealing import BackupKey, read_key
from pacs_actors.lifecycle.backup.store_place import bucket_settings, store_place
from pacs_actors.lifecycle.backup.verifying import Finding, Shelf, sealed, shelf, verified_at, verify
from pacs_actors.lifecycle.copy_bytes import CopyBytes
from pacs_actors.lifecycle.recoding import Recoder
from pacs_actors.operations import logs
from pacs_actors.threads import NativePool
from protocols.errors import ConfigError, Unavailable
from supervisors.backup_index import DumpedIndex, EmbeddedIndex, IndexRestorer
from supervisors.data_folder import with_objects
from supervisors.database_access import reachable
from supervisors.lifecycle_branch import open_stores

Tell = Callable[[str, int, int], None]
LEASE_S = 60.0
_RENEW_S = 15.0
_THREADS = 2


class Made(Struct, frozen=True):
    """findings: None if it was not read back"""

    manifest: Manifest
    findings: list[Finding] | None
    removed: list[str]


@asynccontextmanager
async def opened(to: str, settings: Settings, *, make: bool = False) -> AsyncIterator[Place]:
    """A folder, or ``s3://bucket/prefix``, reached as the ``[stores.NAME]`` table of that bucket says.

    raises: ConfigError, Unavailable
    """
    if not to.startswith("s3://"):
        yield FolderPlace(Path(to).absolute(), make=make)  # noqa: ASYNC240
        return
    bucket, _, prefix = to.removeprefix("s3://").partition("/")
    reached = bucket_settings(bucket, prefix, settings.stores)
    for problem in store_problems({"backup": reached}):
        raise ConfigError(f"backup.to: {to}: {problem}")
    async with store_place(to, reached) as place:
        yield place


def key_of(path: str | None) -> BackupKey | None:
    """raises: ConfigError"""
    return read_key(path) if path is not None else None


async def back_up(
    settings: Settings,
    kind: Kind,
    to: str,
    key_file: str | None,
    by: str,
    *,
    number: int | None = None,
    verifying: bool = True,
    or_full: bool = False,
    keep_full: int = 0,
    tell: Tell = lambda phase, objects, size: None,
) -> Made:
    """Make a backup of a running or a stopped server, and note it in its table.

    number:    of the row that asked for it; None: nobody did, it gets one
    or_full:   make a full one if there is nothing to build on
    keep_full: remove superfluous chains afterwards; 0: none
    raises:    PacsError
    """
    data = with_objects(settings.server.data)
    key, there = key_of(key_file), Path(to).resolve()  # noqa: ASYNC240
    if there == data or data in there.parents:
        raise ConfigError(
            f"backup.to: {to} is in the server's folder; what befalls that would befall it, too"
        )
    async with (
        opened(to, settings, make=True) as place,
        reachable(settings) as dsn,
        Database(dsn, _few(settings.database)) as database,
    ):
        index = await _source(settings, data, dsn)
        async with _noted(database, kind, by, place.name, number) as outcomes:
            store = LocalObjectStore(data, MAX_SLOT, settings.storage)  # only read from: it is not entered
            node = _node_of(store, settings)
            order = Order(kind, data, version("pacs-actors"))
            async with _archive_objects(settings, store, node, database) as objects:
                making = partial(
                    create, store=objects, index=index, database=database, place=place, key=key, tell=tell
                )
                try:
                    made = await making(order)
                except chain.NoChain as why:
                    if not or_full:
                        raise
                    logs.warning("backup_full_instead", why=str(why))
                    made = await making(msgspec.structs.replace(order, kind="full"))
            findings = None
            if verifying:
                findings = await trio.to_thread.run_sync(
                    verify, place, made, key, partial(_told, tell, "verify")
                )
            problem = f"it is not as it was written: {findings[0].what}" if findings else ""
            outcomes.append(book.outcome_of(made, verified=findings == [], problem=problem))
        if made.kind == "full":
            await database.run(changes.forget, within_s=600.0)
        removed = await trio.to_thread.run_sync(prune, place, keep_full) if keep_full and not findings else []
    return Made(made, findings, removed)


def _node_of(store: LocalObjectStore, settings: Settings) -> int:
    """The node that the folder belongs to, whatever the command was told."""
    found = {node_of(slot) for slot in store.slots()} - {node_of(MAX_SLOT)}
    return min(found) if len(found) == 1 else settings.server.node


@asynccontextmanager
async def _archive_objects(
    settings: Settings, store: LocalObjectStore, node: int, database: Database
) -> AsyncIterator[ArchiveObjects]:
    scratch = Path(settings.server.data) / "tmp"
    async with (
        open_stores(settings) as stores,
        NativePool(_THREADS, "backup-copies") as threads,
        Transcoder(folder=scratch, memory_bytes=settings.pixels.memory_mib * 1024**2) as transcoder,
    ):
        reading = CopyBytes(Recoder(transcoder, threads, scratch), threads, scratch)
        yield ArchiveObjects(store, node, database, stores, reading)


async def look(from_: str, settings: Settings) -> tuple[Shelf, dict[str, str]]:
    """What a place holds, and when each backup was last found whole. raises: ConfigError, Unavailable"""
    async with opened(from_, settings) as place:

        def read() -> tuple[Shelf, dict[str, str]]:
            found = shelf(place)
            return found, {one.id: verified_at(place, one.id) for one in found.backups}

        return await trio.to_thread.run_sync(read)


async def check(
    from_: str, settings: Settings, key_file: str | None, at: str | None, *, everything: bool, tell: Tell
) -> tuple[list[Manifest], list[Finding]]:
    """Verify the chain up to a backup, or all there is; what was looked at, and what is broken.

    raises: NoBackup, ConfigError, Unavailable
    """
    key = key_of(key_file)
    async with opened(from_, settings) as place:

        def work() -> tuple[list[Manifest], list[Finding]]:
            found = shelf(place)
            chosen = found.backups if everything else _chain(found, at)
            if everything and not chosen and not found.broken:
                raise chain.NoBackup("there is no backup")
            lost = chain.orphans(found.backups) if everything else {}
            findings = [Finding(backup, why) for backup, why in (found.broken | lost).items()]
            for backup in chosen:
                told = partial(_told, tell, f"verify {backup.id}")
                findings += verify(place, backup, key, told)
            return chosen, findings

        return await trio.to_thread.run_sync(work)


async def bring_back(
    from_: str, key_file: str | None, at: str | None, folder: str, settings: Settings, by: str, tell: Tell
) -> Restored:
    """Restore up to a backup. raises: PacsError"""
    key, target = key_of(key_file), free_folder(Path(folder))
    async with opened(from_, settings) as place:

        def read() -> list[Manifest]:
            return [sealed(place, one, key) for one in _chain(shelf(place), at)]

        members = await trio.to_thread.run_sync(read)
        restorer, few = IndexRestorer(settings.database), _few(settings.database)
        node = settings.server.node if restorer.url is not None else 0
        return await restore(members, place, key, target, restorer, few, by, tell, node=node)


async def prune_in(from_: str, settings: Settings, keep_full: int) -> list[str]:
    """As ``prune``."""
    async with opened(from_, settings) as place:
        return await trio.to_thread.run_sync(prune, place, keep_full)


def prune(place: Place, keep_full: int) -> list[str]:
    """Remove whole chains, so that so many full backups stay; names of what is gone. Blocks. raises: Unavailable"""
    with place.locked():
        found = shelf(place)
        verified = {one.id: bool(verified_at(place, one.id)) for one in found.backups if one.kind == "full"}
        going = chain.superfluous(found.backups, verified, keep_full)
        for one in going:
            place.remove(one.id)
    return [one.id for one in going]


def _chain(found: Shelf, at: str | None) -> list[Manifest]:
    if not found.backups and found.broken:
        raise Unavailable("; ".join(found.broken.values()))
    return chain.chain_to(chain.pick(found.backups, at), found.backups)


async def _source(settings: Settings, data: Path, dsn: str) -> IndexSource:
    if settings.database.url is None:
        return await EmbeddedIndex.of(data, dsn, settings.database)
    return await DumpedIndex.of(dsn)


@asynccontextmanager
async def _noted(
    database: Database, kind: Kind, by: str, place: str, number: int | None
) -> AsyncIterator[list[Outcome]]:
    """Around making one: its row says so, and how it ended: with the outcome that was appended."""
    if number is None:
        try:
            number = await database.run(
                partial(book.begin, kind=kind, by=by, place=place, lease_s=LEASE_S), within_s=60.0
            )
        except asyncpg.UndefinedTableError:
            raise Unavailable(
                "the database is that of an earlier release; run: pacs-actors db migrate"
            ) from None
    row, outcomes = number, list[Outcome]()
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_renewing, database, row)
            try:
                yield outcomes
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        if failure is not None:
            outcome = Outcome(problem=str(failure) or type(failure).__name__)
        else:
            outcome = outcomes[0] if outcomes else Outcome(problem="it was interrupted")
        with trio.CancelScope(shield=True), trio.move_on_after(10):
            await _quietly(database, partial(book.end, number=row, outcome=outcome))
    if failure is not None:
        raise failure


async def _renewing(database: Database, number: int) -> None:
    while True:
        await trio.sleep(_RENEW_S)
        await _quietly(database, partial(book.renew, number=number, lease_s=LEASE_S))


async def _quietly(database: Database, unit: Callable[[asyncpg.Connection], object]) -> None:
    try:
        await database.run(unit)  # type: ignore[arg-type]
    except Unavailable:
        pass  # the lease runs out, and tells the same


def _few(settings: DatabaseSettings) -> DatabaseSettings:
    return msgspec.structs.replace(settings, connections=2)


def _told(tell: Tell, phase: str, objects: int, size: int) -> None:
    trio.from_thread.check_cancelled()
    tell(phase, objects, size)
