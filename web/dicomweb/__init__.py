"""DICOMweb (PS3.18) under ``/dicom-web``."""

from __future__ import annotations

from typing import Final

from web.context import WebContext
from web.http.routes import Route

PREFIX: Final = "/dicom-web"


def routes(context: WebContext) -> list[Route]:
    """Every route of DICOMweb; a file of this folder each for a service."""
    return []
