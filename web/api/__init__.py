"""The REST API under ``/api/v1``: a file of this folder a resource."""

from __future__ import annotations

from web import share_pages
from web.api import (
    archives,
    audit,
    backups,
    deletions,
    integrity,
    lifecycle,
    login,
    me,
    nodes,
    oidc,
    patients,
    roles,
    searches,
    settings,
    shares,
    status,
    studies,
    study_storage,
    system,
    tags,
    tokens,
    users,
)
from web.api.openapi import document
from web.context import WebContext
from web.dicomweb.objects import WebObjects
from web.http.answer import Answer, json_answer
from web.http.request import Request
from web.http.routes import Access, Route


def routes(context: WebContext) -> list[Route]:
    """Every route of the API, and the one that describes them."""
    objects = WebObjects(context)
    declared = [
        *deletions.routes(context),
        *lifecycle.routes(context),
        *login.routes(context),
        *me.routes(context),
        *oidc.routes(context),
        *roles.routes(context),
        *shares.routes(context),
        *share_pages.routes(context),
        *studies.routes(context),
        *study_storage.routes(context),
        *status.routes(context),
        *tokens.routes(context),
        *users.routes(context),
        *archives.routes(context, objects),
        *audit.routes(context),
        *integrity.routes(context),
        *backups.routes(context),
        *nodes.routes(context),
        *patients.routes(context),
        *searches.routes(context),
        *settings.routes(context),
        *system.routes(context),
        *tags.routes(context, objects),
    ]
    described = json_answer(document(declared))

    async def describe(_: Request) -> Answer:
        return described

    summary = "This description (OpenAPI 3.1)"
    path = "/api/v1/openapi.json"
    return [
        *declared,
        Route(method="GET", path=path, access=Access.PUBLIC, handler=describe, summary=summary),
    ]
