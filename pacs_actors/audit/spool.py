"""Spool: what a worker tells its audit, in files until it is in the database, so that a killed worker's events are not lost.

A line is appended before whoever tells goes on, without a sync: the kernel keeps it whatever becomes of the process. When all
of a file is in the database the file goes. What an earlier process has left the ``SpoolReplayer`` hands to the database;
some of it may be there already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec import Struct, structs

from pacs_actors.operations import logs
from protocols.messages.audit import AuditEvent

FILE_BYTES: Final = 256 * 1024
MOST_BYTES: Final = 64 * 1024 * 1024
_LONGEST_LINE: Final = 64 * 1024
_NAME: Final = re.compile(r"(\d{1,6})-(\d{8,18})\.jsonl")
_EVENT: Final = msgspec.json.Decoder(AuditEvent)


class _File(Struct):
    """waiting: events of it that are not in the database yet"""

    path: Path
    size_bytes: int = 0
    waiting: int = 0


class Spool:
    """The files of one worker. Used by Trio's thread alone.

    slot, workers:  which worker of how many; the first takes what is left of those that there are no more
    left:           files of earlier processes, oldest first
    """

    def __init__(self, folder: Path, slot: int, workers: int) -> None:
        self.folder, self.slot = folder, slot
        found = sorted(_files(folder))
        self.left = [
            path for of_slot, _, path in found if of_slot == slot or (slot == 0 and of_slot >= workers)
        ]
        self._number = max((number for of_slot, number, _ in found if of_slot == slot), default=0)
        self._files: dict[int, _File] = {}
        self._fd = -1
        self._broken = False

    def add(self, event: AuditEvent) -> AuditEvent:
        """Keep an event, and say in it which file has it. Where that fails it is as sure as it was without a spool."""
        line = b"\n" + msgspec.json.encode(event)  # in front, so that a line that was cut off spoils no other
        if len(line) > _LONGEST_LINE or self._size_bytes + len(line) > MOST_BYTES:
            return event
        try:
            file = self._file()
            written = os.write(self._fd, line)
        except OSError as error:
            self._fail(error.strerror or "")
            return event
        file.size_bytes += written
        if written < len(line):
            self._fail("no room")
            return event
        self._broken = False
        file.waiting += 1
        return structs.replace(event, kept=self._number)

    async def settle(self, events: Iterable[AuditEvent]) -> None:
        """They are in the database, or will never be: files that hold nothing else go."""
        over = []
        for event in events:
            file = self._files.get(event.kept)
            if file is None:
                continue
            file.waiting -= 1
            if not file.waiting and event.kept != self._number:
                over.append(self._files.pop(event.kept).path)
        if over:
            await trio.to_thread.run_sync(_remove, over)

    async def close(self) -> None:
        """At the end of the worker: what has been settled goes, the rest stays for the next one."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        await trio.to_thread.run_sync(
            _remove, [file.path for file in self._files.values() if not file.waiting]
        )
        self._files.clear()

    @property
    def _size_bytes(self) -> int:
        return sum(file.size_bytes for file in self._files.values())

    def _file(self) -> _File:
        """The one to append to. raises: OSError"""
        current = self._files.get(self._number)
        if current is not None and current.size_bytes < FILE_BYTES:
            return current
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{self.slot}-{self._number + 1:08}.jsonl"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._number += 1
        if current is not None and not current.waiting:
            del self._files[self._number - 1]
            with suppress(OSError):
                current.path.unlink()
        made = self._files[self._number] = _File(path)
        return made

    def _fail(self, why: str) -> None:
        """Once until it works again: nobody reads a thousand of these."""
        if not self._broken:
            self._broken = True
            logs.error("audit_spool_failed", why=why, folder=str(self.folder))


def events_of(path: Path) -> Iterator[AuditEvent]:
    """What a file holds; a line that was cut off is left out. raises: OSError"""
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE + 1):
            if not line.strip():
                continue
            try:
                yield structs.replace(_EVENT.decode(line), kept=0)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                logs.warning("audit_spool_line_damaged", file=path.name, size_bytes=len(line))


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Slot, number and path of each."""
    with suppress(OSError):
        for path in folder.iterdir():
            if named := _NAME.fullmatch(path.name):
                yield int(named[1]), int(named[2]), path


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # then its events are found in the database at the next start
            path.unlink()
