"""DICOMweb (PS3.18) under ``/dicom-web``."""

from __future__ import annotations

from web.context import WebContext
from web.dicomweb import query
from web.dicomweb.paths import PREFIX
from web.http.routes import Route

__all__ = ["PREFIX", "routes"]


def routes(context: WebContext) -> list[Route]:
    """Every route of DICOMweb; a file of this folder each for a service."""
    return [
        *query.routes(context),
    ]
