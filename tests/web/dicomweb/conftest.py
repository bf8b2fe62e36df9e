"""DICOMweb's routes over a real index and a folder of objects, without a server: requests as the gate hands them on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import asyncpg
import msgspec
import pytest
from hypercorn.typing import HTTPScope

from config.settings import DatabaseSettings, Settings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.scope import EVERYTHING, StudyScope
from pacs_actors.database import Database
from pacs_actors.migrations import migrate
from pacs_actors.people.rights import Action, Principal
from pacs_actors.threads import NativePool
from protocols.errors import PacsError
from tests.postgres_fixture import Server, postgres
from web.context import WebContext
from web.http.answer import Answer, of_error
from web.http.request import Request
from web.http.routes import Route, RouteTable

__all__ = ["context", "migrated", "postgres"]


class CaughtUp:
    """Progress of an index that has caught up, of a node that is alone."""

    others = None

    def __init__(self) -> None:
        self.page = self

    def watermark(self) -> int:
        return 1

    def behind(self, _: int) -> bool:
        return False


class Told:
    """What the audit was told."""

    def __init__(self) -> None:
        self.queries: list[tuple[str, str, int]] = []

    async def queried(self, by: Any, level: str, keys: dict[str, Any], matches: int, outcome: str) -> None:
        self.queries.append((by.who, level, matches))


class Web:
    """asks the routes that ``routes`` makes of the context"""

    def __init__(
        self, context: WebContext, routes: Callable[[WebContext], Sequence[Route]], told: Told
    ) -> None:
        self.context, self.told, self._table = context, told, RouteTable(routes(context))

    async def get(
        self, path: str, scope: StudyScope = EVERYTHING, *, name: str = "somebody", **headers: str
    ) -> Answer:
        path, _, query = path.partition("?")
        given = {"host": "pacs.example", **headers}
        asgi = {
            "type": "http", "method": "GET", "path": path, "scheme": "https", "client": ("10.0.0.1", 1),
            "query_string": quote(query, safe="=&%,*-").encode(),
            "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in given.items()],
        }  # fmt: skip

        async def nothing() -> AsyncIterator[bytes]:
            yield b""

        request = Request(cast(HTTPScope, asgi), nothing)
        found = self._table.find("GET", path)
        assert found is not None and found.route is not None, path
        request.values, request.principal = found.values, Principal(name, frozenset(Action), scope)
        try:
            return await found.route.handler(request)
        except PacsError as refusal:
            return of_error(refusal)


@pytest.fixture(scope="session")
def migrated(postgres: Server) -> str:
    """Name of a migrated, empty database to copy."""
    dsn = postgres.create_database()

    async def prepare() -> None:
        connection = await asyncpg.connect(dsn)
        await migrate(connection)
        await connection.close()

    asyncio.run(prepare())
    return dsn.split("/")[3].split("?")[0]


@pytest.fixture
async def context(postgres: Server, migrated: str, tmp_path: Path) -> AsyncIterator[WebContext]:
    dsn = postgres.create_database(template=migrated)
    async with Database(dsn, DatabaseSettings(connections=3)) as database, NativePool(2, "web") as native:
        settings = Settings()
        settings = msgspec.structs.replace(
            settings, server=msgspec.structs.replace(settings.server, data=str(tmp_path / "data"))
        )
        archive = SimpleNamespace(
            settings=settings,
            catalogue=Catalogue(database),
            progress=CaughtUp(),
            native=native,
            audit=Told(),
            store=None,
        )
        yield WebContext(settings, cast(Any, archive), *[cast(Any, None)] * 5)
