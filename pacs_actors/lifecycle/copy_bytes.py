"""The bytes of an object, from a copy of it in a store, in whatever form that is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from xxhash import xxh3_128

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.copies import Copy
from pacs_actors.lifecycle.packing import Unpacker
from pacs_actors.lifecycle.recoding import SYNTAXES, Recoder
from pacs_actors.threads import NativePool
from protocols.dataset.part10 import PREAMBLE_BYTES
from protocols.errors import CannotUnderstand


class CopyBytes:
    """scratch: folder for what is on its way"""

    def __init__(self, recoder: Recoder, threads: NativePool, scratch: Path) -> None:
        self._recoder, self._threads, self.scratch = recoder, threads, scratch

    async def plain(self, size_bytes: int, copy: Copy, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The object's bytes.

        size_bytes: of the object
        pieces:     of the copy, as it lies in the store
        raises:     CannotUnderstand if there are more or fewer of them; Unavailable
        """
        if copy.form in SYNTAXES:
            with tempfile.TemporaryFile(dir=self.scratch, buffering=0) as coded:
                at = 0
                async for piece in pieces:
                    await self._threads.run(os.pwrite, coded.fileno(), piece, at)
                    at += len(piece)
                async for piece in self._recoder.decoded(ObjectFile(coded.fileno(), 0, at), copy.syntax):
                    yield piece
            return
        unpacker = Unpacker(copy.form, size_bytes)
        async for piece in pieces:
            if copy.form == "plain":
                made = list(unpacker.feed(piece))
            else:
                made = await self._threads.run(list, unpacker.feed(piece))
            for one in made:
                yield one
        if not unpacker.complete:
            raise CannotUnderstand("a copy that is shorter than its object")

    async def land(self, to: int, digest: bytes, data: AsyncIterator[bytes]) -> None:
        """Into a file, from its beginning. digest: of the object. raises: CannotUnderstand if it is another one's; OSError"""
        made, at = xxh3_128(), 0
        async for piece in data:
            made.update(piece[max(0, PREAMBLE_BYTES - at) :])
            await self._threads.run(os.pwrite, to, piece, at)
            at += len(piece)
        if made.digest() != digest:
            raise CannotUnderstand("a copy with another digest")
