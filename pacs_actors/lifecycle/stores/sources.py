"""Reading what is put: block by block, digested on the way, and held against what was said of it."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from msgspec import Struct
from xxhash import xxh3_128

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.stores.errors import SourceBroken
from pacs_actors.lifecycle.stores.interface import Source
from pacs_actors.threads import NativePool

_DIGESTING_BYTES: Final = 4 * 1024 * 1024


class Block(Struct, frozen=True):
    """Some bytes of a source. md5: of them, 16 bytes; empty if nobody asked."""

    content: bytes
    md5: bytes


class SourceReader:
    """Reads a source once, from its beginning to its end.

    store:    who reads, for what it raises
    threads:  files are read and bytes are digested there
    """

    def __init__(self, store: str, source: Source, threads: NativePool, *, md5: bool = False) -> None:
        self.source, self._store, self._threads, self._md5 = source, store, threads, md5
        self._digest = xxh3_128()
        self._taken = 0
        self._rest = b""

    async def read(self, size_bytes: int) -> Block:
        """The next bytes, exactly so many. raises: SourceBroken; what a stream raises"""
        if isinstance(self.source, ObjectFile):
            return await self._threads.run(self._read_file, self.source, size_bytes)
        collected = [self._rest]
        missing = size_bytes - len(self._rest)
        while missing > 0:
            piece = await self._next_piece()
            if piece is None:
                raise self._broken("it ended early")
            collected.append(piece)
            missing -= len(piece)
        return await self._threads.run(self._take, collected, size_bytes)

    async def finish(self) -> bytes:
        """The digest of all, once all is read. raises: SourceBroken if there is more, or it is not the expected digest"""
        digest = self._digest.digest()
        if not isinstance(self.source, ObjectFile):
            if self._rest or await self._next_piece() is not None:
                raise self._broken("it went on after its end")
            if self.source.digest not in (None, digest):
                raise self._broken("its digest is another one")
        return digest

    async def _next_piece(self) -> bytes | None:
        """The next one that is not empty, None at the end."""
        assert not isinstance(self.source, ObjectFile)
        while (piece := await anext(self.source.pieces, None)) == b"":
            pass
        return piece

    def _read_file(self, file: ObjectFile, size_bytes: int) -> Block:
        content = read_exactly(self._store, file, self._taken, size_bytes)
        return self._digested(content)

    def _take(self, collected: list[bytes], size_bytes: int) -> Block:
        content = b"".join(collected)
        self._rest = content[size_bytes:]
        return self._digested(content[:size_bytes])

    def _digested(self, content: bytes) -> Block:
        self._digest.update(content)
        self._taken += len(content)
        # Asked for by the servers, against damage on the way; not a secret.
        md5 = hashlib.md5(content, usedforsecurity=False).digest() if self._md5 else b""
        return Block(content, md5)

    def _broken(self, what: str) -> SourceBroken:
        return SourceBroken(self._store, f"the source is not what it said: {what}")


def read_exactly(store: str, file: ObjectFile, offset: int, size_bytes: int) -> bytes:
    """Bytes of a file from ``offset`` of the object on. Blocks. raises: SourceBroken"""
    try:
        content = os.pread(file.fd, size_bytes, file.start + offset)
        while len(content) < size_bytes:
            more = os.pread(file.fd, size_bytes - len(content), file.start + offset + len(content))
            if not more:
                raise SourceBroken(store, "the source is not what it said: it ended early")
            content += more
    except OSError as error:
        raise SourceBroken(store, f"the source cannot be read: {error.strerror}") from error
    return content


def digest_of(store: str, file: ObjectFile) -> bytes:
    """xxh3-128 of an object's file. Blocks. raises: SourceBroken"""
    digest = xxh3_128()
    for offset in range(0, file.size_bytes, _DIGESTING_BYTES):
        digest.update(read_exactly(store, file, offset, min(_DIGESTING_BYTES, file.size_bytes - offset)))
    return digest.digest()
