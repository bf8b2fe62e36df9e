"""The Quart-Trio part: status page, health, status as JSON, live websocket."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
import trio
from quart import Response, request, websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from protocols.errors import PacsError
from web.assets import Asset, load
from web.hosts import same_origin
from web.live import LiveFanOut, Seat
from web.problems import of_http_error, of_pacs_error, problem
from web.status import StatusSource
from web.studies import RecentStudies

_BODY_LIMIT_BYTES: Final = 65536
_BODY_TIMEOUT_S: Final = 10
_GOING_AWAY: Final = 1001


def create_pages(
    source: StatusSource, live: LiveFanOut, studies: RecentStudies, missing: Sequence[str] = ()
) -> QuartTrio:
    """The routes that are not hot. ``live`` must be running for the websocket to say anything.

    missing:  what is not built; the status page says so
    """
    pages = QuartTrio(__name__, static_folder=None, template_folder=None)
    pages.config["MAX_CONTENT_LENGTH"] = _BODY_LIMIT_BYTES
    pages.config["BODY_TIMEOUT"] = _BODY_TIMEOUT_S
    pages.config["RESPONSE_TIMEOUT"] = None  # the connection's write deadline counts progress, not time
    pages.register_error_handler(HTTPException, of_http_error)
    pages.register_error_handler(PacsError, of_pacs_error)
    _add_health(pages, source)
    _add_status(pages, source, studies)
    _add_live(pages, live)
    note = f"Not built: {', '.join(missing)}. \u201cmake ui\u201d builds what is missing." if missing else ""
    _add_files(pages, load(note=note))
    return pages


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status=status, content_type="application/json")


def _add_health(pages: QuartTrio, source: StatusSource) -> None:
    @pages.get("/healthz")
    async def healthz() -> Response:
        """Liveness: the loop turns."""
        return _json({"status": "alive"})

    @pages.get("/readyz")
    async def readyz() -> Response:
        """Readiness: images are accepted and queries answered; 503 with the reason if not.

        ``why`` also says what is missing on a node that is ready: objects that recovery cannot read.
        """
        ready, why = source.ready()
        workers = [
            {
                "slot": worker.slot,
                "state": worker.state,
                "accepting": worker.accepting,
                "why_not": worker.why_not,
                "indexing": worker.indexing,
                "recovery": worker.recovery,
            }
            for worker in source.node().workers
        ]
        return _json({"ready": ready, "why": why, "workers": workers}, 200 if ready else 503)


def _add_status(pages: QuartTrio, source: StatusSource, studies: RecentStudies) -> None:
    @pages.get("/api/v1/status")
    async def status() -> Response:
        """The whole node (``NodeStatus``) at this moment."""
        await studies.refresh()
        node = msgspec.structs.replace(source.node(), last_studies=studies.rows, studies_as_of=studies.as_of)
        return _json(node)


def _add_live(pages: QuartTrio, live: LiveFanOut) -> None:
    @pages.websocket("/api/v1/live")
    async def watch() -> Response | None:
        """Snapshot and changes, see ``web.live``; 403 for a page of another origin, 503 when full."""
        if not same_origin(websocket.headers.get("Origin"), websocket.headers.get("Host")):
            return problem(403, "This page comes from another origin.")
        with live.seat() as seat:
            await websocket.accept()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ignore_incoming)
                await _send_all(seat)
                nursery.cancel_scope.cancel()
        await websocket.close(_GOING_AWAY, "The server is going down.")
        return None


async def _send_all(seat: Seat) -> None:
    while (message := await seat.next()) is not None:
        await websocket.send(message)


async def _ignore_incoming() -> None:
    """Clients have nothing to say yet; unread messages would fill hypercorn's queue and stop its reading."""
    while True:
        await websocket.receive()


def _add_files(pages: QuartTrio, files: dict[str, Asset]) -> None:
    async def serve(asset: Asset) -> Response:
        answer = Response(b"", status=304)
        if not request.if_none_match.contains(asset.etag):
            answer = Response(asset.body, content_type=asset.content_type)
        answer.set_etag(asset.etag)
        answer.headers["Cache-Control"] = "no-cache"
        return answer

    for name, asset in files.items():
        paths = ("/", "/status/") if name == "index.html" else (f"/status/{name}",)
        for path in paths:
            pages.add_url_rule(path, f"file {path.replace('.', ' ')}", partial(serve, asset))
