"""DICOMweb (PS3.18) under ``/dicom-web``."""

from __future__ import annotations

from web.context import WebContext
from web.dicomweb import archive, capabilities, commitment, delete, instances, metadata, query, wado_uri
from web.dicomweb.bulkdata import BulkData
from web.dicomweb.frames import Frames
from web.dicomweb.objects import WebObjects
from web.dicomweb.paths import PREFIX
from web.dicomweb.rendering import Rendering
from web.dicomweb.store import Store
from web.http.routes import Route

__all__ = ["PREFIX", "routes"]


def routes(context: WebContext) -> list[Route]:
    """Every route of DICOMweb; a file of this folder each for a service."""
    objects = WebObjects(context)
    frames = Frames(objects)
    rendering = Rendering(context.archive, objects)
    served = [
        *query.routes(context),
        *metadata.routes(context, objects),
        *archive.routes(objects),
        *instances.routes(objects),
        *frames.routes(),
        *BulkData(objects, frames).routes(),
        *rendering.routes(),
        *Store(context).routes(),
        *delete.routes(context),
        *commitment.routes(context),
        *wado_uri.routes(objects, rendering.of_uri),
    ]
    return [*served, *capabilities.routes(served)]
