"""The REST API under ``/api/v1``: a file of this folder a resource."""

from __future__ import annotations

from web.context import WebContext
from web.http.routes import Route


def routes(context: WebContext) -> list[Route]:
    """Every route of the API."""
    return []
