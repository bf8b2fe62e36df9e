"""STOW-RS against a running server: what is answered, what is stored, what hostile bodies get (CONFORMANCE 31-34)."""

from __future__ import annotations

import gzip
import json
import random
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from tests.system import peers, stow
from tests.system.conftest import PRIVATE_CLASS
from tests.system.dicomweb import Client, path_of
from tests.system.programs import program
from tests.system.server import Server, running

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def found(server: Server, instance: peers.Instance) -> bytes | None:
    """The stored file; None if the archive does not show the instance."""
    with Client(server) as client:
        accept = "application/dicom; transfer-syntax=*"
        reply = client.get(path_of(instance.study, instance.series, instance.uid), accept)
    return reply.body if reply.status == 200 else None


def siblings(number: int, **attributes: Any) -> list[peers.Instance]:
    """Of one patient and study, in series of their own."""
    common = {"StudyInstanceUID": generate_uid(), "PatientID": f"ID{generate_uid()[-20:]}", **attributes}
    return [peers.make(**common) for _ in range(number)]


def test_what_is_all_stored_is_answered_200_and_there_byte_for_byte(node: Server) -> None:
    instances = siblings(5)
    reply = stow.store(node, *instances)
    assert (reply.status, reply.content_type) == (200, "application/dicom+json"), reply
    root = f"{node.url}/dicom-web"
    study = f"{root}/studies/{instances[0].study}"
    assert reply.json()["00081190"] == {"vr": "UR", "Value": [study]}
    assert set(reply.json()) == {"00081190", "00081199"}
    for item, instance in zip(reply.items("00081199"), instances, strict=True):
        url = f"{study}/series/{instance.series}/instances/{instance.uid}"
        assert item == {
            "00081150": {"vr": "UI", "Value": [instance.sop_class]},
            "00081155": {"vr": "UI", "Value": [instance.uid]},
            "00081190": {"vr": "UR", "Value": [url]},
        }
        stored = found(node, instance)
        assert stored is not None and stored.endswith(instance.data)


def _under_a_new_uid(instance: peers.Instance) -> peers.Instance:
    """As long as its own: all other bytes stay. Others may have stored another object under that. What is deflated keeps it."""
    parts = instance.uid.split(".")
    longest = max(range(len(parts)), key=lambda each: len(parts[each]))
    digits = len(parts[longest])
    parts[longest] = str(random.randrange(10 ** (digits - 1), 10**digits))
    uid = ".".join(parts)
    data = instance.data.replace(instance.uid.encode(), uid.encode())
    return instance if data == instance.data else replace(instance, uid=uid, data=data)


def test_every_bundled_file_is_stored_as_it_is(node: Server) -> None:
    taken: list[peers.Instance] = []
    seen: set[str] = set()
    for path in peers.bundled():
        instance = peers.from_file(path)
        if instance is not None and len(instance.data) < 300_000 and instance.uid not in seen:
            seen.add(instance.uid)
            taken.append(_under_a_new_uid(instance))
    assert len(taken) > 30
    reply = stow.store(node, *taken)
    outcomes = dict.fromkeys(reply.stored, 0) | dict(reply.failed)
    wrong = {uid: reason for uid, reason in outcomes.items() if reason not in (0, 0x0122)}
    assert wrong == {} and len(outcomes) == len(taken)
    for instance in taken[:12]:
        if outcomes[instance.uid] == 0:
            stored = found(node, instance)
            assert stored is not None and stored.endswith(instance.data), instance.uid


def test_dicomweb_client_stores_and_reads_its_answer(node: Server) -> None:
    client = DICOMwebClient(f"{node.url}/dicom-web", headers={"Authorization": f"Bearer {node.token}"})
    name = str(get_testdata_file("CT_small.dcm"))
    dataset = dcmread(name)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = generate_uid()
    answer = client.store_instances([dataset])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
        dataset.SOPInstanceUID
    ]
    assert "FailedSOPSequence" not in answer
    back = client.retrieve_instance(
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    )
    assert back.PixelData == dataset.PixelData


def test_a_folder_sent_with_curl_is_stored(node: Server, tmp_path: Path) -> None:
    """As the manuals of other archives tell it: curl makes the parts, with a Content-Disposition, and expects 100-continue."""
    instances = siblings(3, ImageComments="x" * 1000)
    parts: list[str] = []
    for number, instance in enumerate(instances):
        (tmp_path / f"{number}.dcm").write_bytes(stow.part10(instance))
        parts += ["-F", f"{number}=@{tmp_path / f'{number}.dcm'};type=application/dicom"]
    command = [
        program("curl"), "-sS", "-H", f"Authorization: Bearer {node.token}", "-H", "Expect: 100-continue",
        "-H", 'Content-Type: multipart/related; type="application/dicom"', *parts, f"{node.url}/dicom-web/studies",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    reply = stow.Reply(200, stow.DICOM_JSON, done.stdout)
    assert (reply.stored, reply.failed) == ([instance.uid for instance in instances], [])
    for instance in instances:
        stored = found(node, instance)
        assert stored is not None and stored.endswith(instance.data)


def test_a_study_whose_first_image_is_nameless_is_found_by_the_id_that_a_later_one_brings(
    node: Server,
) -> None:
    first = peers.make(PatientID="", PatientName="")
    patient_id = f"ID{generate_uid()[-20:]}"
    later = peers.make(StudyInstanceUID=first.study, PatientID=patient_id, PatientName="Doe^Jane")
    with Client(node) as client:
        assert stow.store(node, first).status == 200
        assert client.get("/studies", query={"StudyInstanceUID": first.study}).status == 200
        assert stow.store(node, later).status == 200
        (study,) = json.loads(client.get("/studies", query={"PatientID": patient_id}).body)
    assert study["0020000D"]["Value"] == [first.study]
    assert study["00201208"]["Value"] == [2]
    nameless = f"SELECT count(*) FROM patients WHERE only_study = '{first.study}'"
    assert node.sql(nameless) == ["0"]


def test_a_single_file_without_multipart_is_stored(node: Server) -> None:
    instance = peers.make()
    reply = stow.post(node, stow.part10(instance), "application/dicom")
    assert (reply.status, reply.stored) == (200, [instance.uid])


def test_a_body_without_a_length_is_stored(node: Server) -> None:
    instance = peers.make()
    body = stow.files(stow.part10(instance))
    reply = stow.post(node, iter([body[:7], body[7:200], body[200:]]))
    assert (reply.status, reply.stored) == (200, [instance.uid])


@pytest.mark.parametrize(
    "content_type",
    [
        f"multipart/related; type=application/dicom; boundary={stow.BOUNDARY}",
        f'multipart/related;boundary="{stow.BOUNDARY}";type="application/dicom"',
        f'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1; boundary={stow.BOUNDARY}',
        f"Multipart/Related; Boundary={stow.BOUNDARY}",
    ],
)
def test_the_media_type_is_read_as_clients_write_it(node: Server, content_type: str) -> None:
    instance = peers.make()
    reply = stow.post(node, stow.files(stow.part10(instance)), content_type)
    assert (reply.status, reply.stored) == (200, [instance.uid])


def test_sending_again_is_success_and_changes_nothing(node: Server) -> None:
    instances = siblings(3)
    first, again = stow.store(node, *instances), stow.store(node, *instances)
    assert (first.status, again.status) == (200, 200)
    assert first.json() == again.json()
    counted = f"SELECT number_of_instances FROM studies WHERE study_instance_uid = '{instances[0].study}'"
    peers.wait_until(lambda: node.sql(counted) == ["3"], "all of them are indexed, and once")


def test_other_content_under_a_taken_uid_is_kept_aside_and_told_as_a_warning(node: Server) -> None:
    first = peers.make(PatientComments="the first")
    assert stow.store(node, first).status == 200
    assert found(node, first) is not None
    other = peers.make(
        SOPInstanceUID=first.uid,
        StudyInstanceUID=first.study,
        SeriesInstanceUID=first.series,
        PatientComments="other",
    )
    reply = stow.store(node, other)
    assert reply.status == 202
    assert reply.items("00081199")[0]["00081196"] == {"vr": "US", "Value": [0x0111]}
    stored = found(node, first)
    assert stored is not None and stored.endswith(first.data)

    def aside() -> bool:
        return node.sql(f"SELECT count(*) FROM quarantine WHERE sop_instance_uid = '{first.uid}'") == ["1"]

    peers.wait_until(aside, "the other content in quarantine")


def test_an_instance_of_another_study_fails_alone(node: Server) -> None:
    wanted, stray = peers.make(), peers.make()
    reply = stow.store(node, stray, wanted, study=wanted.study)
    assert reply.status == 202
    assert reply.stored == [wanted.uid]
    assert reply.failed == [(stray.uid, 0xA900)]
    assert found(node, stray) is None
    alone = stow.store(node, stray, study=wanted.study)
    assert (alone.status, alone.stored, alone.failed) == (409, [], [(stray.uid, 0xA900)])


def test_each_bad_part_is_an_item_with_its_reason_and_the_good_one_is_stored(node: Server) -> None:
    good = peers.make()
    no_class = peers.make("1.2.840.10008.1.1")
    no_syntax = peers.Instance(good.sop_class, generate_uid(), "1.2.3.4.5", good.data)
    lying = peers.Instance(good.sop_class, generate_uid(), good.syntax, good.data)
    truncated = peers.Instance(good.sop_class, generate_uid(), good.syntax, good.data[:20])
    contents = [
        b"this is no DICOM", stow.part10(no_class), stow.part10(no_syntax), stow.part10(lying), b"",
        stow.part10(truncated), b"\0" * 128 + b"DICM", stow.part10(good),
    ]  # fmt: skip
    reply = stow.post(node, stow.files(*contents))
    assert reply.status == 202
    assert reply.stored == [good.uid]
    failed = reply.failed
    assert [uid for uid, _ in failed] == ["", no_class.uid, no_syntax.uid, lying.uid, "", truncated.uid, ""]
    assert [reason for _, reason in failed][1:4] == [0x0122, 0xC122, 0xA900]
    assert all(reason in (0xC000, 0xA900) for uid, reason in failed if uid in ("", truncated.uid))
    assert len(reply.items("0008119A")) == 3
    assert found(node, good) is not None


def test_a_private_sop_class_of_the_settings_is_stored(node: Server) -> None:
    private = peers.make(PRIVATE_CLASS)
    assert stow.store(node, private).status == 200


def test_a_file_whose_meta_information_lacks_the_uids_is_named_by_its_data_set(node: Server) -> None:
    instance = peers.make()
    whole = stow.part10(instance)
    meta = dcmread(BytesIO(whole)).file_meta
    syntax = (
        b"\x02\0\x10\0UI"
        + len(meta.TransferSyntaxUID + "\0").to_bytes(2, "little")
        + meta.TransferSyntaxUID.encode()
        + b"\0"
    )
    reply = stow.post(node, stow.files(b"\0" * 128 + b"DICM" + syntax + instance.data))
    assert (reply.status, reply.stored) == (200, [instance.uid])


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415), ("image/jpeg", 415), ("multipart/form-data; boundary=x", 415),
        ('multipart/related; type="application/dicom+xml"; boundary=x', 415),
        ('multipart/related; type="application/dicom"', 400),
        (stow.related(stow.DICOM), 400),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(node: Server, content_type: str, status: int) -> None:
    reply = stow.post(node, b"no multipart at all", content_type)
    assert (reply.status, reply.content_type) == (status, "application/problem+json")


@pytest.mark.parametrize(
    "content_type", ["application/dicom+xml", 'multipart/related; type="application/dicom+xml"; boundary=x']
)
def test_who_sends_xml_is_told_what_is_taken(node: Server, content_type: str) -> None:
    reply = stow.post(node, b"<NativeDicomModel/>", content_type)
    assert reply.status == 415
    detail = reply.json()["detail"]
    assert "application/dicom+xml is not taken" in detail and "application/dicom+json" in detail


def test_a_compressed_body_is_refused_as_such(node: Server) -> None:
    instance = peers.make()
    body = gzip.compress(stow.files(stow.part10(instance)))
    reply = stow.post(node, body, content_encoding="gzip")
    assert (reply.status, reply.content_type) == (415, "application/problem+json")
    plain = stow.post(node, stow.files(stow.part10(instance)), content_encoding="identity")
    assert (plain.status, plain.stored) == (200, [instance.uid])


def test_a_body_without_parts_is_400(node: Server) -> None:
    assert stow.post(node, f"--{stow.BOUNDARY}--\r\n".encode()).status == 400


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", 'multipart/related; type="application/dicom+json"', ""]
)
def test_the_answer_is_json_for_who_takes_it(node: Server, accept: str) -> None:
    reply = stow.post(node, stow.files(stow.part10(peers.make())), accept=accept)
    assert (reply.status, reply.content_type) == (200, "application/dicom+json")


def test_who_takes_no_json_is_told_before_anything_is_stored(node: Server) -> None:
    instance = peers.make()
    assert stow.post(node, stow.files(stow.part10(instance)), accept="image/png").status == 406
    assert found(node, instance) is None


def test_a_body_that_breaks_off_leaves_what_was_complete(node: Server) -> None:
    first, second = siblings(2)
    body = stow.files(stow.part10(first), stow.part10(second))
    cut = body[: body.index(second.data) + len(second.data) // 2]
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1:{node.web_port}\r\nAuthorization: Bearer {node.token}\r\n"
        f"Content-Type: {stow.related(stow.DICOM)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", node.web_port), timeout=10) as peer:
        peer.sendall(head.encode() + cut)
    peers.wait_until(lambda: found(node, first) is not None, "the complete instance")
    assert found(node, second) is None
    peers.wait_until(
        lambda: not [path for path in node.temporary() if path.suffix == ".dcm"], "no temporary files"
    )


def test_a_malformed_end_is_400_and_tells_what_was_stored(node: Server) -> None:
    first, second = siblings(2)
    body = stow.files(stow.part10(first), stow.part10(second))
    reply = stow.post(node, body.removesuffix(f"--{stow.BOUNDARY}--\r\n".encode()))
    assert reply.status == 400
    assert "1 instances" in reply.json()["detail"]
    assert found(node, first) is not None
    assert found(node, second) is None


def test_what_was_stored_is_audited_for_the_user_and_the_study(node: Server) -> None:
    instances = siblings(3)
    assert stow.store(node, *instances).status == 200
    assert stow.store(node, peers.make("1.2.840.10008.1.1")).status == 409

    def told() -> list[str]:
        return node.sql(
            "SELECT who, via, outcome, details->>'instances' FROM audit_events WHERE event = 'store' AND "
            f"uids[1] = '{instances[0].study}'"
        )

    peers.wait_until(told, "the audit row")
    assert told() == ["admin|session|success|3"]
    source = node.sql(f"SELECT source FROM instances WHERE sop_instance_uid = '{instances[0].uid}'")
    assert source == ["admin"]


def test_a_derived_object_never_blanks_what_its_study_says(node: Server) -> None:
    image = peers.make(StudyDescription="Thorax", PatientName="Doe^Jane", AccessionNumber="A1")
    report = peers.make(
        "1.2.840.10008.5.1.4.1.1.88.33", StudyInstanceUID=image.study, PatientID="", Modality="SR",
        StudyDescription=None, PatientName="", AccessionNumber="",
    )  # fmt: skip
    assert stow.store(node, image).status == 200
    with Client(node) as client:
        # A report is made of images that were found: they are indexed before it comes.
        assert client.get("/studies", query={"StudyInstanceUID": image.study}).status == 200
        assert stow.store(node, report, study=image.study).status == 200
        reply = client.get("/studies", query={"StudyInstanceUID": image.study, "includefield": "00081030"})
    (study,) = json.loads(reply.body)
    assert study["00081030"]["Value"] == ["Thorax"]
    assert study["00080061"]["Value"] == ["CT", "SR"]
    assert study["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]


# -- DICOM JSON -----------------------------------------------------------------------------------------------------------------
def as_json(dataset: Dataset, bulk: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dataset.to_json(1 << 30, lambda _: ""))
    if bulk is not None:
        found["7FE00010"] = {"vr": "OW", "BulkDataURI": bulk}
    return found


def json_post(
    server: Server, metadata: Any, *bulk: tuple[dict[str, str], bytes], **options: Any
) -> stow.Reply:
    text = json.dumps(metadata).encode()
    body = stow.multipart([({"Content-Type": stow.DICOM_JSON}, text), *bulk])
    return stow.post(server, body, stow.related(stow.DICOM_JSON), **options)


@pytest.fixture
def ct() -> Dataset:
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()
    return dataset


def retrieved(server: Server, dataset: Dataset) -> Dataset:
    with Client(server) as client:
        path = path_of(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        reply = client.get(path, "application/dicom; transfer-syntax=*")
    assert reply.status == 200, reply
    return dcmread(BytesIO(reply.body))


def test_json_with_bulk_data_becomes_the_object_that_it_describes(node: Server, ct: Dataset) -> None:
    ct.PatientName = "王^小东=Wáng"
    place = "https://example.org/bulk/1"
    bulk = {"Content-Type": "application/octet-stream", "Content-Location": place}
    reply = json_post(node, [as_json(ct, place)], (bulk, ct.PixelData))
    assert (reply.status, reply.stored) == (200, [ct.SOPInstanceUID]), reply
    back = retrieved(node, ct)
    assert back.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert back.PixelData == ct.PixelData
    assert back.PatientName == ct.PatientName
    for element in ct:
        if element.tag not in (0x00080005, 0x7FE00010) and element.tag.group % 2 == 0:
            assert back[element.tag].value == element.value, element


def test_json_with_inline_binary_needs_no_multipart(node: Server, ct: Dataset) -> None:
    reply = stow.post(node, json.dumps(as_json(ct)).encode(), stow.DICOM_JSON)
    assert (reply.status, reply.stored) == (200, [ct.SOPInstanceUID])
    assert retrieved(node, ct).PixelData == ct.PixelData


def test_compressed_frames_as_bulk_data_become_fragments(node: Server) -> None:
    source = dcmread(str(get_testdata_file("SC_rgb_small_odd_jpeg.dcm")))
    from pydicom.encaps import generate_frames

    frame = next(generate_frames(source.PixelData, number_of_frames=1))
    source.SOPInstanceUID, source.StudyInstanceUID = generate_uid(), generate_uid()
    metadata = as_json(source, "frame")
    bulk = {"Content-Type": "image/jpeg", "Content-Location": "frame"}
    reply = json_post(node, [metadata], (bulk, frame))
    assert reply.status == 200, reply
    back = retrieved(node, source)
    assert back.file_meta.TransferSyntaxUID == JPEG_BASELINE
    assert np.array_equal(
        back.pixel_array, dcmread(str(get_testdata_file("SC_rgb_small_odd_jpeg.dcm"))).pixel_array
    )


def test_bulk_data_that_did_not_come_fails_that_instance_and_is_fetched_from_nowhere(
    node: Server, ct: Dataset
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}/bulk"
        other = Dataset()
        other.update(ct)
        other.SOPInstanceUID = generate_uid()
        reply = json_post(node, [as_json(ct, uri), as_json(other)])
        with pytest.raises(TimeoutError):
            listener.accept()
    assert reply.status == 202
    assert (reply.stored, reply.failed) == ([other.SOPInstanceUID], [(ct.SOPInstanceUID, 0xC000)])


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'"x"', b"[" * 100_000, b'[{"1":{}}]', b"\xff\xfe"])
def test_metadata_that_is_no_dicom_json_is_refused_without_a_crash(node: Server, text: bytes) -> None:
    reply = stow.post(
        node, stow.multipart([({"Content-Type": stow.DICOM_JSON}, text)]), stow.related(stow.DICOM_JSON)
    )
    assert reply.status in (400, 409)
    assert not node.logged("request_crashed")


# -- limits ---------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes objects up to 1 MiB, with few buffers."""
    options = ("--dicom.max-object-bytes=1048576", "--storage.buffers=4")
    with running(Server(tmp_path_factory.mktemp("narrow") / "data", options=options, workers=1)) as server:
        yield server


def test_a_part_that_is_too_large_ends_the_request_and_leaves_nothing(narrow: Server) -> None:
    small, large = peers.make(), peers.make(EncapsulatedDocument=b"x" * 1_100_000)
    reply = stow.store(narrow, small, large)
    assert (reply.status, reply.stored, reply.failed) == (202, [small.uid], [(large.uid, 0xA700)])
    huge = peers.make(EncapsulatedDocument=b"x" * 3_000_000)
    assert stow.store(narrow, huge).status == 413
    assert len(narrow.objects()) == 1
    peers.wait_until(
        lambda: not [path for path in narrow.temporary() if path.suffix == ".dcm"], "nothing temporary"
    )


def test_silent_clients_do_not_keep_the_buffers_from_others(narrow: Server) -> None:
    """As many as there are buffers stop in the middle of an object; somebody else stores all the same."""
    body = stow.files(stow.part10(peers.make(EncapsulatedDocument=b"x" * 500_000)))
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1:{narrow.web_port}\r\nAuthorization: Bearer {narrow.token}\r\n"
        f"Content-Type: {stow.related(stow.DICOM)}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    idle = [socket.create_connection(("127.0.0.1", narrow.web_port), timeout=10) for _ in range(6)]
    try:
        for each in idle:
            each.sendall(head + body[:100_000])
        other = peers.make()
        assert stow.store(narrow, other).status == 200
        for each in idle:  # it came before they were cut off: they may go on
            each.sendall(body[100_000:])
            assert b"200" in each.recv(4096).split(b"\r\n")[0]
    finally:
        for each in idle:
            each.close()
