"""The client sends objects to pynetdicom: byte for byte, and what becomes of those that a peer does not take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pynetdicom import evt

from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.dicom import client, client_store
from pacs_actors.dicom.client import (
    ContextNotAccepted,
    associate,
    for_storage,
)
from pacs_actors.dicom.client_files import open_file, read_file
from protocols.dimse.status import StatusKind
from tests.pacs_actors.dicom.client_peers import pynetdicom_peer

CT = Path(get_testdata_file("CT_small.dcm"))
MR = Path(get_testdata_file("MR_small.dcm"))
NAMES = {"called": "PEER", "calling": "TEST"}


@pytest.fixture
def received() -> list[tuple[str, str, bytes]]:
    return []


@pytest.fixture
def storage(received: list[tuple[str, str, bytes]]) -> Callable[[int], list[Any]]:
    def handlers(status: int = 0) -> list[Any]:
        def take(event: Any) -> int:
            request = event.request
            received.append(
                (
                    str(request.AffectedSOPInstanceUID),
                    event.context.transfer_syntax,
                    request.DataSet.getvalue(),
                )
            )
            return status

        return [(evt.EVT_C_STORE, take)]

    return handlers


@pytest.mark.parametrize("max_pdu", [0, 1024, 16382, 1 << 20])
async def test_the_data_set_arrives_byte_for_byte(
    max_pdu: int, storage: Any, received: list[tuple[str, str, bytes]]
) -> None:
    path = Path(get_testdata_file("JPEG2000.dcm"))  # 26 KB, compressed
    files = [read_file(CT), read_file(path)]
    with pynetdicom_peer(
        storage(), max_pdu=max_pdu, transfer_syntaxes=[f.transfer_syntax_uid for f in files]
    ) as port:
        contexts = for_storage(file.context for file in files)
        async with associate("127.0.0.1", port, **NAMES, contexts=contexts) as peer:
            for source in (CT, path, files[0], CT.read_bytes()):
                result = await peer.store(source)
                assert (result.status, result.kind) == (0, StatusKind.SUCCESS)
    sent = [file.path.read_bytes()[file.data_offset :] for file in (*files, files[0], files[0])]
    assert [data for _, _, data in received] == sent
    assert received[1][:2] == (files[1].sop_instance_uid, files[1].transfer_syntax_uid)


async def test_an_object_larger_than_the_arena_arrives_whole(
    tmp_path: Path, storage: Any, received: list[tuple[str, str, bytes]]
) -> None:
    dataset = dcmread(CT)
    dataset.PixelData = bytes(range(256)) * 4096 * 5  # 5 MiB
    dataset.Rows, dataset.Columns = 2560, 1024
    dataset.save_as(tmp_path / "large.dcm")
    file = read_file(tmp_path / "large.dcm")
    with pynetdicom_peer(storage(), max_pdu=0) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_storage([file.context])) as peer:
            assert (await peer.store(file)).kind is StatusKind.SUCCESS
    assert received[0][2] == file.path.read_bytes()[file.data_offset :]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0111, StatusKind.WARNING),
        (0xB000, StatusKind.WARNING),
        (0xB007, StatusKind.WARNING),
        (0xA700, StatusKind.FAILURE),
        (0xC123, StatusKind.FAILURE),
    ],
)
async def test_every_status_is_an_answer_and_the_association_goes_on(
    status: int, kind: StatusKind, storage: Any, received: list[tuple[str, str, bytes]]
) -> None:
    with pynetdicom_peer(storage(status)) as port:
        async with associate(
            "127.0.0.1", port, **NAMES, contexts=for_storage([read_file(CT).context])
        ) as peer:
            for _ in range(2):
                result = await peer.store(CT)
                assert (result.status, result.kind) == (status, kind)
                assert f"{status:04X}H" in result.words
    assert len(received) == 2


async def test_what_the_peer_does_not_take_fails_alone(storage: Any) -> None:
    ct, mr = read_file(CT), read_file(MR)
    with pynetdicom_peer(storage()) as port:
        contexts = [*for_storage([ct.context]), *for_storage([(ct.sop_class_uid, "1.2.840.10008.1.2.4.80")])]
        async with associate("127.0.0.1", port, **NAMES, contexts=contexts) as peer:
            with pytest.raises(ContextNotAccepted, match="MR Image Storage") as refused:
                await peer.store(mr)
            assert refused.value.transfer_syntax_uid == mr.transfer_syntax_uid
            assert not peer.accepts(*mr.context)
            assert not peer.accepts(ct.sop_class_uid, "1.2.840.10008.1.2.4.80")
            assert (await peer.store(ct)).kind is StatusKind.SUCCESS
            with pytest.raises(client.NotDicom):
                await peer.store(b"no DICOM at all")
            with pytest.raises(client.FileUnreadable):
                await peer.store(Path("/nonexistent/file"))
            assert (await peer.store(ct)).kind is StatusKind.SUCCESS


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm"])
async def test_an_uncompressed_file_is_converted_for_a_peer_that_takes_another_syntax_only(
    name: str, storage: Any, received: list[tuple[str, str, bytes]]
) -> None:
    path = Path(get_testdata_file(name))
    file, implicit = read_file(path), "1.2.840.10008.1.2"
    contexts = for_storage([file.context], alternatives=True)
    with pynetdicom_peer(storage(), transfer_syntaxes=[implicit]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=contexts) as peer:
            with pytest.raises(ContextNotAccepted):
                await peer.store(path)
        async with (
            Transcoder() as transcoder,
            associate("127.0.0.1", port, **NAMES, contexts=contexts, transcoder=transcoder) as peer,
        ):
            result = await peer.store(path)
    assert (result.kind, result.transfer_syntax_uid) == (StatusKind.SUCCESS, implicit)
    ((uid, syntax, data),) = received
    assert (uid, syntax) == (file.sop_instance_uid, implicit)
    sent = read_dataset(DicomBytesIO(data), is_implicit_VR=True, is_little_endian=True)
    original = dcmread(path)
    sent.file_meta = FileMetaDataset()
    sent.file_meta.TransferSyntaxUID = implicit
    assert sent.pixel_array.tolist() == original.pixel_array.tolist()
    assert (sent.PatientName, sent.StudyInstanceUID) == (original.PatientName, original.StudyInstanceUID)


@pytest.mark.parametrize(("extra", "is_harmed"), [(4096, False), (64 << 20, True)])
async def test_a_file_that_shrinks_under_us_is_told(
    extra: int, is_harmed: bool, tmp_path: Path, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shrinks.dcm"
    path.write_bytes(CT.read_bytes() + (bytes(2 << 20) if is_harmed else b""))

    def opened_before(path: Path) -> tuple[client.DicomFile, int]:
        file, fd = open_file(path)
        return msgspec.structs.replace(file, size_bytes=file.size_bytes + extra), fd

    with pynetdicom_peer(storage()) as port:
        contexts = for_storage([read_file(CT).context])
        async with associate("127.0.0.1", port, **NAMES, contexts=contexts) as peer:
            with monkeypatch.context() as patch:
                patch.setattr(client_store, "open_file", opened_before)
                with pytest.raises(client.ObjectDamaged):
                    await peer.store(path)
            # Half an object cannot be taken back, but one of which nothing has been sent can.
            assert peer.is_over is is_harmed
            if not is_harmed:
                assert (await peer.store(path)).kind is StatusKind.SUCCESS


async def test_a_store_that_is_cancelled_leaves_no_file_open(tmp_path: Path) -> None:
    came, go_on = threading.Event(), threading.Event()

    def take(event: Any) -> int:
        came.set()
        go_on.wait(10)
        return 0

    def open_here() -> int:
        return sum(link.resolve() == CT.resolve() for link in Path("/proc/self/fd").iterdir())

    with pynetdicom_peer([(evt.EVT_C_STORE, take)]) as port:
        contexts = for_storage([read_file(CT).context])
        async with associate("127.0.0.1", port, **NAMES, contexts=contexts) as peer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.store, CT)
                assert await trio.to_thread.run_sync(came.wait, 10)
                nursery.cancel_scope.cancel()
            assert open_here() == 0
            assert peer.is_over
        go_on.set()
