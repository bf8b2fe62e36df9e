"""What an object store is, whatever it is made of.

An incoming object is staged: bytes arrive in ``Staging.view``, then ``ObjectStore.commit`` makes the object
durable under a key. Nothing of a staged object is visible before, and nothing is left of one that is
discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, NamedTuple, Protocol, TypeVar

import outcome
from msgspec import Struct

from pacs_actors.archive.objects.buffers import BUFFER_BYTES, BufferStatistics
from pacs_actors.archive.objects.keys import QuarantineReason
from pacs_actors.threads import PoolStatistics
from protocols.dataset.record import StoredObject

T = TypeVar("T")

Check = Callable[[memoryview, bool], T]
"""``check(data_set, complete)`` looks at an object before it is made durable, on a native thread.

data_set:  the data set, or with ``complete`` False only its beginning; not valid after the call
raises:    NeedMore to be called again with more of it; any PacsError to refuse the object
"""


class Committed(NamedTuple, Generic[T]):
    """A durable object, and what the check made of it."""

    stored: StoredObject
    checked: T


class ObjectFile(NamedTuple):
    """An object that is open for reading; whoever opened it closes ``fd``.

    start:       where the Part 10 file begins in ``fd``
    size_bytes:  of the Part 10 file
    """

    fd: int
    start: int
    size_bytes: int


class StoreHealth(Struct, frozen=True):
    """failure: why the store is read-only until restart; empty while it is healthy."""

    failure: str
    free_bytes: int
    buffers: BufferStatistics
    threads: PoolStatistics

    @property
    def healthy(self) -> bool:
        return not self.failure

    @property
    def has_room(self) -> bool:
        """Whether ``stage`` begins an object: it wants room for a buffer, whatever the object's size."""
        return self.free_bytes >= BUFFER_BYTES


class Staging(Protocol):
    """An incoming object. Belongs to one task at a time.

    view:      the buffer; ``view[position:]`` is free. Empty while parked or after the end
    position:  bytes of it that are taken; whoever writes into the view moves it on
    """

    view: memoryview
    position: int

    @property
    def size_bytes(self) -> int:
        """Of the Part 10 file so far."""

    async def spill(self) -> None:
        """Make room: write the full blocks of the view to the temporary file.

        raises: OutOfResources; nothing has changed then
        """

    async def park(self) -> None:
        """Write what is there and give the buffer back, because the peer is slow. raises: as ``spill``"""

    async def resume(self) -> None:
        """Wait for a buffer after ``park``; nothing if there is one."""

    async def write(self, data: bytes | memoryview) -> None:
        """Copy ``data`` in, with spills as needed. For sources that have their bytes already. raises: as
        ``spill``
        """

    def discard(self) -> None:
        """Give everything back and leave nothing. Does not wait. Nothing if it has ended already."""

    def __enter__(self) -> Staging: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discards what was not committed."""


class ObjectStore(Protocol):
    """Durable objects by key.

    slot:  number of the worker; keys of different slots never meet
    node:  whose slots are in it
    """

    slot: int
    node: int

    def current_batch(self) -> int:
        """Objects committed from now on go to this batch folder or a higher one."""

    async def stage(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source: str
    ) -> Staging:
        """Begin an object; waits for a buffer. The Part 10 header is already in the view.

        source:  calling AE title, or the source's name
        raises:  OutOfResources if the store is read-only or the free-space reserve is reached
        """

    async def commit(self, staging: Staging, check: Check[T]) -> Committed[T]:
        """Check the object and make it durable: its bytes and its directory entry survive a power cut on
        return.

        Once begun it is not interrupted: a cancelled caller gets its result and must hand it on before its
        next checkpoint.

        raises: what the check raises, OutOfResources; the object is then discarded
        """

    def start_commit(
        self, staging: Staging, check: Check[T], done: Callable[[outcome.Outcome[Committed[T]]], object]
    ) -> None:
        """As ``commit``, for an object that is not parked, without a task that waits; ``done`` gets the outcome.

        done:    is called on Trio's thread, and must not raise
        raises:  Misuse, for one that is parked, too; ``done`` is not called then
        """

    def open(self, key: str) -> ObjectFile:
        """Open an object for reading; the caller closes it. Blocks for some microseconds.

        raises: ObjectMissing
        """

    def export(self, key: str) -> Iterator[bytes]:
        """The Part 10 file in pieces of up to 1 MiB, our record in the preamble zeroed. Blocks: for native
        threads.

        raises: ObjectMissing
        """

    async def verify(self, key: str) -> bool:
        """Read the object from the medium and compare it with its digest. raises: ObjectMissing, OSError"""

    async def same(self, first: str, second: str) -> bool:
        """Whether both objects hold the same bytes and a record of them. False if one is not there. raises: OSError"""

    async def exists(self, key: str) -> bool:
        """Whether there is such an object; nothing of its content is read. raises: OSError"""

    async def remove(self, *keys: str) -> None:
        """Delete objects durably. Nothing for those that are gone already. raises: OutOfResources if
        read-only
        """

    async def quarantine(self, key: str, why: QuarantineReason) -> str:
        """Move an object out of the way durably; its new key. Asking again gives the same key. raises:
        ObjectMissing
        """

    async def set_aside(self, *keys: str) -> None:
        """Move objects that were deleted into quarantine, durably; those that are there already, or gone, are passed over.

        raises: OutOfResources if read-only
        """

    async def restore(self, key: str, sop_instance_uid: str) -> str:
        """Bring an object back, durably, under a new key of ours. raises: ObjectMissing, OutOfResources"""

    def slots(self) -> list[int]:
        """Slots that have objects, ascending."""

    def batches(self, slot: int, at_least: int = 0) -> list[int]:
        """A slot's batch folders from a number on, ascending."""

    def keys(self, slot: int, batch: int) -> list[str]:
        """The keys in one batch folder, in no order."""

    def free_bytes(self) -> int:
        """What may still be stored before the reserve is touched, as of about half a second ago; never blocks."""

    @property
    def health(self) -> StoreHealth: ...
