"""The client has pynetdicom move and send objects: what is counted, written, refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt

from pacs_actors.dicom import client
from pacs_actors.dicom.client import (
    VERIFICATION,
    AssociationOver,
    associate,
    for_get,
    for_move,
)
from pacs_actors.dicom.client_retrieve import SubOperationCounts
from protocols.dimse.status import StatusKind
from protocols.errors import OutOfResources
from tests.pacs_actors.dicom.client_peers import await_cancel, pynetdicom_peer

CT = Path(get_testdata_file("CT_small.dcm"))
MR = Path(get_testdata_file("MR_small.dcm"))
NAMES = {"called": "PEER", "calling": "TEST"}


async def test_move_counts_and_ends_with_a_result() -> None:
    def moved(event: Any) -> Iterator[Any]:
        assert event.move_destination == "DEST"
        yield None, None

    with pynetdicom_peer([(evt.EVT_C_MOVE, moved)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_move()) as peer:
            result = await peer.move({"StudyInstanceUID": "1.2"}, destination="DEST")
    assert (result.status, result.kind) == (0xA801, StatusKind.FAILURE)
    assert "A801H" in result.words


async def test_move_reports_progress_and_what_failed() -> None:
    instances = [dcmread(CT), dcmread(MR), dcmread(CT)]
    statuses = iter([0x0000, 0xC000, 0xB000])

    def moved(port: int) -> Callable[[Any], Iterator[Any]]:
        def handler(event: Any) -> Iterator[Any]:
            yield (
                "127.0.0.1",
                port,
                {"contexts": [build_context(dcmread(path).SOPClassUID) for path in (CT, MR)]},
            )
            yield len(instances)
            for instance in instances:
                yield 0xFF00, instance

        return handler

    seen: list[SubOperationCounts] = []
    with (
        pynetdicom_peer([(evt.EVT_C_STORE, lambda event: next(statuses))]) as destination,
        pynetdicom_peer([(evt.EVT_C_MOVE, moved(destination))]) as port,
    ):
        async with associate("127.0.0.1", port, **NAMES, contexts=for_move()) as peer:
            result = await peer.move({"StudyInstanceUID": "1.2"}, destination="DEST", progress=seen.append)
    assert (result.status, result.kind) == (0xB000, StatusKind.WARNING)
    assert (result.counts.completed, result.counts.failed, result.counts.warning) == (1, 1, 1)
    assert instances[1].SOPInstanceUID in result.failed_uids
    assert [counts.remaining for counts in seen[:3]] == [2, 1, 0]


async def test_move_is_cancelled_from_another_task() -> None:
    started = trio.Event()

    def moved(port: int) -> Callable[[Any], Iterator[Any]]:
        def handler(event: Any) -> Iterator[Any]:
            yield (
                "127.0.0.1",
                port,
                {"contexts": [build_context(dcmread(path).SOPClassUID) for path in (CT, MR)]},
            )
            yield 1000
            yield 0xFF00, dcmread(CT)
            await_cancel(event)
            yield 0xFE00, None

        return handler

    with (
        pynetdicom_peer([(evt.EVT_C_STORE, lambda event: 0)]) as destination,
        pynetdicom_peer([(evt.EVT_C_MOVE, moved(destination))]) as port,
    ):
        contexts = [*for_move(), *VERIFICATION]
        async with associate("127.0.0.1", port, **NAMES, contexts=contexts) as peer:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def cancel() -> None:
                    await started.wait()
                    await peer.cancel()
                    await peer.cancel()  # of no effect

                result = await peer.move(
                    {"StudyInstanceUID": "1.2"}, destination="DEST", progress=lambda _: started.set()
                )
            assert (result.status, result.kind) == (0xFE00, StatusKind.CANCEL)
            await peer.echo()


def sends(*instances: Dataset) -> Callable[[Any], Iterator[Any]]:
    def handler(event: Any) -> Iterator[Any]:
        yield len(instances)
        for instance in instances:
            yield 0xFF00, instance

    return handler


async def test_get_writes_part_10_files(tmp_path: Path) -> None:
    ct, mr = dcmread(CT), dcmread(MR)
    with pynetdicom_peer([(evt.EVT_C_GET, sends(ct, mr))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_get()) as peer:
            result = await peer.get({"StudyInstanceUID": "1.2"}, into=tmp_path / "new" / "folder")
    assert (result.status, result.counts.completed) == (0, 2)
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == sorted(f"{each.SOPInstanceUID}.dcm" for each in (ct, mr))
    for original in (ct, mr):
        copy = dcmread(tmp_path / "new" / "folder" / f"{original.SOPInstanceUID}.dcm")
        assert copy == original
        assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert copy.preamble == bytes(128)


async def test_get_that_cannot_write_refuses_each_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"{dcmread(CT).SOPInstanceUID}.dcm").mkdir()  # in the way
    with pynetdicom_peer([(evt.EVT_C_GET, sends(dcmread(CT), dcmread(MR)))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_get()) as peer:
            result = await peer.get({"StudyInstanceUID": "1.2"}, into=folder)
    assert (result.counts.completed, result.counts.failed) == (1, 1)
    assert {path.name for path in folder.iterdir()} == {
        f"{dcmread(path).SOPInstanceUID}.dcm" for path in (CT, MR)
    }


async def test_get_whose_folder_goes_away_skips_the_rest_of_each_object(tmp_path: Path) -> None:
    large = dcmread(CT)
    large.Rows, large.Columns, large.PixelData = 1536, 1024, bytes(3 << 20)
    folder = tmp_path / "folder"

    def handler(event: Any) -> Iterator[Any]:
        folder.rmdir()
        yield from sends(large, dcmread(MR))(event)

    with pynetdicom_peer([(evt.EVT_C_GET, handler)]) as port:
        contexts = [*for_get(limit=100), *VERIFICATION]
        async with associate("127.0.0.1", port, **NAMES, contexts=contexts) as peer:
            result = await peer.get({"StudyInstanceUID": "1.2"}, into=folder)
            await peer.echo()
    assert (result.counts.completed, result.counts.failed) == (0, 2)


async def test_get_without_a_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pynetdicom_peer() as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_get()) as peer:
            with pytest.raises(OutOfResources, match="cannot make"):
                await peer.get({"StudyInstanceUID": "1.2"}, into=tmp_path / "file" / "folder")


async def test_an_object_over_the_limit_ends_the_association_and_leaves_no_file(tmp_path: Path) -> None:
    with pynetdicom_peer([(evt.EVT_C_GET, sends(dcmread(CT)))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_get()) as peer:
            with pytest.raises(client.ASSOCIATION_ERRORS, match="over 10000 bytes"):
                await peer.get({"StudyInstanceUID": "1.2"}, into=tmp_path, max_object_bytes=10_000)
            with pytest.raises(AssociationOver):
                await peer.get({"StudyInstanceUID": "1.2"}, into=tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_receiver_of_ones_own_may_refuse(tmp_path: Path) -> None:
    class Picky:
        def __init__(self) -> None:
            self.seen: list[str] = []

        async def receive(self, arriving: client.Arriving) -> None:
            self.seen.append(arriving.sop_class_uid)
            raise OutOfResources("no room")

    picky = Picky()
    with pynetdicom_peer([(evt.EVT_C_GET, sends(dcmread(CT), dcmread(MR)))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_get()) as peer:
            result = await peer.get({"StudyInstanceUID": "1.2"}, into=picky)
    assert (result.kind, result.counts.failed) == (StatusKind.FAILURE, 2)
    assert picky.seen == [dcmread(CT).SOPClassUID, dcmread(MR).SOPClassUID]
