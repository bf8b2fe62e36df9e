"""Stands in for whatever a constructor wants, where only the declarations that it leads to are looked at."""

from __future__ import annotations

from typing import Any

from web import api, dicomweb
from web.http.routes import Route


class Anything:
    """Has every attribute, can be called, is empty and zero."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *_: object, **__: object) -> Any:
        return Anything()

    def __iter__(self) -> Any:
        return iter(())

    def __int__(self) -> int:
        return 0

    __index__ = __int__

    def __fspath__(self) -> str:
        return "nowhere"


def declared_routes() -> list[Route]:
    """Every route of DICOMweb and of the API, as it is declared."""
    context: Any = Anything()
    return [*dicomweb.routes(context), *api.routes(context)]
