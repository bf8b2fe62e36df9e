"""The Quart-Trio part: status page, health, live websocket, and the routes that are not hot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from protocols.errors import PacsError
from web.assets import Asset, load
from web.http.gate import Gate
from web.http.quart_routes import add_routes
from web.http.routes import Route
from web.live import LiveFanOut
from web.live_route import add_live
from web.problems import of_http_error, of_pacs_error
from web.status import StatusSource

_BODY_LIMIT_BYTES: Final = 65536
_BODY_TIMEOUT_S: Final = 10


def create_pages(
    source: StatusSource, live: LiveFanOut, gate: Gate, routes: Iterable[Route], missing: Sequence[str] = ()
) -> QuartTrio:
    """``live`` must be running for the websocket to say anything.

    routes:   those that are declared, for ``gate``
    missing:  what is not built; the status page says so
    """
    pages = QuartTrio(__name__, static_folder=None, template_folder=None)
    pages.config["MAX_CONTENT_LENGTH"] = _BODY_LIMIT_BYTES
    pages.config["BODY_TIMEOUT"] = _BODY_TIMEOUT_S
    pages.config["RESPONSE_TIMEOUT"] = None  # the connection's write deadline counts progress, not time
    pages.register_error_handler(HTTPException, of_http_error)
    pages.register_error_handler(PacsError, of_pacs_error)
    _add_health(pages, source)
    add_routes(pages, routes, gate)
    add_live(pages, live, gate)
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


def _add_files(pages: QuartTrio, files: dict[str, Asset]) -> None:
    async def serve(asset: Asset) -> Response:
        answer = Response(b"", status=304)
        if not request.if_none_match.contains(asset.etag):
            answer = Response(asset.body, content_type=asset.content_type)
        answer.set_etag(asset.etag)
        answer.headers["Cache-Control"] = "no-cache"
        return answer

    for name, asset in files.items():
        paths = ("/", "/status", "/status/") if name == "index.html" else (f"/status/{name}",)
        for path in paths:
            pages.add_url_rule(path, f"file {path.replace('.', ' ')}", partial(serve, asset))
