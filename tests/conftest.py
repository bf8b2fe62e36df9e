"""Files that take long are handed out first: the last one to begin decides when all is over."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.azure_server import azurite
from tests.seaweed import seaweed

__all__ = ["azurite", "seaweed"]

LONG = (
    "tests/panel/test_storage.py", "tests/system/test_viewer.py", "tests/system/test_proxy.py", "tests/panel/", "tests/faults/",
    "tests/system/test_backup.py", "tests/pacs_actors/lifecycle/stores/test_remote_faults.py", "tests/system/test_reconcile.py",
    "tests/system/test_access.py", "tests/system/test_api_schema.py", "tests/system/test_viewer_rights.py",
    "tests/system/test_shares.py", "tests/system/test_people.py", "tests/system/test_live.py", "tests/system/test_tiers.py",
    "tests/system/test_nodes.py", "tests/bench/test_web.py", "tests/bench/test_suites.py", "tests/system/",
)  # fmt: skip
"""The longest first. xdist keeps this order only if it is told so (``make test``); else files with many tests come first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the same order in every process, as pytest-xdist wants it; within a file nothing moves."""

    def place(item: pytest.Item) -> int:
        return next((n for n, path in enumerate(LONG) if item.nodeid.startswith(path)), len(LONG))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """What a test that serves settings does to the level of the log ends with it."""
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)
