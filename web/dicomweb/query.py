"""QIDO-RS (PS3.18 10.6): searches for studies, series and instances, at every nesting.

An answer is 200 with an array, also an empty one. What is cut off, or could not be matched, is told in a Warning header.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.archive.matching import FindQuery, Root
from pacs_actors.archive.web_find import Found, WebFind
from pacs_actors.people.rights import Action
from protocols.dataset.attributes import BY_TAG, SPECIFIC_CHARACTER_SET, Level
from protocols.dataset.transfer_syntax import dictionary_vr
from protocols.dicomweb.json_rows import Column, RowEncoder
from protocols.dicomweb.json_values import quote
from protocols.dicomweb.query import (
    INSTANCE_AVAILABILITY,
    RETRIEVE_URL,
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Search,
    parse_search,
    returned,
)
from web.context import WebContext
from web.dicomweb.json_answers import json_body, json_type
from web.dicomweb.paths import PREFIX, is_uid
from web.http.answer import Answer
from web.http.request import BadRequest, Request
from web.http.routes import Route

_ROWS_AT_ONCE: Final = 500
_BELOW: Final = {Level.STUDY: 1, Level.SERIES: 2, Level.IMAGE: 3}
_URL_PARTS: Final = (
    ("/studies/", STUDY_INSTANCE_UID), ("/series/", SERIES_INSTANCE_UID), ("/instances/", SOP_INSTANCE_UID),
)  # fmt: skip
_NAME: Final = {Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances"}
_CONSTANTS: Final = {
    SPECIFIC_CHARACTER_SET: '{"vr":"CS","Value":["ISO_IR 192"]}',
}
_PARAMETERS: Final = {
    "{attribute}": "A key: keyword or 8 hexadecimal digits, dotted into a sequence",
    "includefield": "Attributes to answer beside the usual ones: a list, or all",
    "fuzzymatching": "true: names that are alike match too",
    "limit": "Most results wanted",
    "offset": "Results to leave out before the first",
}
_STUDY, _SERIES = "/studies/{study}", "/series/{series}"


def routes(context: WebContext) -> list[Route]:
    search = Searches(context)
    return [
        Route(
            method="GET",
            path=f"{PREFIX}{path}/{_NAME[level]}",
            access=Action.SEARCH,
            handler=partial(search.serve, level),
            summary=f"Search for {_NAME[level]}{' of a study' if path else ''}{' and series' if _SERIES in path else ''}",
            query=_PARAMETERS,
            objects=bool(path),
            tag="QIDO-RS",
        )
        for path, level in (
            ("", Level.STUDY),
            ("", Level.SERIES),
            ("", Level.IMAGE),
            (_STUDY, Level.SERIES),
            (_STUDY, Level.IMAGE),
            (_STUDY + _SERIES, Level.IMAGE),
        )
    ]


class Searches:
    def __init__(self, context: WebContext) -> None:
        archive, settings = context.archive, context.settings
        self._archive, self._none_is_204 = archive, settings.web.no_matches_204
        self._native, self._audit = archive.native, archive.audit
        self._custom = archive.catalogue.custom
        self._find = WebFind(archive.catalogue, archive.progress, catch_up_s=settings.index.catch_up_s)

    async def serve(self, level: Level, request: Request) -> Answer:
        media_type = json_type(request)
        path = _path(request)
        search = parse_search(level, request.query, path=path, custom=self._custom)
        tags = returned(search, path, self._custom)
        if level is not Level.SERIES:  # of series PS3.18 table 10.6.3-4 knows none
            tags = (*tags, INSTANCE_AVAILABILITY)
        most = self._archive.settings.web.max_query_results
        limit = most if search.limit is None else min(search.limit, most)
        query = FindQuery(
            root=Root.STUDY, level=level, keys=search.keys, sequences=search.sequences, returns=tags,
            relational=True, fuzzy=search.fuzzy, scope=request.who.scope, newest_first=not path,
        )  # fmt: skip
        found = Found(tags, []) if search.nothing else await self._find.page(query, search.offset, limit)
        await self._audit.queried(request.actor, level.value, _shown(search), len(found.rows), "success")
        warnings = [("warning", text) for text in _warnings(request, search, found)]
        if not found.rows and self._none_is_204:
            return Answer(204, tuple(warnings))
        body = await self._encode(found, level, request.root + PREFIX)
        return await json_body(request, body, self._native, *warnings, media_type=media_type)

    async def _encode(self, found: Found, level: Level, base: str) -> bytes:
        """In portions, so that a long answer does not keep everybody else waiting."""
        vrs = tuple(self._custom.items())
        encoder = _encoder(found.returns, level, base, vrs)
        parts = []
        for start in range(0, len(found.rows), _ROWS_AT_ONCE):
            if start:
                await trio.lowlevel.checkpoint()
            parts.append(encoder.encode(found.rows[start : start + _ROWS_AT_ONCE]))
        return f"[{','.join(parts)}]".encode()


def _path(request: Request) -> dict[int, str]:
    """raises: BadRequest for what can be no UID"""
    path = {}
    for name, tag in (("study", STUDY_INSTANCE_UID), ("series", SERIES_INSTANCE_UID)):
        uid = request.values.get(name)
        if uid is not None:
            if not is_uid(uid):
                raise BadRequest(f"The path names a {name} by what is no UID.")
            path[tag] = uid
    return path


class _Shape(Struct, frozen=True):
    """What determines an encoder."""

    tags: tuple[int, ...]
    level: Level
    base: str
    custom: tuple[tuple[int, str], ...]


def _encoder(
    tags: tuple[int, ...], level: Level, base: str, custom: tuple[tuple[int, str], ...]
) -> RowEncoder:
    return _compiled(_Shape(tags, level, base, custom))


@lru_cache(maxsize=256)
def _compiled(shape: _Shape) -> RowEncoder:
    vrs = dict(shape.custom)
    of = {tag: BY_TAG[tag].vr if tag in BY_TAG else vrs.get(tag) or dictionary_vr(tag) for tag in shape.tags}
    return RowEncoder(shape.tags, of, constants=_CONSTANTS, made={RETRIEVE_URL: _retrieve_urls(shape)})


def _retrieve_urls(shape: _Shape) -> Callable[[Sequence[Column]], list[str]]:
    parts = [(text, shape.tags.index(tag)) for text, tag in _URL_PARTS[: _BELOW[shape.level]]]
    texts = [text for text, _ in parts]
    start = f'{{"vr":"UR","Value":[{quote(shape.base)[:-1]}'

    def make(columns: Sequence[Column]) -> list[str]:
        uids = zip(*(columns[place] for _, place in parts), strict=True)
        return [f'{start}{"".join(map(str.__add__, texts, row))}"]}}' for row in uids]

    return make


def _shown(search: Search) -> dict[str, str | int]:
    """For the audit: names of what was asked for; of values only UIDs."""
    keyed = [tag for tag, value in search.keys.items() if value.strip(" *")] + list(search.sequences)
    shown: dict[str, str | int] = {"keys": ",".join(f"{tag:08X}" for tag in sorted(keyed))}
    study = search.keys.get(STUDY_INSTANCE_UID, "")
    if is_uid(study):
        shown["study"] = study
    return shown


def _warnings(request: Request, search: Search, found: Found) -> list[str]:
    """Warning headers (PS3.18 8.3.4.4), made of our own words, keywords and numbers."""
    texts = []
    if found.further or not found.exact:
        number = str(found.further) if found.exact else f"more than {found.further}" if found.further else ""
        texts.append(f"There are {number} additional results that can be requested".replace("  ", " "))
    if search.ignored:
        texts.append(f"Not matched at this level: {', '.join(search.ignored[:20])}")
    host = request.root.partition("://")[2].encode("ascii", "replace").decode()
    return [f"299 {host}: {text}" for text in texts]
