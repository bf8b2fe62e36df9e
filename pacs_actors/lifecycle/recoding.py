"""Copies whose images are coded without loss, as JPEG-LS, JPEG 2000, HTJ2K or RLE: valid DICOM files, smaller than the object.

A coded copy counts only if it can be undone exactly: it is decoded again at once, and every byte of the object's data set, not only
its pixels, has to be there. So an object comes back from it with the digest that it was stored with, whatever it lies as.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from xxhash import xxh3_128

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.transcoder import CannotTranscode, CannotTranscodeNow, Transcoder
from pacs_actors.archive.transcoding.syntaxes import TARGETS
from pacs_actors.lifecycle.copies import Form, Held
from pacs_actors.threads import NativePool
from protocols.dataset.part10 import PREAMBLE_BYTES, file_meta, parse_prefix
from protocols.errors import CannotUnderstand, Unavailable

SYNTAXES: Final[dict[Form, str]] = {
    "rle": "1.2.840.10008.1.2.5", "jpeg-ls": "1.2.840.10008.1.2.4.80", "jpeg-2000": "1.2.840.10008.1.2.4.90",
    "htj2k": "1.2.840.10008.1.2.4.201",
}  # fmt: skip
_PIECE_BYTES: Final = 1024 * 1024


class CannotUndo(Exception):
    """There is nothing to code, or decoding would not give the object back: it is to be kept in another form."""


class Recoder:
    """scratch: folder for what is on its way"""

    def __init__(self, transcoder: Transcoder, threads: NativePool, scratch: Path) -> None:
        self._transcoder, self._threads, self._scratch = transcoder, threads, scratch

    @asynccontextmanager
    async def coded(self, file: ObjectFile, held: Held, form: Form) -> AsyncIterator[ObjectFile]:
        """The object as a Part 10 file in the form's transfer syntax. raises: CannotUndo; Unavailable"""
        source, target = held.transfer_syntax_uid, SYNTAXES[form]
        if source not in TARGETS:
            raise CannotUndo
        start, length = file.start + held.data_offset, held.size_bytes - held.data_offset
        coded, coded_bytes = await self._convert(os.dup(file.fd), start, length, source, target)
        try:
            await self._prove(coded, coded_bytes, held, target)
            head = bytes(PREAMBLE_BYTES) + file_meta(held.sop_class_uid, held.sop_instance_uid, target)
            with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as made:
                fd = made.fileno()
                await self._threads.run(_joined, fd, head, coded, coded_bytes)
                yield ObjectFile(fd, 0, len(head) + coded_bytes)
        finally:
            os.close(coded)

    async def decoded(self, copy: ObjectFile, syntax: str) -> AsyncIterator[bytes]:
        """The object that a coded copy was made of, but for our record in its preamble.

        syntax: that of the object
        raises: CannotUnderstand if it is no such copy; Unavailable
        """
        head = await self._threads.run(os.pread, copy.fd, _PIECE_BYTES, copy.start)
        told = parse_prefix(memoryview(head))
        try:
            fd, length = await self._convert(
                os.dup(copy.fd), copy.start + told.data_offset, copy.size_bytes - told.data_offset,
                told.transfer_syntax_uid, syntax,
            )  # fmt: skip
        except CannotUndo:
            raise CannotUnderstand("a coded copy that cannot be decoded") from None
        try:
            yield bytes(PREAMBLE_BYTES) + file_meta(told.sop_class_uid, told.sop_instance_uid, syntax)
            for at in range(0, length, _PIECE_BYTES):
                yield await self._threads.run(os.pread, fd, _PIECE_BYTES, at)
        finally:
            os.close(fd)

    async def _prove(self, coded: int, coded_bytes: int, held: Held, syntax: str) -> None:
        """raises: CannotUndo if decoding does not give the object's digest"""
        fd, length = await self._convert(os.dup(coded), 0, coded_bytes, syntax, held.transfer_syntax_uid)
        try:
            meta = file_meta(held.sop_class_uid, held.sop_instance_uid, held.transfer_syntax_uid)
            if await self._threads.run(_digest, meta, fd, length) != held.digest:
                raise CannotUndo
        finally:
            os.close(fd)

    async def _convert(self, fd: int, offset: int, length: int, source: str, target: str) -> tuple[int, int]:
        try:
            return await self._transcoder.convert(
                fd, offset=offset, length=length, source=source, target=target
            )
        except CannotTranscodeNow as failure:
            raise Unavailable(failure.reason) from failure
        except CannotTranscode:
            raise CannotUndo from None


def _digest(head: bytes, fd: int, length: int) -> bytes:
    digest = xxh3_128(head)
    for at in range(0, length, _PIECE_BYTES):
        digest.update(os.pread(fd, _PIECE_BYTES, at))
    return digest.digest()


def _joined(to: int, head: bytes, source: int, length: int) -> None:
    """raises: OSError"""
    os.write(to, head)
    for at in range(0, length, _PIECE_BYTES):
        left = memoryview(os.pread(source, _PIECE_BYTES, at))
        while left:
            left = left[os.write(to, left) :]
