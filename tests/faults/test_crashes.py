"""Actors that crash, and workers that freeze (F32): they are started again, their siblings go on, no image is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from config.settings import (
    DatabaseSettings,
    DicomSettings,
    IndexSettings,
    ServerSettings,
    Settings,
    StorageSettings,
)
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.dicom.client import (
    ASSOCIATION_ERRORS,
    VERIFICATION,
    Peer,
    RequestFailed,
    associate,
    for_find,
)
from pacs_actors.node_page import ACCEPTING, NodePage
from protocols.dimse.commands import CommandField
from protocols.errors import OutOfResources
from supervisors.node import listen
from supervisors.orders import WorkerOrders
from supervisors.supervisor import Child, RestartsExhausted
from supervisors.tree import WorkerTree
from tests.faults.images import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN, Image, new_uid
from tests.faults.judge import judge
from tests.faults.load import CALLING, STORAGE, Ledger, Load, wait_until
from tests.faults.one_ingest import check
from tests.faults.rig import Rig
from tests.postgres_fixture import Server as Postgres
from tests.postgres_fixture import postgres
from tests.stored_objects import StoredObject, stored_objects
from tests.system.server import running

__all__ = ["postgres"]

OUT_OF_RESOURCES = 0xA700
FROZEN_AFTER_S = 5


class Bug(Exception):
    """What nobody expected."""


class Trap:
    """Stands in for a method, and raises ``error`` the first ``times`` that it is called, before anything is awaited."""

    def __init__(self, method: Callable[..., Any], error: Exception, times: int) -> None:
        self.method, self.error, self.left = method, error, times

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if self.left:
                self.left -= 1
                raise self.error
            return self.method(instance, *arguments, **more)

        return call


def trap(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, error: Exception | None = None, times: int = 1
) -> None:
    monkeypatch.setattr(owner, name, Trap(getattr(owner, name), error or Bug(name), times))


class Worker:
    """A worker's tree in this process.

    port:  of its DICOM listener
    """

    def __init__(self, tree: WorkerTree, port: int) -> None:
        self.tree, self.port = tree, port

    def peer(self) -> Any:
        return associate(
            "127.0.0.1",
            self.port,
            called="PACS",
            calling=CALLING,
            contexts=(*STORAGE, *for_find(), *VERIFICATION),
        )

    def crashes(self, child: Child) -> int:
        return sum(vitals.crashes for _, vitals in child.walk())


@asynccontextmanager
async def worker(data: Path, dsn: str, *, backlog: int = 20_000) -> AsyncIterator[Worker]:
    """Run it until the block ends, then drain it."""
    settings = Settings(
        server=ServerSettings(data=str(data), workers=1, restart_crashes=3),
        dicom=DicomSettings(),
        storage=StorageSettings(reserve_bytes=0, writer_threads=2, backlog=backlog),
        index=IndexSettings(catch_up_s=5.0),
        database=DatabaseSettings(url=dsn, connections=3),
    )
    dicom, web = listen("127.0.0.1", 0, "dicom.port"), listen("127.0.0.1", 0, "web.port")
    port = dicom.getsockname()[1]
    page = NodePage(NodePage.create(1).fd, 1, 0)
    tree = WorkerTree(WorkerOrders(settings, 0, 1, page.fd, dicom.detach(), None, web.detach(), dsn), page)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tree.run)
        with trio.fail_after(30):
            while page.state(0) != ACCEPTING:
                await trio.sleep(0.01)
        yield Worker(tree, port)
        tree.drain()


def new_image() -> Image:
    return Image(new_uid(), new_uid(), 1)


async def stored_count(peer: Peer, image: Image) -> int:
    """Instances that C-FIND gives for the image's study."""
    keys = {"StudyInstanceUID": image.study_uid, "NumberOfStudyRelatedInstances": ""}
    async with peer.find(keys) as answers:
        return sum([int(one.text("NumberOfStudyRelatedInstances")) async for one in answers])


def objects(data: Path) -> list[StoredObject]:
    return stored_objects(data)


@pytest.fixture
def dsn(postgres: Postgres) -> str:
    return postgres.create_database()


async def test_writer_that_crashes_refuses_one_image_and_is_started_again(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap(monkeypatch, LocalObjectStore, "start_commit")
    image, other = new_image(), new_image()
    async with worker(tmp_path, dsn) as it, it.peer() as peer:
        assert (await peer.store(image.part10)).status == OUT_OF_RESOURCES
        assert (await peer.store(image.part10)).status == 0
        assert (await peer.store(other.part10)).status == 0
        assert [await stored_count(peer, one) for one in (image, other)] == [1, 1]
        assert it.crashes(it.tree.writers) == 1
    assert len(objects(tmp_path)) == 2


async def test_indexer_that_crashes_keeps_its_batch(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap(monkeypatch, Catalogue, "index_batch", times=2)
    images = [new_image() for _ in range(5)]
    async with worker(tmp_path, dsn) as it, it.peer() as peer:
        for image in images:
            assert (await peer.store(image.part10)).status == 0
        assert [await stored_count(peer, image) for image in images] == [1] * len(images)
        assert it.crashes(it.tree.indexing) == 2


async def test_responder_that_crashes_fails_one_query(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap(monkeypatch, Catalogue, "find_page")
    image = new_image()
    async with worker(tmp_path, dsn) as it, it.peer() as peer:
        assert (await peer.store(image.part10)).status == 0
        with pytest.raises(RequestFailed):
            await stored_count(peer, image)
        assert await stored_count(peer, image) == 1
        assert it.crashes(it.tree.responding) == 1


async def test_association_that_crashes_is_aborted_and_its_sibling_notices_nothing(
    tmp_path: Path, dsn: str
) -> None:
    async with worker(tmp_path, dsn) as it, it.peer() as sibling:
        (listener,) = it.tree.listeners
        services = dict(listener.services)

        async def fail(*_: object) -> None:
            raise Bug("echo")

        listener.services = services | {CommandField.C_ECHO_RQ: fail}
        with pytest.raises(ASSOCIATION_ERRORS):
            async with it.peer() as victim:
                await victim.echo()
        await sibling.echo()
        assert (await sibling.store(new_image().part10)).status == 0
        assert it.crashes(it.tree.edge) == 0


async def test_worker_that_drains_before_the_database_has_tables_ends_in_peace(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(WorkerTree, "_keep_schema", keep)
    async with worker(tmp_path, dsn) as it:
        assert not it.tree.board.schema_stands
    assert it.tree.drained


async def test_actor_that_crashes_for_ever_ends_the_worker(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: restarts have a limit, beyond which the parent has to decide; and what was acknowledged is found by the next."""
    image = new_image()
    with monkeypatch.context() as broken:
        trap(broken, Catalogue, "index_batch", times=1000)
        with pytest.RaisesGroup(
            pytest.RaisesExc(RestartsExhausted), flatten_subgroups=True, allow_unwrapped=True
        ):
            async with worker(tmp_path, dsn) as it, it.peer() as peer:
                assert (await peer.store(image.part10)).status == 0
                await trio.sleep_forever()
    async with worker(tmp_path, dsn) as it, it.peer() as peer:
        assert await stored_count(peer, image) == 1


async def test_copy_that_a_read_only_store_cannot_remove_waits_for_the_next_start(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries go on meanwhile: the indexer does not crash on it."""
    image = new_image()
    with monkeypatch.context() as broken:
        trap(
            broken,
            LocalObjectStore,
            "remove",
            error=OutOfResources("the object store is read-only"),
            times=1000,
        )
        async with worker(tmp_path, dsn) as it, it.peer() as peer:
            assert (await peer.store(image.part10)).status == 0
            assert await stored_count(peer, image) == 1
            assert (await peer.store(image.part10)).status == 0
            assert await stored_count(peer, image) == 1
            assert it.crashes(it.tree.indexing) == 0
    assert len(objects(tmp_path)) == 2
    async with worker(tmp_path, dsn) as it, it.peer() as peer:
        assert await stored_count(peer, image) == 1
    (left,) = objects(tmp_path)
    assert left.is_whole


async def test_large_recovery_leaves_the_index_places_for_new_images(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that is durable and finds no place on its way to the index would be missing there, and hold up every query."""
    await store_unindexed(tmp_path, 3000)
    indexing_may_go_on = trio.Event()
    index_batch = Catalogue.index_batch

    async def held(self: Catalogue, *arguments: Any, **more: Any) -> Any:
        await indexing_may_go_on.wait()
        return await index_batch(self, *arguments, **more)

    monkeypatch.setattr(Catalogue, "index_batch", held)
    image = new_image()
    async with worker(tmp_path, dsn, backlog=100) as it, it.peer() as peer:
        with trio.fail_after(30):
            while it.tree.index.depth < 400:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert (await peer.store(image.part10)).status == 0
        indexing_may_go_on.set()
        with trio.fail_after(30):
            while it.tree.page.lag() or it.tree.index.depth:
                await trio.sleep(0.01)
        assert await stored_count(peer, image) == 1


async def store_unindexed(data: Path, images: int) -> None:
    """Leave images behind as a server does that was killed before it indexed them."""
    settings = StorageSettings(reserve_bytes=0, writer_threads=4)
    study, series = new_uid(), new_uid()

    async def store(store: LocalObjectStore, numbers: range) -> None:
        for number in numbers:
            image = Image(study, series, number, pixel_bytes=64)
            with await store.stage(CT_IMAGE, image.uid, EXPLICIT_VR_LITTLE_ENDIAN, "FAULTS") as staging:
                await staging.write(image.data_set)
                await store.commit(staging, check)

    async with LocalObjectStore(data, 0, settings) as store_, trio.open_nursery() as nursery:
        for first in range(8):
            nursery.start_soon(store, store_, range(first, images, 8))


# What Python runs at its start: the first worker to come hangs there, or as soon as it has said that it starts.
HANGING = """
import os, sys, time
if "supervisors.worker" in sys.orig_argv:
    def hang():
        try:
            os.unlink(os.environ["HANG_ONCE"])
        except FileNotFoundError:
            return
        time.sleep(3600)
    if os.environ["HANG_AT"] == "import":
        hang()
    from pacs_actors.node_page import STARTING, NodePage
    honest = NodePage.set_state
    def set_state(self, state, slot=None):
        honest(self, state, slot)
        if state == STARTING:
            hang()
    NodePage.set_state = set_state
"""


@pytest.mark.parametrize("at", ["starting", pytest.param("import", marks=pytest.mark.slow)])
def test_worker_that_hangs_in_its_start_is_replaced(tmp_path: Path, at: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HANGING)
    once = tmp_path / "hang"
    once.touch()
    path = os.pathsep.join((str(tmp_path / "site"), str(Path(__file__).resolve().parents[2])))
    environment = {"PYTHONPATH": path, "HANG_ONCE": str(once), "HANG_AT": at}
    rig = Rig(tmp_path / "data", workers=1, environment=environment, options=("--server.start-within-s", "5"))
    with running(rig):
        assert not once.exists()
        assert rig.logged("worker_start_hung")
        rig.worker_pids()


@pytest.mark.slow
def test_frozen_worker_is_replaced_and_nothing_is_lost(tmp_path: Path, ledger: Ledger) -> None:
    options = ("--server.frozen-after-s", str(FROZEN_AFTER_S))
    rig = Rig(tmp_path / "data", options=options)
    with running(rig), Load(rig, ledger, senders=4) as load:
        load.wait_acknowledged(20)
        frozen, awake = rig.worker_pids()
        os.kill(frozen, signal.SIGSTOP)
        try:
            wait_until(lambda: bool(rig.logged("worker_frozen")), 60, "the parent notices")
            wait_until(lambda: len(rig.logged("recovery_done")) == 3, 60, "another is in its place")
            load.wait_acknowledged(20)
        finally:
            if Path(f"/proc/{frozen}").exists():
                os.kill(frozen, signal.SIGCONT)
        load.stop()
        assert awake in rig.worker_pids()
        judge(rig, ledger)
