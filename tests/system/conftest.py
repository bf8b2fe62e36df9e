"""Servers for the tests of a module, or of all of them, and an archive that holds what may come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.uid import generate_uid

from tests.browser import browser, browser_mark, visit
from tests.system.dicomweb import Client
from tests.system.peers import SHARED, Instance, bundled, example, from_file, send
from tests.system.server import Server, free_port, running
from tests.system.wado import Archive, image

__all__ = ["browser", "browser_mark", "visit"]

PRIVATE_CLASS = "1.2.826.0.1.3680043.9.7433.9.1"


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


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A server that holds pydicom's files and ours."""
    with running(Server(tmp_path_factory.mktemp("wado") / "data")) as server:
        archive = Archive(server)
        found: dict[str, Instance] = {}
        for path in [*bundled(), *sorted((SHARED / "dicom" / "synthetic").glob("*.dcm"))]:
            one = from_file(path)
            if one is not None:
                found.setdefault(one.uid, one)
        statuses = send(server, *found.values())
        archive.stored = [one for one, status in zip(found.values(), statuses, strict=True) if status == 0]
        assert len(archive.stored) > 50
        yield archive


@pytest.fixture
def client(archive: Archive) -> Iterator[Client]:
    with archive.client() as client:
        yield client


@pytest.fixture(scope="module")
def ct(archive: Archive) -> list[Instance]:
    """A series of five."""
    study, series = generate_uid(), generate_uid()
    made = [image(study, series, number) for number in range(1, 6)]
    archive.store(*made)
    return made


@pytest.fixture(scope="module")
def rle(archive: Archive) -> Instance:
    one = example("MR_small_RLE.dcm")
    archive.store(one)
    return one
