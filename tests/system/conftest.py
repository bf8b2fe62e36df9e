"""A server for the tests of a module, and the peers' programs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.server import Server, free_port, running


@pytest.fixture(scope="module")
def move_port() -> int:
    """Where the move destination DEST listens, when a test starts it."""
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, move_port: int) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with running(Server(folder / "data", nodes=[f"DEST=127.0.0.1:{move_port}"])) as server:
        yield server


def program(name: str) -> str:
    """Path of one of DCMTK's tools; skips the test where DCMTK is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} (DCMTK) is not installed")
    return str(Path(path))
