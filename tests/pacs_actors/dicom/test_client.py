"""The client against pynetdicom: every service, and what a peer may say no to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pynetdicom import build_context, evt

from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.dicom import client, client_store
from pacs_actors.dicom.client import (
    VERIFICATION,
    AssociationOver,
    AssociationRejected,
    ContextNotAccepted,
    PeerGone,
    RequestFailed,
    associate,
    for_find,
    for_get,
    for_move,
    for_storage,
)
from pacs_actors.dicom.client_files import open_file, read_file
from pacs_actors.dicom.client_retrieve import SubOperationCounts
from protocols.dimse.status import StatusKind
from protocols.errors import ConfigError, OutOfResources
from tests.pacs_actors.dicom.client_peers import pynetdicom_peer

CT = Path(get_testdata_file("CT_small.dcm"))
MR = Path(get_testdata_file("MR_small.dcm"))
NAMES = {"called": "PEER", "calling": "TEST"}


def answer(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


# -- verification and association -----------------------------------------------------------------------------------


async def test_echo_is_answered_again_and_again() -> None:
    echoes: list[int] = []

    def echoed(event: Any) -> int:
        echoes.append(event.request.MessageID)
        return 0

    with pynetdicom_peer([(evt.EVT_C_ECHO, echoed)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION) as peer:
            for _ in range(3):
                assert 0 <= await peer.echo() < 10
    assert echoes == [1, 2, 3]


async def test_a_failed_echo_says_its_status_and_leaves_the_association() -> None:
    statuses = iter([0x0211, 0x0000])
    with pynetdicom_peer([(evt.EVT_C_ECHO, lambda event: next(statuses))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION) as peer:
            with pytest.raises(RequestFailed, match="Unrecognized operation \\(0211H\\)"):
                await peer.echo()
            await peer.echo()


async def test_a_clean_end_releases_and_an_exception_aborts() -> None:
    ends: list[str] = []
    ended = threading.Semaphore(0)

    def note(event: Any) -> None:
        ends.append(event.event.name)
        ended.release()

    handlers = [(evt.EVT_RELEASED, note), (evt.EVT_ABORTED, note)]
    with pynetdicom_peer(handlers) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
            pass
        assert await trio.to_thread.run_sync(ended.acquire, True, 10)
        with pytest.raises(ZeroDivisionError):
            async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
                raise ZeroDivisionError
        assert await trio.to_thread.run_sync(ended.acquire, True, 10)
    assert ends == ["EVT_RELEASED", "EVT_ABORTED"]


async def test_a_wrong_called_title_is_told_in_words() -> None:
    with (
        pynetdicom_peer(called="OTHER") as port,
        pytest.raises(AssociationRejected, match="does not answer to this called AE title") as rejected,
    ):
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
            pass
    assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (1, 1, 7)
    assert not rejected.value.is_transient


async def test_too_many_associations_are_rejected_for_now() -> None:
    with pynetdicom_peer(maximum_associations=1) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
            with pytest.raises(AssociationRejected, match="try again later") as rejected:
                async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
                    pass
    assert rejected.value.is_transient


@pytest.mark.parametrize("title", ["", "   ", "seventeen letters", "back\\slash", "café"])
async def test_a_title_that_is_none_is_a_mistake_of_ours(title: str) -> None:
    with pytest.raises(ConfigError, match="AE title"):
        async with associate("127.0.0.1", 1, called=title, calling="TEST", contexts=VERIFICATION):
            pass


async def test_nobody_listening_is_told_in_the_systems_words() -> None:
    from tests.system.server import free_port

    with pytest.raises(PeerGone) as gone:
        async with associate("127.0.0.1", free_port(), **NAMES, contexts=VERIFICATION):
            pass
    assert "refused" in (client.connection_problem(gone.value) or "")


# -- storage ----------------------------------------------------------------------------------------------------------


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


# -- query ------------------------------------------------------------------------------------------------------------


async def test_answers_come_decoded_one_by_one() -> None:
    asked: list[Dataset] = []

    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        name = answer(
            SpecificCharacterSet="ISO_IR 100", PatientName="Buc^Jérôme", NumberOfFrames="7", Rows=512
        )
        name.RequestAttributesSequence = [
            answer(ScheduledProcedureStepID="S1"),
            answer(RequestedProcedureID="R2"),
        ]
        yield 0xFF00, name
        japanese = answer(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
        yield 0xFF01, japanese

    with pynetdicom_peer([(evt.EVT_C_FIND, found)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_find()) as peer:
            answers = peer.find(
                {"PatientName": "*", "0010,0020": "", "StudyDate": "20200101-"}, level="IMAGE"
            )
            first, second = [each async for each in answers]
            assert answers.status == 0
    assert (asked[0].PatientName, asked[0].StudyDate, asked[0].QueryRetrieveLevel) == (
        "*",
        "20200101-",
        "IMAGE",
    )
    assert "PatientID" in asked[0]
    assert "SpecificCharacterSet" not in asked[0]
    assert first["PatientName"] == "Buc^Jérôme"
    assert (first.text("NumberOfFrames"), first.text("Rows"), first.text("StudyDate")) == ("7", "512", "")
    assert first["RequestAttributesSequence"] == [
        {"ScheduledProcedureStepID": "S1"},
        {"RequestedProcedureID": "R2"},
    ]
    assert second["PatientName"] == "Yamada^Tarou=山田^太郎"
    assert b"\x1b$B" in second.raw


async def test_a_key_outside_ascii_is_sent_with_its_character_set() -> None:
    asked: list[Dataset] = []

    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        yield 0x0000, None

    with pynetdicom_peer([(evt.EVT_C_FIND, found)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_find("patient")) as peer:
            keys = {"PatientName": "Müller*", "ScheduledProcedureStepSequence": [{"Modality": "CT"}]}
            assert [each async for each in peer.find(keys, level="PATIENT", root="patient")] == []
    assert asked[0].SpecificCharacterSet == "ISO_IR 192"
    assert str(asked[0].PatientName) == "Müller*"
    assert asked[0].ScheduledProcedureStepSequence[0].Modality == "CT"


async def test_a_failed_query_raises_after_its_answers() -> None:
    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, answer(PatientID="1")
        yield 0xA700, None

    with pynetdicom_peer([(evt.EVT_C_FIND, found)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*for_find(), *VERIFICATION]) as peer:
            answers = peer.find({"PatientID": ""})
            assert (await anext(answers))["PatientID"] == "1"
            with pytest.raises(RequestFailed, match="out of resources") as failed:
                await anext(answers)
            assert failed.value.status == 0xA700
            await peer.echo()


def await_cancel(event: Any) -> None:
    """On the peer's thread: until the C-CANCEL has come. pynetdicom has no way to wait for it but asking."""
    pause = threading.Event()
    for _ in range(2000):
        if event.is_cancelled:
            return
        pause.wait(0.01)
    raise AssertionError("no C-CANCEL came")


def endless(cancelled: threading.Event) -> Callable[[Any], Iterator[tuple[int, Dataset | None]]]:
    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(20):
            yield 0xFF00, answer(PatientID=str(number))
        await_cancel(event)
        cancelled.set()
        yield 0xFE00, None

    return found


@pytest.mark.parametrize("with_block", [True, False])
async def test_leaving_early_cancels_and_the_association_is_used_again(with_block: bool) -> None:
    cancelled = threading.Event()
    with pynetdicom_peer([(evt.EVT_C_FIND, endless(cancelled))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*for_find(), *VERIFICATION]) as peer:
            answers = peer.find({"PatientID": ""})
            if with_block:
                async with answers:
                    async for each in answers:
                        if each["PatientID"] == "3":
                            break
                assert cancelled.is_set()
            else:
                async for each in answers:
                    if each["PatientID"] == "3":
                        break
                assert not cancelled.is_set()
            await peer.echo()
            assert cancelled.is_set()
            assert answers.status == 0xFE00
            assert [each async for each in answers] == []


async def test_an_iterator_left_behind_is_cancelled_before_the_release() -> None:
    cancelled, released = threading.Event(), threading.Event()
    handlers = [(evt.EVT_C_FIND, endless(cancelled)), (evt.EVT_RELEASED, lambda event: released.set())]
    with pynetdicom_peer(handlers) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_find()) as peer:
            async for _ in peer.find({"PatientID": ""}):
                break
        assert cancelled.is_set()
        assert await trio.to_thread.run_sync(released.wait, 10)


async def test_keys_that_are_none_are_mistakes_of_ours() -> None:
    with pynetdicom_peer() as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*for_find(), *VERIFICATION]) as peer:
            for keys in ({"NoSuchKeyword": ""}, {"PixelData": "1"}, {"PatientName": [{}]}):
                with pytest.raises(ConfigError):
                    await anext(peer.find(keys))
            await peer.echo()


# -- retrieval --------------------------------------------------------------------------------------------------------


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
