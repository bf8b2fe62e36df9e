"""The REST API under ``/api/v1``: a file of this folder a resource."""

from __future__ import annotations

from web import share_pages
from web.api import deletions, login, me, oidc, roles, shares, status, studies, tokens, users
from web.api.openapi import document
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import Request
from web.http.routes import Access, Route


def routes(context: WebContext) -> list[Route]:
    """Every route of the API, and the one that describes them."""
    declared = [
        *deletions.routes(context),
        *login.routes(context),
        *me.routes(context),
        *oidc.routes(context),
        *roles.routes(context),
        *shares.routes(context),
        *share_pages.routes(context),
        *studies.routes(context),
        *status.routes(context),
        *tokens.routes(context),
        *users.routes(context),
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
