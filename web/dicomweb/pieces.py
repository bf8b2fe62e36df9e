"""Bodies made of pieces: bytes that are there, and spans of files.

A connection that can, sends spans from the kernel's memory to the socket. Elsewhere they are read. Either way what the kernel
would have to fetch first is fetched on a native thread, so that the loop never waits for a disk.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from pacs_actors.archive.conversions import Opened
from pacs_actors.threads import NativePool
from protocols.errors import PacsError

CHUNK_BYTES: Final = 1024 * 1024
# What goes to the connection together; each piece may hold a file open.
_GROUP_BYTES: Final = 4 * 1024 * 1024
_GROUP_PIECES: Final = 64
# Below, reading is cheaper than telling the kernel to send.
_SMALL_BYTES: Final = 64 * 1024
# The kernel fetches about so much at once.
_PROBE_BYTES: Final = 128 * 1024


class FileSpan(Struct, frozen=True, gc=False):
    """Some bytes of an open object."""

    opened: Opened
    offset: int
    length: int

    @property
    def fd(self) -> int:
        return self.opened.fd


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

    def body(self, pieces: AsyncGenerator[Piece, None]) -> PieceBody:
        return PieceBody(self, pieces)

    async def body_of(self, pieces: Sequence[Piece]) -> bytes | PieceBody:
        """What is small is read at once. raises: ObjectShort, OSError"""
        length = length_of(pieces)
        if length <= _SMALL_BYTES:
            return await self.whole(pieces)
        return PieceBody(self, _each(pieces), short=length <= CHUNK_BYTES)

    async def whole(self, pieces: Sequence[Piece]) -> bytes:
        """All in one. raises: ObjectShort, OSError"""
        made = self._whole_at_once(pieces)
        if made is not None:
            return made
        return b"".join([chunk async for chunk in self.chunks(_each(pieces))])

    async def chunks(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
        """Bytes, some MiB at a time, small pieces joined. raises: ObjectShort, OSError, what ``pieces`` raises"""
        async with aclosing(self.groups(pieces)) as groups:
            async for group in groups:
                read = [piece if isinstance(piece, bytes) else await self._read(piece) for piece in group]
                yield b"".join(read)

    async def groups(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[tuple[Piece, ...], None]:
        """Pieces to send together, up to 4 MiB and a bit; what they take from files is in the kernel's memory by then.

        raises: ObjectShort, OSError, what ``pieces`` raises
        """
        held: list[Piece] = []
        held_bytes = 0
        async with aclosing(pieces):
            async for piece in pieces:
                for part in _parts(piece):
                    if isinstance(part, bytes):
                        held.append(part)
                        held_bytes += len(part)
                        continue
                    if part.length <= _SMALL_BYTES:
                        held.append(await self._read(part))
                    else:
                        if not self._is_in_memory(part):
                            await self._native.run(_read, part.fd, part.offset, part.length)
                        held.append(part)
                    held_bytes += part.length
                    if held_bytes >= _GROUP_BYTES or len(held) >= _GROUP_PIECES:
                        yield tuple(held)
                        held, held_bytes = [], 0
        if held:
            yield tuple(held)

    async def _read(self, span: FileSpan) -> bytes:
        if self._read_at_once(span.fd, span.offset, 0, span.length):
            return bytes(self._buffer[: span.length])
        return await self._native.run(_read, span.fd, span.offset, span.length)

    def _whole_at_once(self, pieces: Iterable[Piece]) -> bytes | None:
        """Without a wait and with one copy; None if that cannot be."""
        if length_of(pieces) > CHUNK_BYTES:
            return None
        at = 0
        for piece in pieces:
            if isinstance(piece, bytes):
                self._buffer[at : at + len(piece)] = piece
                at += len(piece)
            elif self._read_at_once(piece.fd, piece.offset, at, piece.length):
                at += piece.length
            else:
                return None
        return bytes(self._buffer[:at])

    def _read_at_once(self, fd: int, offset: int, at: int, length: int) -> bool:
        """Into the buffer; False if the kernel would have to fetch some of it, or cannot tell."""
        try:
            return os.preadv(fd, [self._buffer[at : at + length]], offset, os.RWF_NOWAIT) == length
        except OSError:  # not in memory, or a file system that cannot say
            return False

    def _is_in_memory(self, span: FileSpan) -> bool:
        """As far as looking here and there can tell."""
        last = span.offset + span.length - 1
        places = (*range(span.offset, last, _PROBE_BYTES), last)
        return all(self._read_at_once(span.fd, place, 0, 1) for place in places)


class PieceBody(AsyncIterator[bytes]):
    """The body of an answer; see ``web.http.answer.FileBody``. short: not worth watching whether the client leaves"""

    def __init__(
        self, reader: PieceReader, pieces: AsyncGenerator[Piece, None], *, short: bool = False
    ) -> None:
        self.short = short
        self._reader, self._pieces = reader, pieces
        self._chunks: AsyncGenerator[bytes, None] | None = None

    def groups(self) -> AsyncGenerator[tuple[Piece, ...], None]:
        return self._reader.groups(self._pieces)

    async def __anext__(self) -> bytes:
        if self._chunks is None:
            self._chunks = self._reader.chunks(self._pieces)
        return await anext(self._chunks)

    async def aclose(self) -> None:
        if self._chunks is not None:
            await self._chunks.aclose()


def _parts(piece: Piece) -> Iterable[Piece]:
    """A long span in parts of a chunk."""
    if isinstance(piece, bytes) or piece.length <= CHUNK_BYTES:
        return (piece,)
    end = piece.offset + piece.length
    starts = range(piece.offset, end, CHUNK_BYTES)
    return (FileSpan(piece.opened, at, min(CHUNK_BYTES, end - at)) for at in starts)


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
