"""A server for the tests of a module, and the peers' programs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import browser, browser_mark, visit
from tests.system.server import Server, free_port, running

__all__ = ["browser", "browser_mark", "visit"]

PRIVATE_CLASS = "1.2.826.0.1.3680043.9.7433.9.1"


@pytest.fixture(scope="module")
def move_port() -> int:
    """Where the move destination DEST listens, when a test starts it."""
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, move_port: int) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with running(Server(folder / "data", nodes=[f"DEST=127.0.0.1:{move_port}"])) as server:
        yield server


@pytest.fixture(scope="session")
def node_port() -> int:
    """Where the known AE DEST of ``node`` listens, when a test starts it."""
    return free_port()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, node_port: int) -> Iterator[Server]:
    """One server for all tests that need nothing but instances of their own. GONE is known and never there."""
    folder = tmp_path_factory.mktemp("node")
    options = (f"--dicom.private-storage-classes={PRIVATE_CLASS}", "--dicom.max-find-results=1150")
    nodes = [f"DEST=127.0.0.1:{node_port}", f"GONE=127.0.0.1:{free_port()}"]
    with running(Server(folder / "data", options=options, nodes=nodes)) as server:
        yield server


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of people and their rights, who make users, roles and tokens of their own."""
    with running(Server(tmp_path_factory.mktemp("clinic") / "data", workers=2)) as server:
        yield server


def program(name: str) -> str:
    """Path of one of DCMTK's tools; skips the test where DCMTK is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} (DCMTK) is not installed")
    return str(Path(path))
