"""Each test of the store, for both of its layouts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pacs_actors.archive.objects.local import LocalObjectStore
from tests.stored_objects import LAYOUTS, SEGMENTS

from . import helpers


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the stores that the test opens lay out what comes in."""
    monkeypatch.setattr(helpers, "LAYOUT", request.param)
    return str(request.param)


@pytest.fixture
def segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stores that the test opens pack what comes in."""
    monkeypatch.setattr(helpers, "LAYOUT", SEGMENTS)


@pytest.fixture
async def store(segments: None, tmp_path: Path) -> AsyncIterator[LocalObjectStore]:
    """A store with segments."""
    async with helpers.open_store(tmp_path) as opened:
        yield opened
