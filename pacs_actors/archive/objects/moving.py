"""Taking objects out of the archive and putting them back: removed, set aside, restored.

A packed object that goes elsewhere is copied to a file first; only when the copy is durable is its place in the segment given
back. Every step may be done again after a crash: a copy has its name only once it is complete, so where both are there the place
is given back. Everything here blocks and runs on native threads.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final, NamedTuple

from pacs_actors.archive.objects.batches import sync_folder
from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.filesystem import closed, synced
from pacs_actors.archive.objects.gone_list import GoneList
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import (
    Names,
    ObjectMissing,
    QuarantineReason,
    place_of,
    quarantine_key,
)
from pacs_actors.archive.objects.reading import pieces
from pacs_actors.archive.objects.records import Extent, claim, damaged_at, gone_at, record_at, written
from pacs_actors.archive.objects.writing import DurableWriter
from pacs_actors.operations import logs
from protocols.dataset.part10 import GONE, GONE_OFFSET, PREAMBLE_BYTES, preamble, read_record

_COPIES_A_SYNC: Final = 16  # no more room is needed for copies than that before the first place is given back


class _Packed(NamedTuple):
    key: str
    path: str
    block: int


class Mover:
    """root: the store's folder; names: for what is restored"""

    def __init__(self, root: Path, writer: DurableWriter, names: Names) -> None:
        self._root, self._writer, self._names = root, writer, names
        self._system = writer.system
        self._gone = GoneList(root / "tmp" / "gone", writer.system)

    def remove(self, keys: Sequence[str]) -> None:
        """See ``interface.ObjectStore``; likewise below. raises: OutOfResources"""
        files, packed = _sorted_out(keys)
        paths = [self._root / path for path in files]
        with self._writer.refusing("remove"):
            for path in paths:
                with suppress(FileNotFoundError):
                    self._system.unlink(path)
            for folder in {path.parent for path in paths}:
                with suppress(FileNotFoundError):
                    sync_folder(self._system, folder)
            self._give_back(packed)

    def quarantine(self, key: str, why: QuarantineReason) -> str:
        """raises: ObjectMissing, OutOfResources"""
        moved_key = quarantine_key(key, why)
        source, block = place_of(key)
        target = self._root / place_of(moved_key).path
        with self._writer.refusing("quarantine"):
            if block is not None:
                packed = _Packed(key, source, block)
                if not self._copy_out(packed, target) and not target.exists():
                    raise ObjectMissing(key)
                sync_folder(self._system, target.parent)
                self._give_back([packed])
                return moved_key
            try:
                self._system.rename(self._root / source, target)
            except FileNotFoundError:
                if not target.exists():
                    raise ObjectMissing(key) from None
            sync_folder(self._system, target.parent)
            sync_folder(self._system, (self._root / source).parent)
        return moved_key

    def set_aside(self, keys: Sequence[str]) -> None:
        """One sync a folder, however many files of it, and a segment. raises: OutOfResources"""
        files, packed = _sorted_out(keys)
        aside = self._root / "quarantine" / "deleted"
        with self._writer.refusing("deletion"):
            for at in range(0, len(packed), _COPIES_A_SYNC):
                some = packed[at : at + _COPIES_A_SYNC]
                for one in some:
                    self._copy_out(one, self._root / quarantine_key(one.key, "deleted"))
                sync_folder(self._system, aside)
                self._give_back(some)
            folders = {aside}
            for path, key in files.items():
                source = self._root / path
                with suppress(FileNotFoundError):
                    self._system.rename(source, self._root / quarantine_key(key, "deleted"))
                folders.add(source.parent)
            for folder in sorted(folders, reverse=True):  # where they are now before where they were
                with suppress(FileNotFoundError):
                    sync_folder(self._system, folder)

    def restore(self, key: str, sop_instance_uid: str) -> str:
        """raises: ObjectMissing, OutOfResources"""
        path, block = place_of(key)
        source, name = self._root / path, self._names.next(sop_instance_uid) + ".dcm"
        packed = [] if block is None else [_Packed(key, path, block)]
        with self._writer.refusing("restore"):
            if packed:
                source = self._writer.temporary / name
                if not self._copy_out(packed[0], source):
                    raise ObjectMissing(key)
            try:
                restored = self._writer.adopt(source, name)
            except FileNotFoundError:
                raise ObjectMissing(key) from None
            self._give_back(packed)
            if not packed:
                sync_folder(self._system, source.parent)
        return restored

    def _copy_out(self, packed: _Packed, target: Path) -> bool:
        """Whether the object was there; then ``target`` is a complete file, whose name is not synced yet. raises: OSError"""
        with self._segment(packed.path, os.O_RDONLY) as fd:
            extent = None if fd is None else _extent(fd, packed.block)
            if fd is None or extent is None:
                return False
            if not target.exists():
                self._copy(fd, packed.block, extent, target)
        return True

    def _copy(self, fd: int, block: int, extent: Extent, target: Path) -> None:
        name = self._writer.temporary / (self._names.next(target.name) + ".dcm")
        copy = self._system.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            buffer, offset = memoryview(bytearray(BUFFER_BYTES)), 0
            for piece in pieces(ObjectFile(fd, extent.start, extent.size_bytes), buffer):
                record = None if offset else read_record(piece, block)
                if record is not None:
                    piece[:PREAMBLE_BYTES] = preamble(record)
                left = piece
                while left:
                    done = self._system.pwrite(copy, left, offset)
                    offset, left = offset + done, left[done:]
            synced(self._system.fdatasync, copy)
            self._system.rename(name, target)
        except BaseException:
            with suppress(OSError):
                self._system.unlink(name)
            raise
        finally:
            closed(self._system, copy)

    def reclaim(self) -> None:
        """Give back what was removed while somebody read it, as far as nobody does any more. raises: OutOfResources"""
        with self._writer.refusing("reclaim"):
            self._gone.settle(self._give_back_gone)

    def _give_back_gone(self, keys: Sequence[str]) -> list[str]:
        """Those that somebody reads still. raises: OSError"""
        _, packed = _sorted_out(keys)
        read_still: list[str] = []
        for path, those in _by_path(packed).items():
            with self._segment(path, os.O_RDWR) as fd:
                if fd is None:
                    continue
                punched = False
                for one in those:
                    extent = gone_at(fd, one.block)
                    if extent is None:
                        continue  # given back already, or never removed: its process died before it could be
                    if claim(fd, extent, alone=True):
                        self._system.punch(fd, extent.start, extent.end - extent.start)
                        punched = True
                    else:
                        read_still.append(one.key)
                if punched:
                    synced(self._system.fsync, fd)
                self._delete_if_empty(self._root / path, fd)
        return read_still

    def _give_back(self, packed: Iterable[_Packed]) -> None:
        """Punch out what is still there, durably; a segment that holds nothing any more goes.

        What somebody reads is only said to be gone: zeros must not leave as pixels. raises: OSError
        """
        for path, those in _by_path(packed).items():
            with self._segment(path, os.O_RDWR) as fd:
                if fd is None:
                    continue
                read: list[tuple[str, int]] = []
                for one in those:
                    extent = _extent(fd, one.block) or gone_at(fd, one.block)
                    if extent is None:
                        continue
                    if claim(fd, extent, alone=True):
                        self._system.punch(fd, extent.start, extent.end - extent.start)
                    else:
                        read.append((one.key, extent.start))
                with self._gone.noting([key for key, _ in read]) if read else nullcontext():
                    for _, start in read:
                        self._system.pwrite(fd, memoryview(GONE), start + GONE_OFFSET)
                    # Not fdatasync: nothing promises that it covers blocks that are gone.
                    synced(self._system.fsync, fd)
                self._delete_if_empty(self._root / path, fd)

    def _delete_if_empty(self, path: Path, fd: int) -> None:
        """Unless a worker still appends to it: that holds a lock as long as it may, from before there is a byte in it."""
        if not os.fstat(fd).st_size or next(written(fd), None) is not None:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if next(written(fd), None) is None:
            with suppress(FileNotFoundError):
                self._system.unlink(path)
            sync_folder(self._system, path.parent)
            logs.event("segment_emptied", path=str(path.relative_to(self._root)))

    @contextmanager
    def _segment(self, path: str, flags: int) -> Iterator[int | None]:
        try:
            fd = self._system.open(self._root / path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        try:
            yield fd
        finally:
            closed(self._system, fd)


def _extent(fd: int, block: int) -> Extent | None:
    """What is there of an object, damaged or not. raises: OSError"""
    record = record_at(fd, block)
    return damaged_at(fd, block) if record is None else Extent(block * BLOCK_BYTES, record.size_bytes)


def _by_path(packed: Iterable[_Packed]) -> dict[str, list[_Packed]]:
    found: dict[str, list[_Packed]] = {}
    for one in packed:
        found.setdefault(one.path, []).append(one)
    return found


def _sorted_out(keys: Sequence[str]) -> tuple[dict[str, str], list[_Packed]]:
    """Keys of objects that have a file for themselves, by its path; and the others. raises: ObjectMissing for no key"""
    files: dict[str, str] = {}
    packed: list[_Packed] = []
    for key in keys:
        path, block = place_of(key)
        if block is None:
            files[path] = key
        else:
            packed.append(_Packed(key, path, block))
    return files, packed
