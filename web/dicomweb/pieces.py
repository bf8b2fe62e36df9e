"""Bodies made of pieces: bytes that are there, and spans of files that are read when it is their turn.

What the kernel has in memory is read on the spot, into one buffer that stays warm; what it would have to fetch is read on a
native thread, so that the loop never waits for a disk.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from pacs_actors.archive.conversions import Opened
from pacs_actors.threads import NativePool
from protocols.errors import PacsError

CHUNK_BYTES: Final = 1024 * 1024


class FileSpan(Struct, frozen=True, gc=False):
    """Some bytes of an open object."""

    opened: Opened
    offset: int
    length: int


Piece = bytes | FileSpan


class ObjectShort(PacsError):
    """An object ends before it should: the disk lost some of it."""

    def __str__(self) -> str:
        return "the object is shorter than it should be"


def length_of(pieces: Iterable[Piece]) -> int:
    return sum(piece.length if isinstance(piece, FileSpan) else len(piece) for piece in pieces)


class PieceReader:
    """Reads pieces. Belongs to one loop: between two waits its buffer is one task's."""

    def __init__(self, native: NativePool) -> None:
        self._native = native
        self._buffer = memoryview(bytearray(CHUNK_BYTES))

    async def whole(self, pieces: Sequence[Piece]) -> bytes:
        """All in one; for bodies up to a chunk. raises: ObjectShort, OSError"""
        made = self._whole_at_once(pieces)
        return made if made is not None else b"".join([chunk async for chunk in self.chunks_of(pieces)])

    def chunks_of(self, pieces: Iterable[Piece]) -> AsyncGenerator[bytes, None]:
        return self.chunks(_each(pieces))

    async def chunks(self, pieces: AsyncIterable[Piece]) -> AsyncGenerator[bytes, None]:
        """Chunks of up to 1 MiB and a bit, small pieces joined. raises: ObjectShort, OSError, what ``pieces`` raises"""
        held: list[bytes] = []
        held_bytes = 0
        async for piece in pieces:
            if isinstance(piece, bytes):
                held.append(piece)
                held_bytes += len(piece)
            else:
                at, end = piece.offset, piece.offset + piece.length
                while at < end:
                    wanted = min(end - at, CHUNK_BYTES)
                    if held_bytes and held_bytes + wanted > CHUNK_BYTES:
                        yield b"".join(held)
                        held, held_bytes = [], 0
                    data = self._at_once(piece.opened.fd, at, wanted)
                    if data is None:
                        data = await self._native.run(_read, piece.opened.fd, at, wanted)
                    held.append(data)
                    held_bytes += wanted
                    at += wanted
            if held_bytes >= CHUNK_BYTES:
                yield b"".join(held)
                held, held_bytes = [], 0
        if held:
            yield b"".join(held)

    def _whole_at_once(self, pieces: Iterable[Piece]) -> bytes | None:
        """Without a wait and with one copy; None if that cannot be. raises: OSError"""
        if length_of(pieces) > CHUNK_BYTES:
            return None
        at = 0
        for piece in pieces:
            if isinstance(piece, bytes):
                self._buffer[at : at + len(piece)] = piece
                at += len(piece)
            elif self._read_at_once(piece.opened.fd, piece.offset, at, piece.length):
                at += piece.length
            else:
                return None
        return bytes(self._buffer[:at])

    def _at_once(self, fd: int, offset: int, length: int) -> bytes | None:
        return bytes(self._buffer[:length]) if self._read_at_once(fd, offset, 0, length) else None

    def _read_at_once(self, fd: int, offset: int, at: int, length: int) -> bool:
        """Into the buffer; False if the kernel would have to fetch some of it, or cannot tell."""
        try:
            return os.preadv(fd, [self._buffer[at : at + length]], offset, os.RWF_NOWAIT) == length
        except OSError:  # not in memory, or a file system that cannot say
            return False


async def _each(pieces: Iterable[Piece]) -> AsyncGenerator[Piece, None]:
    for piece in pieces:
        yield piece


def _read(fd: int, offset: int, length: int) -> bytes:
    parts = []
    while length:
        data = os.pread(fd, length, offset)
        if not data:
            raise ObjectShort
        parts.append(data)
        offset += len(data)
        length -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)
