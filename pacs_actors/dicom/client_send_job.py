"""Send job: files and folders to one peer, over several associations at once.

Receives paths, streams what is in them, sends each instance. Every pair of SOP class and transfer syntax needs a presentation
context; when one turns up that an association did not propose, it is released and a new one opened that does. An
instance under way when an association is lost is sent again, once.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.dicom.client import Peer
from pacs_actors.dicom.client_errors import ASSOCIATION_ERRORS, AssociationRejected
from pacs_actors.dicom.client_files import DicomFile
from pacs_actors.dicom.client_proposals import Proposal, for_storage
from pacs_actors.dicom.client_walk import Skipped, take, walk
from pacs_actors.threads import NativePool
from protocols.dimse.status import StatusKind
from protocols.errors import PacsError
from protocols.ul.model import MAX_CONTEXTS

_AHEAD: Final = 128
_BATCH: Final = 32
_ATTEMPTS: Final = 2
_RECONNECT_AFTER_S: Final = (0.5, 1.0, 2.0)


class Fate(Enum):
    STORED = "stored"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


_FATES: Final = {StatusKind.SUCCESS: Fate.STORED, StatusKind.WARNING: Fate.WARNING}
Connect = Callable[[Sequence[Proposal]], AbstractAsyncContextManager[Peer]]


class Outcome(Struct, frozen=True):
    """What became of one file. ``size_bytes``: of its data set, 0 unless it was stored."""

    path: Path
    fate: Fate
    words: str
    size_bytes: int = 0
    sop_instance_uid: str = ""


class _Item(Struct):
    """An instance to send. ``is_done``: its outcome has been told."""

    file: DicomFile
    attempts: int = 0
    is_done: bool = False


class SendJob:
    """One run over some paths.

    connect:    opens an association for the contexts given
    jobs:       associations at once
    report:     called with the outcome of every file
    found:      instances found so far, and ``found_bytes`` of them; ``scanned``: no more are coming
    gave_up:    why the rest was not sent, if that happened
    """

    def __init__(
        self, connect: Connect, pool: NativePool, *, jobs: int, report: Callable[[Outcome], object]
    ) -> None:
        self._connect, self._pool, self._jobs, self._report = connect, pool, jobs, report
        self.found = self.found_bytes = 0
        self.scanned = False
        self.gave_up: PacsError | None = None
        self._pairs: dict[tuple[str, str], None] = {}  # the latest seen last
        self._returned: deque[_Item] = deque()
        self._connected = False
        self._working = 0

    async def run(self, paths: Iterable[Path]) -> None:
        """Send everything. Raises what kept the first association from being opened."""
        put, get = trio.open_memory_channel[_Item](_AHEAD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scan, paths, put)
            self._working = self._jobs
            for _ in range(self._jobs):
                nursery.start_soon(self._work, get.clone())
            get.close()
        if self.gave_up is not None and not self._connected:
            raise self.gave_up
        while self._returned:
            item = self._returned.popleft()
            self._finish(item, Fate.FAILED, f"not sent: {self.gave_up}")

    async def _scan(self, paths: Iterable[Path], put: trio.MemorySendChannel[_Item]) -> None:
        found = walk(paths)
        async with put:
            while batch := await self._pool.run(take, found, _BATCH):
                for each in batch:
                    if isinstance(each, Skipped):
                        fate = Fate.FAILED if each.is_error else Fate.SKIPPED
                        self._report(Outcome(each.path, fate, each.why))
                        continue
                    self.found += 1
                    self.found_bytes += each.size_bytes
                    self._pairs.pop(each.context, None)
                    self._pairs[each.context] = None
                    try:
                        await put.send(_Item(each))
                    except trio.BrokenResourceError:
                        self._finish(_Item(each), Fate.FAILED, f"not sent: {self.gave_up}")
                        return
            self.scanned = True

    async def _work(self, get: trio.MemoryReceiveChannel[_Item]) -> None:
        """One association after the other, until there is nothing left to send."""
        async with get:
            waiting = await self._next(get)
            while waiting is not None:
                item = waiting
                try:
                    waiting = await self._converse(item, get)
                except PacsError as error:
                    self._working -= 1
                    self._returned.append(item)
                    if not self._working:
                        self.gave_up = error
                        self._give_up(get)
                    return
            self._working -= 1

    def _give_up(self, get: trio.MemoryReceiveChannel[_Item]) -> None:
        """What is still in the channel counts as failed; the scan ends by itself when the channel is closed."""
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                self._returned.append(get.receive_nowait())

    async def _next(self, get: trio.MemoryReceiveChannel[_Item]) -> _Item | None:
        if self._returned:
            return self._returned.popleft()
        try:
            return await get.receive()
        except trio.EndOfChannel:
            return self._returned.popleft() if self._returned else None

    async def _converse(self, item: _Item, get: trio.MemoryReceiveChannel[_Item]) -> _Item | None:
        """Send on one association as long as it serves; returns what needs another one, None at the end.

        raises: what keeps it from being opened
        """
        proposed = self._proposals(item.file.context)
        async with contextlib.AsyncExitStack() as stack:
            peer = await self._open(stack, proposed)
            current: _Item | None = item
            while current is not None and current.file.context in proposed and not peer.is_over:
                await self._send(peer, current)
                if current.is_done:
                    current = await self._next(get)
            return current

    def _proposals(self, needed: tuple[str, str]) -> frozenset[tuple[str, str]]:
        latest = [pair for pair in reversed(self._pairs) if pair != needed]
        return frozenset((needed, *latest[: MAX_CONTEXTS - 1]))

    async def _open(self, stack: contextlib.AsyncExitStack, proposed: frozenset[tuple[str, str]]) -> Peer:
        waits_s = list(_RECONNECT_AFTER_S)
        while True:
            try:
                peer = await stack.enter_async_context(
                    self._connect(for_storage(sorted(proposed), alternatives=True))
                )
            except ASSOCIATION_ERRORS as error:
                # A peer that takes no more associations than our others is left to those.
                enough = isinstance(error, AssociationRejected) and (
                    not error.is_transient or self._working > 1
                )
                if enough or not self._connected or not waits_s:
                    raise
                await trio.sleep(waits_s.pop(0))
            else:
                self._connected = True
                return peer

    async def _send(self, peer: Peer, item: _Item) -> None:
        """Send one instance and tell its outcome, unless the association was lost and it may be tried again."""
        file = item.file
        item.attempts += 1
        try:
            result = await peer.store(file)
        except ASSOCIATION_ERRORS as error:
            if item.attempts == _ATTEMPTS:
                self._finish(item, Fate.FAILED, f"the association was lost over it, twice: {error}")
        except PacsError as error:  # of this instance only
            self._finish(item, Fate.FAILED, str(error))
        else:
            fate = _FATES.get(result.kind, Fate.FAILED)
            size_bytes = 0 if fate is Fate.FAILED else result.size_bytes
            self._finish(item, fate, result.words, size_bytes)

    def _finish(self, item: _Item, fate: Fate, words: str, size_bytes: int = 0) -> None:
        item.is_done = True
        self._report(Outcome(item.file.path, fate, words, size_bytes, item.file.sop_instance_uid))
