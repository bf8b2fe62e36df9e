"""What a tier store is: a place for copies of objects beside the local archive, whatever it is made of.

A copy is immutable. It is there whole or not at all, under a key that we made (``copy_keys``), and what is handed in
comes back byte by byte. Nothing here knows what the bytes are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Protocol

from msgspec import Struct

from pacs_actors.archive.objects.interface import ObjectFile

PIECE_BYTES: Final = 1024 * 1024
"""Most bytes of one piece that a store gives; pieces that it takes may have any size."""

PAGE_KEYS: Final = 1000
"""Most keys of one page."""


class ByteStream(Struct, frozen=True):
    """Bytes that come one piece after the other, such as those of another store.

    pieces:      read once, by the task that puts
    size_bytes:  how many there will be
    digest:      xxh3-128 of them all, where it is known already: what comes is held against it, and stores that keep
                 digests can keep it for copies of any size
    """

    pieces: AsyncIterator[bytes]
    size_bytes: int
    digest: bytes | None = None


Source = ObjectFile | ByteStream
"""What is put. The file stays the caller's; it must not change until ``put`` returns, and may be closed then."""


class StoredCopy(Struct, frozen=True):
    """A copy that is durable in a store.

    size_bytes:  as it lies there, which is how many were handed in
    digest:      xxh3-128 of the bytes handed in, 16 bytes
    """

    key: str
    size_bytes: int
    digest: bytes


class Pieces(Protocol):
    """The bytes of a copy or of a part of it, in order, in pieces of 1 to PIECE_BYTES.

    size_bytes: of the whole copy
    raises:     while iterating, StoreUnavailable, CopyMissing if it was removed meanwhile. The end of the iteration
                means that nothing is missing
    """

    size_bytes: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...


class TierStore(Protocol):
    """An async context manager; entering does not wait for whoever keeps the copies. Any task may use it, many at once.

    Every method raises, besides what it says: BadCopyKey, StoreUnavailable, StoreDenied. Waits end at the deadlines of
    the settings; a remote store makes a request that may succeed a moment later as often as they say.

    name: in the settings
    """

    name: str

    async def __aenter__(self) -> TierStore: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def put(self, key: str, source: Source) -> StoredCopy:
        """Store a copy. On return it is durable, and the store has acknowledged a checksum of what it has.

        The same bytes again: success, and nothing changes. After a cancelled or failed put there is the whole copy or
        none.

        raises: CopyDiffers, SourceBroken, StoreFull
        """

    def get(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[Pieces]:
        """Read a copy from ``offset`` on, to its end or at most ``length`` bytes; none if it ends before.

        raises: CopyMissing, on entering
        """

    async def size(self, key: str) -> int:
        """Bytes of a copy, as the store says. raises: CopyMissing"""

    async def confirm(self, copy: StoredCopy) -> bool:
        """Ask, without reading it, whether the store has this copy: size, and the digest it was put with where it keeps one.

        Catches what was never stored or has been lost, not a flipped bit. raises: CopyMissing
        """

    async def verify(self, copy: StoredCopy) -> bool:
        """Read it all and compare size and digest. raises: CopyMissing"""

    async def remove(self, *keys: str) -> None:
        """Delete copies durably; those that are gone already are passed over."""

    def keys(self, after: str = "") -> AsyncIterator[list[str]]:
        """Every key greater than ``after``, which is a key or empty, ascending, in pages of 1 to PAGE_KEYS; what is not
        ours is passed over.
        """

    async def sweep(self, older_than_s: float) -> int:
        """Remove what interrupted puts left behind and nobody sees, if it is older than that; how much there was."""

    async def free_bytes(self) -> int | None:
        """Room that is left; None where the store does not say."""
