"""STOW-RS of DICOM JSON with bulk data (PS3.18 10.5.2): data sets in JSON parts, what they refer to in others.

Bulk data goes to a nameless file while it arrives; the objects are made when all is there. A BulkDataURI is looked for among the
parts' Content-Location and never fetched.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import IO, Final

import trio

from pacs_actors.dicom.facilities import Facilities
from protocols.dicomweb.json_encoding import (
    BulkPart,
    EncodedInstance,
    Span,
    data_sets,
    encode_instance,
    uid_of,
)
from protocols.dicomweb.media_type import parse_media_type
from protocols.dicomweb.multipart import MultipartReader, Part, read_parts
from protocols.errors import CannotUnderstand, OutOfResources
from web.context import WebContext
from web.dicomweb.store_intake import Inflow, Intake, Named
from web.http.answer import DICOM_JSON
from web.http.request import BadRequest

MAX_JSON_BYTES: Final = 16 * 1024 * 1024
_JSON: Final = (DICOM_JSON, "application/json")
_PIECE_BYTES: Final = 1024 * 1024
_HEAD_BYTES: Final = 4096
_AT_ONCE: Final = 2  # decoded JSON is many times its text


class JsonStore:
    """Made once a worker."""

    def __init__(self, context: WebContext) -> None:
        self._archive = context.archive
        self._folder = Path(context.settings.server.data) / "tmp"
        self._turns = trio.CapacityLimiter(_AT_ONCE)

    async def read_parts(self, reader: MultipartReader, inflow: Inflow, intake: Intake) -> None:
        """raises: BadRequest, MalformedMultipart, OutOfResources"""
        native = self._archive.native
        texts: list[bytes] = []
        spool = await native.run(_spool_file, self._folder)
        try:
            bulk = Spool(spool, self._archive)
            async with (
                aclosing(inflow.chunks()) as chunks,
                aclosing(read_parts(chunks, reader)) as parts,  # type: ignore[type-var]
            ):
                async for part in parts:
                    kind = parse_media_type(part.headers.get("content-type", DICOM_JSON))
                    if kind is not None and kind.name in _JSON:
                        texts.append(await _json_text(part, MAX_JSON_BYTES - sum(map(len, texts))))
                    else:
                        await bulk.take(part)
            await self._store(texts, bulk, intake)
        finally:
            spool.close()

    async def read_single(self, inflow: Inflow, intake: Intake) -> None:
        """raises: BadRequest"""
        async with aclosing(inflow.chunks()) as chunks:
            text = await _json_text(chunks, MAX_JSON_BYTES)
        await self._store([text], None, intake)

    async def _store(self, texts: list[bytes], bulk: Spool | None, intake: Intake) -> None:
        native = self._archive.native
        parts = bulk.parts if bulk is not None else {}
        async with self._turns:
            try:
                found = [one for text in texts for one in await native.run(data_sets, text)]
            except CannotUnderstand as error:
                raise BadRequest(f"The metadata cannot be read: {error}.") from None
            for data_set in found:
                try:
                    made: EncodedInstance = await native.run(encode_instance, data_set, parts)
                except CannotUnderstand as error:
                    told = Named(uid_of(data_set, "00080016"), uid_of(data_set, "00080018"), "")
                    intake.fail(told, error.dimse_status, str(error))
                    continue
                named = Named(made.sop_class_uid, made.sop_instance_uid, made.transfer_syntax_uid)
                async with aclosing(_bytes_of(made, bulk)) as data_set_bytes:
                    await intake.put(named, data_set_bytes)


class Spool:
    """Bulk data parts, one behind the other in a file.

    parts: Content-Location -> the parts that have it, in their order
    """

    def __init__(self, file: IO[bytes], archive: Facilities) -> None:
        self._file, self._archive = file, archive
        self._size = 0
        self.parts: dict[str, list[BulkPart]] = defaultdict(list)

    async def take(self, part: Part) -> None:
        """raises: OutOfResources when there is no room, or more than for one object"""
        begins, head = self._size, b""
        async for piece in part:
            head += piece[: max(0, _HEAD_BYTES - len(head))]
            if self._size + len(piece) > self._archive.settings.dicom.max_object_bytes:
                raise OutOfResources("The bulk data is more than we take.")
            if len(piece) > self._archive.store.free_bytes():
                raise OutOfResources("no space left for images")
            try:
                await self._archive.native.run(os.pwrite, self._file.fileno(), piece, self._size)
            except OSError as error:
                raise OutOfResources(f"the bulk data cannot be kept: {error.strerror}") from error
            self._size += len(piece)
        kind = parse_media_type(part.headers.get("content-type", ""))
        name, syntax = (kind.name, kind.parameter("transfer-syntax")) if kind is not None else ("", "")
        place = part.headers.get("content-location", "").strip()
        self.parts[place].append(BulkPart(begins, self._size - begins, name, syntax, head))

    async def read(self, span: Span) -> AsyncGenerator[bytes, None]:
        at, end = span.offset, span.offset + span.length
        while at < end:
            wanted = min(_PIECE_BYTES, end - at)
            piece = await self._archive.native.run(os.pread, self._file.fileno(), wanted, at)
            if not piece:
                raise OutOfResources("the bulk data cannot be read back")
            at += len(piece)
            yield piece


async def _bytes_of(made: EncodedInstance, bulk: Spool | None) -> AsyncGenerator[bytes, None]:
    for segment in made.segments:
        if isinstance(segment, bytes):
            yield segment
        elif bulk is not None:
            async with aclosing(bulk.read(segment)) as pieces:
                async for piece in pieces:
                    yield piece


async def _json_text(pieces: Part | AsyncGenerator[bytes, None], limit_bytes: int) -> bytes:
    text = bytearray()
    async for piece in pieces:
        text += piece
        if len(text) > limit_bytes:
            raise BadRequest(f"The metadata is larger than {MAX_JSON_BYTES} bytes.", 413)
    return bytes(text)


def _spool_file(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)
