"""Rounds: few in a run of all tests, many in ``make test-faults``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.load import Ledger
from tests.faults.rig import Rig
from tests.system.server import running


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A server that the tests of a module break, one after the other; each leaves it running."""
    with running(Rig(tmp_path_factory.mktemp("rig") / "data")) as rig:
        assert isinstance(rig, Rig)
        yield rig


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a server logs whose data folder is going to be broken."""
    return tmp_path / "server.log"
