"""Every kind of store, behind the same fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aioboto3
import pytest

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.lifecycle.stores.opening import make_store
from tests.azure_server import Azurite
from tests.pacs_actors.lifecycle.stores.helpers import prefix_of
from tests.pacs_actors.lifecycle.stores.misbehaving import misbehaving
from tests.pacs_actors.lifecycle.stores.sites import AzureSite, S3Site, Site
from tests.seaweed import Seaweed


@pytest.fixture(scope="session")
def boto_session() -> Any:
    return aioboto3.Session()


@pytest.fixture(autouse=True)
def descriptions_are_read_once(boto_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening an S3 store takes a tenth of a second, nearly all of it for botocore's description of S3."""
    monkeypatch.setattr(aioboto3, "Session", lambda: boto_session)


@pytest.fixture(params=["folder", "s3", "azure"])
def store_settings(request: pytest.FixtureRequest, tmp_path: Path) -> LifecycleStoreSettings:
    """Small parts, so that little is large."""
    if request.param == "folder":
        (tmp_path / "copies").mkdir()
        return LifecycleStoreSettings(kind="folder", path=str(tmp_path / "copies"), reserve_bytes=0)
    server: Seaweed | Azurite = request.getfixturevalue({"s3": "seaweed", "azure": "azurite"}[request.param])
    return server.settings(prefix=prefix_of(request.node.name), part_bytes=5 * 1024**2, connections=4)


@pytest.fixture
async def store(store_settings: LifecycleStoreSettings) -> AsyncIterator[TierStore]:
    async with make_store("cold", store_settings) as opened:
        yield opened


@pytest.fixture(params=["s3", "azure"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A remote store behind a proxy, with small parts and few attempts."""
    server, make = {"s3": ("seaweed", S3Site), "azure": ("azurite", AzureSite)}[request.param]
    running = request.getfixturevalue(server)
    prefix = prefix_of(request.node.name)
    async with misbehaving(running.port) as proxy:
        yield make(running, proxy, prefix=prefix, part_bytes=5 * 1024**2, connections=3, attempts=4)


@pytest.fixture
async def remote(site: Site) -> AsyncIterator[TierStore]:
    async with make_store("cold", site.settings) as opened:
        yield opened
