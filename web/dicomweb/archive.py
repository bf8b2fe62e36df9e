"""WADO-RS: whole studies and series, as a multipart or as a zip (PS3.18 10.4.1.1.1, 10.4.1.1.2).

What is given as it is stored has a length from the beginning; what must be converted is converted when it is its turn.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import AsyncGenerator, Sequence
from functools import lru_cache, partial
from typing import Final

from pacs_actors.archive.conversions import Opened
from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.people.rights import Action
from protocols.dicomweb.accept import AS_STORED, MULTIPART, NotAcceptable, Offer
from protocols.zip_archive import ZipWriter, archive_length, safe_name
from web.dicomweb.instances import DICOM, dicom_type, part10
from web.dicomweb.objects import WebObjects, chosen_for, given_syntax, given_syntaxes, multipart_writer
from web.dicomweb.paths import PREFIX, is_uid
from web.dicomweb.pieces import CHUNK_BYTES, ObjectShort, Piece
from web.http.answer import Answer
from web.http.request import NotFound, Request
from web.http.routes import Route

ZIP: Final = "application/zip"
_PARTIAL: Final = 206


def routes(objects: WebObjects) -> list[Route]:
    return [
        Route(
            method="GET",
            path=f"{PREFIX}/studies/{{study}}{path}",
            access=Action.DOWNLOAD,
            handler=partial(_retrieve, objects),
            summary=f"All instances of a {level}, as DICOM files or a zip of them",
            query={"accept": "media type, before the Accept header"},
            objects=True,
            tag="WADO-RS",
        )
        for level, path in (("study", ""), ("series", "/series/{series}"))
    ]


async def _retrieve(objects: WebObjects, request: Request) -> Answer:
    study, series = request.values["study"], request.values.get("series")
    if not (is_uid(study) and (series is None or is_uid(series))):
        raise NotFound
    instances = await objects.locator.instances(request.who.scope, study, series)
    if not instances:
        raise NotFound
    chosen = chosen_for(request, _offers(frozenset(one.transfer_syntax_uid for one in instances)))
    # Nobody wants a zip of files that were made longer on the way; multiparts have the standard's default.
    asked = AS_STORED if chosen.offer.name == ZIP and not chosen.syntax else chosen.syntax
    given = [one for one in instances if asked in ("", AS_STORED, *given_syntaxes(one.transfer_syntax_uid))]
    if not given:
        raise NotAcceptable
    await objects.at_hand(given)
    status = 200 if len(given) == len(instances) else _PARTIAL
    if chosen.offer.name == ZIP:
        await objects.downloaded(request, given, "zip")
        return await zip_answer(objects, given, series or study, asked, status=status)
    await objects.downloaded(request, given, "multipart")
    return await _multipart(objects, given, asked, status)


async def _multipart(
    objects: WebObjects, instances: Sequence[ServedInstance], asked: str, status: int
) -> Answer:
    writer = multipart_writer()
    headers = [("content-type", writer.content_type(DICOM))]
    if _as_stored(instances, asked):
        length = await objects.native.run(_multipart_length, instances)
        headers.append(("content-length", str(length)))

    async def pieces() -> AsyncGenerator[Piece, None]:
        for instance in instances:
            opened = await _given(objects, instance, asked)
            yield writer.head(("Content-Type", dicom_type(opened.syntax)))
            for piece in part10(opened):
                yield piece
        yield writer.end

    return Answer(status, tuple(headers), objects.reader.body(pieces()))


def _multipart_length(instances: Sequence[ServedInstance]) -> int:
    writer = multipart_writer()
    heads = sum(len(writer.head(("Content-Type", dicom_type(one.transfer_syntax_uid)))) for one in instances)
    return heads + sum(one.size_bytes for one in instances) + len(writer.end)


async def zip_answer(
    objects: WebObjects,
    instances: Sequence[ServedInstance],
    name: str,
    asked: str = AS_STORED,
    *,
    status: int = 200,
) -> Answer:
    """A zip of DICOM files, in folders of studies and series; every name in it is made of UIDs.

    name: of the file, a UID or a word of ours
    """
    headers = [("content-type", ZIP), ("content-disposition", f'attachment; filename="{name}.zip"')]
    if _as_stored(instances, asked):
        length = await objects.native.run(_zip_length, instances)
        headers.append(("content-length", str(length)))

    async def pieces() -> AsyncGenerator[Piece, None]:
        writer = ZipWriter()
        for instance in instances:
            opened = await _given(objects, instance, asked)
            crc = await objects.native.run(_checksum, opened)
            yield writer.entry(_path(instance), opened.part10_bytes, crc)
            for piece in part10(opened):
                yield piece
        for piece in writer.end():
            yield piece

    return Answer(status, tuple(headers), objects.reader.body(pieces()))


def _zip_length(instances: Sequence[ServedInstance]) -> int:
    return archive_length((_path(one), one.size_bytes) for one in instances)


def _path(instance: ServedInstance) -> str:
    uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
    return "/".join(map(safe_name, uids)) + ".dcm"


def _checksum(opened: Opened) -> int:
    """CRC-32 of a Part 10 file; what is read stays in memory for the moment when it is sent. raises: ObjectShort, OSError"""
    crc, at, end = zlib.crc32(opened.prefix), opened.rest, opened.offset + opened.length
    while at < end:
        data = os.pread(opened.fd, min(CHUNK_BYTES, end - at), at)
        if not data:
            raise ObjectShort
        crc = zlib.crc32(data, crc)
        at += len(data)
    return crc


def _as_stored(instances: Sequence[ServedInstance], asked: str) -> bool:
    """All of them leave as they are, so that the length is known."""
    return all(
        given_syntax(asked, syntax) == syntax for syntax in {one.transfer_syntax_uid for one in instances}
    )


async def _given(objects: WebObjects, instance: ServedInstance, asked: str) -> Opened:
    """An instance whose conversion fails goes as it is stored: its part says so, and the others follow."""
    try:
        return await objects.opened(instance, asked)
    except NotAcceptable:
        return await objects.stored(instance)


@lru_cache(maxsize=256)
def _offers(stored: frozenset[str]) -> tuple[Offer, ...]:
    syntaxes = frozenset[str]().union(*map(given_syntaxes, stored))
    return (Offer(MULTIPART, DICOM, syntaxes), Offer(ZIP, "", syntaxes))
