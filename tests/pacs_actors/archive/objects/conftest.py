"""Each test of the store, for both of its layouts."""

from __future__ import annotations

import pytest

from tests.stored_objects import LAYOUTS

from . import helpers


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the stores that the test opens lay out what comes in."""
    monkeypatch.setattr(helpers, "LAYOUT", request.param)
    return str(request.param)
