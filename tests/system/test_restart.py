"""What a server promises when it starts, and starts again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.server import Server, running


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this module's own: its tests stop and start it."""
    with running(Server(Path(tmp_path_factory.mktemp("restart")) / "data")) as server:
        yield server


def test_a_new_server_is_ready_only_when_it_has_its_tables(restarted: Server) -> None:
    """The fixture asks again as soon as it hears that the server is ready: the first answer counts."""
    assert restarted.get("/api/v1/status")[0] == 200
    assert restarted.sql("SELECT count(*) FROM studies") == ["0"]
