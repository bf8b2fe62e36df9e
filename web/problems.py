"""Errors as HTTP problems (RFC 9457). Facts for the caller, never a stack trace."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from quart import Response
from werkzeug.exceptions import HTTPException

from protocols.errors import PacsError, PeerError, Refusal, Unavailable

CONTENT_TYPE: Final = "application/problem+json"


def document(status: int, detail: str = "") -> bytes:
    """A problem document; ``detail`` is a sentence for the caller."""
    body: dict[str, str | int] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return msgspec.json.encode(body)


MISDIRECTED: Final = document(421, "This host name is not ours; the setting web.hosts allows names.")


def problem(status: int, detail: str = "") -> Response:
    """A response that carries a problem document."""
    return Response(document(status, detail), status=status, content_type=CONTENT_TYPE)


def of_http_error(error: HTTPException) -> Response:
    """Routing and request errors, and every bug as a bare 500."""
    answer = problem(error.code or 500)
    for name, value in error.get_headers():
        if name.lower() in {"allow", "location", "retry-after"}:
            answer.headers[name] = value
    return answer


def of_pacs_error(error: PacsError) -> Response:
    match error:
        case Refusal():
            return problem(error.http_status, str(error))
        case Unavailable():
            return problem(503, str(error))
        case PeerError():
            return problem(400, str(error))
        case _:
            return problem(500)
