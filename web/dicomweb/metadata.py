"""WADO-RS metadata of studies, series and instances as DICOM JSON (PS3.18 10.4.1.1.2), with validators.

Series metadata is kept as gzip and sent so to whoever offers it. URIs in it are absolute, with the root that the client used.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from hashlib import blake2b
from pathlib import Path
from typing import Final

from pacs_actors.archive.metadata_files import FOLDER
from pacs_actors.archive.metadata_making import FORMAT, instance_json
from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.series_metadata import SeriesMetadata, SeriesState
from pacs_actors.people.rights import Action
from web.context import WebContext
from web.dicomweb.json_answers import GZIP_FORMAT, VARY, json_body, json_type, takes_gzip
from web.dicomweb.objects import WebObjects
from web.dicomweb.paths import PREFIX, is_uid
from web.http.answer import Answer
from web.http.request import NotFound, Request
from web.http.routes import Handler, Route

_CHUNK_BYTES: Final = 1024 * 1024
_QUICK: Final = 1
_GZIP: Final = ("content-encoding", "gzip")


def routes(context: WebContext, objects: WebObjects) -> list[Route]:
    archive, settings = context.archive, context.settings
    metadata = Metadata(
        objects,
        archive.store,
        SeriesMetadata(
            archive.catalogue, archive.progress, objects.locator, archive.store, archive.native,
            Path(settings.server.data) / FOLDER,
            limit_bytes=settings.web.metadata_cache_bytes, catch_up_s=settings.index.catch_up_s,
            online=archive.recaller.online,
        ),
    )  # fmt: skip

    def route(path: str, handler: Handler, what: str) -> Route:
        return Route(
            method="GET", path=f"{PREFIX}{path}/metadata", access=Action.VIEW, handler=handler,
            summary=f"All attributes of {what} but bulk data", objects=True, tag="WADO-RS",
            query={"accept": "media type, before the Accept header"},
        )  # fmt: skip

    study, series, instance = "/studies/{study}", "/series/{series}", "/instances/{instance}"
    return [
        route(study, metadata.study, "a study's instances"),
        route(study + series, metadata.series, "a series' instances"),
        route(study + series + instance, metadata.instance, "one instance"),
    ]


class Metadata:
    def __init__(self, objects: WebObjects, store: ObjectStore, series: SeriesMetadata) -> None:
        self._objects, self._store, self._series = objects, store, series

    async def series(self, request: Request) -> Answer:
        media_type = json_type(request)
        [state], base = await self._states(request, request.values["series"]), request.root + PREFIX
        headers = _headers(request, media_type, state.name(base))
        if _is_fresh(request, headers):
            return Answer(304, headers)
        packed = await self._series.of(request.who.scope, state, base)
        if takes_gzip(request):
            return Answer(200, (*headers, _GZIP), packed)
        if state.instances > 1:
            return Answer(200, headers, self._plain(packed))
        return Answer(200, headers, await self._objects.native.run(zlib.decompress, packed, GZIP_FORMAT))

    async def study(self, request: Request) -> Answer:
        media_type = json_type(request)
        states, base = await self._states(request, None), request.root + PREFIX
        names = "".join(state.name(base) for state in states)
        headers = _headers(request, media_type, blake2b(names.encode(), digest_size=16).hexdigest())
        if _is_fresh(request, headers):
            return Answer(304, headers)
        body = self._joined(request, states, base)
        if takes_gzip(request):
            return Answer(200, (*headers, _GZIP), self._packed(body))
        return Answer(200, headers, body)

    async def instance(self, request: Request) -> Answer:
        media_type = json_type(request)
        found = await self._objects.located(request)
        await self._objects.viewed(request, found)
        base = request.root + PREFIX
        facts = f"{FORMAT} {found.digest.hex()} {found.sop_instance_uid} {base}"
        headers = _headers(request, media_type, blake2b(facts.encode(), digest_size=16).hexdigest())
        if _is_fresh(request, headers):
            return Answer(304, headers)
        native, opening = self._objects.native, self._store.open
        made = await self._objects.reached(found, lambda one: native.run(instance_json, opening, one, base))
        etag = [header for header in headers if header[0] == "etag"]
        return await json_body(request, b"[%b]" % made, self._objects.native, *etag, media_type=media_type)

    async def _states(self, request: Request, series: str | None) -> Sequence[SeriesState]:
        """At least one. raises: NotFound"""
        study = request.values["study"]
        if not is_uid(study) or (series is not None and not is_uid(series)):
            raise NotFound
        patient_id, states = await self._series.states(request.who.scope, study, series)
        if not states:
            raise NotFound
        await self._objects.viewed_study(request, study, patient_id)
        return states

    async def _joined(
        self, request: Request, states: Sequence[SeriesState], base: str
    ) -> AsyncIterator[bytes]:
        """One array of the arrays of all series."""
        before = b"["
        for state in states:
            held = b""
            first = True
            series = self._plain(await self._series.of(request.who.scope, state, base))
            async with aclosing(series) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    # The brackets of the series' own array go: the first byte and the last.
                    piece = held + (chunk[1:] if first else chunk)
                    first, held, piece = False, piece[-1:], piece[:-1]
                    if piece:
                        yield before + piece
                        before = b""
            before = before or b","
        yield b"[]" if before == b"[" else b"]"

    async def _plain(self, packed: bytes) -> AsyncIterator[bytes]:
        stream = zlib.decompressobj(GZIP_FORMAT)
        while packed and not stream.eof:
            chunk = await self._objects.native.run(stream.decompress, packed, _CHUNK_BYTES)
            packed = stream.unconsumed_tail
            if chunk:
                yield chunk

    async def _packed(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        stream = zlib.compressobj(_QUICK, wbits=GZIP_FORMAT)
        async with aclosing(body) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                packed = await self._objects.native.run(stream.compress, chunk)
                if packed:
                    yield packed
        yield stream.flush()


def _headers(request: Request, media_type: str, name: str) -> tuple[tuple[str, str], ...]:
    """Its validator names what is sent: another media type or coding is another representation (RFC 9110 section 8.8.3)."""
    form = f"{'j' if media_type == 'application/json' else 'd'}{'z' if takes_gzip(request) else ''}"
    return (("content-type", media_type), VARY, ("etag", f'"{name}-{form}"'))


def _is_fresh(request: Request, headers: tuple[tuple[str, str], ...]) -> bool:
    """Has the client what we would send (If-None-Match, RFC 9110 section 13.1.2)?"""
    asked = request.headers.get("if-none-match")
    if asked is None:
        return False
    etag = dict(headers)["etag"]
    return asked.strip() == "*" or etag in [each.strip().removeprefix("W/") for each in asked.split(",")]
