"""What the DICOMweb service can do (PS3.18 8.9): WADL, or JSON, made from the table of its routes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

from protocols.dicomweb.accept import Offer, negotiate
from web.dicomweb.paths import PREFIX
from web.http.answer import Answer
from web.http.request import Request
from web.http.routes import Access, Handler, Route

WADL: Final = "application/vnd.sun.wadl+xml"
_OFFERED: Final = (Offer(WADL), Offer("application/json"), Offer("application/dicom+json"))
_VARY: Final = ("vary", "accept")


def routes(served: Sequence[Route]) -> list[Route]:
    """served: the routes to tell about"""
    handler: Handler = partial(_tell, tuple(served))
    return [
        Route(
            method=method,
            path=PREFIX,
            access=Access.PUBLIC,
            handler=handler,
            summary="What this service can do: WADL, or JSON for who prefers it",
            tag="Capabilities",
        )
        for method in ("GET", "OPTIONS")
    ]


async def _tell(served: Sequence[Route], request: Request) -> Answer:
    asked = negotiate(request.headers.get("accept"), request.parameter("accept") or None, _OFFERED)
    base = request.root + PREFIX
    body = wadl(served, base) if asked.offer.name == WADL else msgspec.json.encode(described(served, base))
    return Answer(200, (("content-type", asked.offer.name), _VARY), body)


def described(served: Sequence[Route], base: str) -> dict[str, object]:
    """As JSON: ``{"base", "resources": [{"path", "methods": [{"method", "summary", "service", "parameters"}]}]}``."""
    resources = [
        {
            "path": path,
            "methods": [
                {
                    "method": route.method,
                    "summary": route.summary,
                    "service": route.tag,
                    "parameters": {name: told.description for name, told in route.parameters.items()},
                }
                for route in methods
            ],
        }
        for path, methods in _by_path(served).items()
    ]
    return {"base": base, "resources": resources}


def wadl(served: Sequence[Route], base: str) -> bytes:
    """As a Web Application Description Language document (W3C submission of 31 August 2009)."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<application xmlns="http://wadl.dev.java.net/2009/02" xmlns:xsd="http://www.w3.org/2001/XMLSchema">',
        f"<resources base={quoteattr(_printable(base))}>",
    ]
    for path, methods in _by_path(served).items():
        lines.append(f"<resource path={quoteattr(path)}>")
        lines += [
            f'<param name={quoteattr(segment[1:-1])} style="template" type="xsd:string" required="true"/>'
            for segment in path.split("/")
            if segment.startswith("{")
        ]
        for route in methods:
            lines.append(f"<method name={quoteattr(route.method)}>")
            lines.append(f"<doc>{escape(route.summary)}</doc>")
            lines.append("<request>")
            lines += [
                f'<param name={quoteattr(name)} style="query" type="xsd:string"><doc>{escape(told.description)}</doc></param>'
                for name, told in route.parameters.items()
            ]
            lines.append("</request></method>")
        lines.append("</resource>")
    lines.append("</resources></application>")
    return "\n".join(lines).encode()


def _by_path(served: Sequence[Route]) -> dict[str, list[Route]]:
    """In the order of declaration; paths below the service's root, without a slash before them."""
    found: dict[str, list[Route]] = {}
    for route in served:
        found.setdefault(route.path.removeprefix(f"{PREFIX}/"), []).append(route)
    return found


def _printable(text: str) -> str:
    """Without what XML cannot hold: the root is what the client sent as Host."""
    return "".join(character for character in text if character.isprintable())
