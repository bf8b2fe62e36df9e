"""In front of the viewer's files: what it may do for whoever asks, and a page that waits where it would show an error.

OHIF cannot wait for a study in an archive store. Its address, in a link or typed in, is answered with a page that has the study
recalled and shows how far that is; once the images are back the same address is the viewer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from pacs_actors.archive.scope import StudyScope
from pacs_actors.people.rights import Action, Principal
from protocols.errors import PacsError
from web.dicomweb.paths import is_uid
from web.http.gate import Authenticator
from web.http.request import Request
from web.static_files import StaticFiles
from web.waiting.page import waiting_page

CONFIG: Final = "app-config.js"
MOST_STUDIES: Final = 32
_STUDIES: Final = "studyinstanceuids"
_MOST_QUERY_BYTES: Final = 16_384
_MOST_PARAMETERS: Final = 64

Away = Callable[[Sequence[str], StudyScope], Awaitable[Sequence[str]]]
"""Those of these studies within a scope that nobody can show before they are recalled. raises: Unavailable"""


class ViewerDoor:
    """An ASGI application around the viewer's. away: None where nothing is ever away"""

    def __init__(self, viewer: StaticFiles, prefix: str, people: Authenticator, away: Away | None) -> None:
        self._viewer, self._config, self._people, self._away = viewer, prefix + CONFIG, people, away

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"} and self._viewer.built:
            config = await self._viewer.content(CONFIG) if scope["path"] == self._config else None
            if config is not None:
                await self._configure(scope, send, config)
                return
            studies = asked_studies(scope["query_string"]) if self._viewer.is_page(scope["path"]) else ()
            if studies and (away := await self._those_away(scope, studies)):
                languages = (
                    value for name, value in scope["headers"] if bytes(name).lower() == b"accept-language"
                )
                accepted = b",".join(map(bytes, languages)).decode("latin-1")
                await _answer(scope, send, *waiting_page(away, accepted))
                return
        await self._viewer(scope, receive, send)

    async def _those_away(self, scope: HTTPScope, studies: Sequence[str]) -> Sequence[str]:
        """None of them for those who may not look at images: the viewer tells them so."""
        if self._away is None:
            return ()
        principal = await self._principal(scope)
        if principal is None or not {Action.SEARCH, Action.VIEW} <= principal.actions:
            return ()
        try:
            return await self._away(studies, principal.scope)
        except PacsError:  # the viewer will say what is the matter
            return ()

    async def _configure(self, scope: HTTPScope, send: ASGISendCallable, config: bytes) -> None:
        """The viewer's configuration, behind what it has to know of whoever is logged in."""
        principal = await self._principal(scope)
        may = {"mayStore": principal is not None and principal.may(Action.STORE)}
        body = b"window.pacs=%b;\n%b" % (msgspec.json.encode(may), config)
        headers = [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(body)),
        ]
        await _answer(scope, send, headers, body)

    async def _principal(self, scope: HTTPScope) -> Principal | None:
        try:
            return await self._people.identify(Request(scope, _nothing))
        except PacsError:
            return None


def asked_studies(query: bytes) -> tuple[str, ...]:
    """Study Instance UIDs of the viewer's address, however the parameter is capitalised, in their order; none of too many. Pure."""
    if len(query) > _MOST_QUERY_BYTES:
        return ()
    try:
        pairs = parse_qsl(query.decode("ascii"), max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return ()
    texts = [value.replace(";", ",").split(",") for name, value in pairs if name.lower() == _STUDIES]
    found = tuple(dict.fromkeys(uid for text in texts for uid in text if is_uid(uid)))
    return found if len(found) <= MOST_STUDIES else ()


async def _nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


async def _answer(
    scope: HTTPScope, send: ASGISendCallable, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": False})
    await send(
        {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body, "more_body": False}
    )
