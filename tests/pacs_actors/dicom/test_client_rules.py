"""The client's pure rules: identifiers, proposals, names of files, and what a file is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from pacs_actors.dicom.client_commitment import read_report
from pacs_actors.dicom.client_errors import AssociationAborted, AssociationRejected, RequestFailed
from pacs_actors.dicom.client_files import DicomFile, FileUnreadable, NotDicom, identify, read_file
from pacs_actors.dicom.client_identifiers import (
    MAX_ELEMENTS,
    decode_answer,
    encode_identifier,
    keyword_of,
    tag_of,
)
from pacs_actors.dicom.client_proposals import GET, USUAL_COMPRESSED, USUAL_STORAGE, for_get, for_storage
from pacs_actors.dicom.client_receiving import file_name
from pacs_actors.dicom.client_walk import Skipped, take, walk
from protocols.errors import ConfigError, PeerError
from protocols.ul.model import Role
from protocols.ul.sop_classes import STORAGE

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
CT = Path(get_testdata_file("CT_small.dcm"))

# -- identifiers ------------------------------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\\\x7f"), max_size=40
).map(lambda text: "".join(char for char in text if char.isprintable()).strip())
KEYS = st.dictionaries(
    st.sampled_from(["PatientName", "PatientID", "StudyDescription", "AccessionNumber", "00081030"]), TEXT
)


@given(KEYS, st.lists(KEYS, max_size=3), st.sampled_from([IMPLICIT, EXPLICIT, BIG]))
def test_an_identifier_is_read_back_as_it_was_written(
    keys: dict[str, str], items: list[dict[str, str]], syntax: str
) -> None:
    raw = encode_identifier({**keys, "RequestAttributesSequence": items}, syntax, level="STUDY")
    answer = decode_answer(raw, syntax)
    for key, value in keys.items():
        assert answer.text(keyword_of(tag_of(key))) in (
            value,
            keys.get("StudyDescription"),
            keys.get("00081030"),
        )
    found = answer["RequestAttributesSequence"]
    assert [len(item) for item in found] == [len({tag_of(key) for key in item}) for item in items]  # type: ignore[union-attr]
    assert answer["QueryRetrieveLevel"] == "STUDY"


@given(st.binary(max_size=300), st.sampled_from([IMPLICIT, EXPLICIT, BIG]))
def test_whatever_a_peer_answers_only_a_peer_error_comes_of_it(raw: bytes, syntax: str) -> None:
    try:
        decode_answer(raw, syntax)
    except PeerError:
        pass


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_pydicom_reads_what_we_write(syntax: str) -> None:
    keys = {
        "PatientName": "Müller^Jörg",
        "StudyDate": "20200101-",
        "NumberOfFrames": "3",
        "Rows": "512",
        "ReferencedSOPSequence": [{"ReferencedSOPInstanceUID": "1.2.3", "ReferencedSOPClassUID": "1.2"}],
        "0018,9004": "",
    }
    raw = encode_identifier(keys, syntax, level="IMAGE")
    from pydicom.filereader import read_dataset

    dataset = read_dataset(DicomBytesIO(raw), syntax == IMPLICIT, syntax != BIG)
    assert [element.tag for element in dataset] == sorted(element.tag for element in dataset)
    assert (dataset.PatientName, dataset.Rows, dataset.NumberOfFrames) == ("Müller^Jörg", 512, 3)
    assert dataset.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3"
    assert dataset.QueryRetrieveLevel == "IMAGE"


def test_elements_and_nesting_of_an_answer_are_limited() -> None:
    many = encode_identifier({"PatientID": "1"}, IMPLICIT) * (MAX_ELEMENTS + 1)
    with pytest.raises(PeerError, match=f"more than {MAX_ELEMENTS}"):
        decode_answer(many, IMPLICIT)
    deep: dict[str, object] = {"PatientID": "1"}
    for _ in range(8):
        deep = {"RequestAttributesSequence": [deep]}
    with pytest.raises(PeerError, match="deeper than 8"):
        decode_answer(encode_identifier(deep, EXPLICIT), EXPLICIT)  # type: ignore[arg-type]


def test_private_and_binary_elements_of_an_answer() -> None:
    dataset = Dataset()
    dataset.add_new(0x00091001, "LO", "private")
    dataset.add_new(0x00420011, "OB", b"binary")
    dataset.add_new(0x00280009, "AT", 0x00181063)
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, dataset)
    answer = decode_answer(file.getvalue(), EXPLICIT)
    assert answer.values == {"00091001": "private", "FrameIncrementPointer": "00181063"}


@pytest.mark.parametrize("key", ["Patient Name", "patientname", "0010", "0010001", "(0010,00)", "", "1.2"])
def test_what_names_no_attribute_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="no keyword"):
        tag_of(key)


def test_tags_are_known_by_keyword_and_number() -> None:
    assert {tag_of("PatientName"), tag_of("00100010"), tag_of("(0010,0010)"), tag_of("0010,0010")} == {
        0x00100010
    }
    assert (keyword_of(0x00100010), keyword_of(0x00091001)) == ("PatientName", "00091001")


def test_a_report_with_odd_contents_is_read_all_the_same() -> None:
    raw = encode_identifier(
        {"TransactionUID": "1.2", "FailedSOPSequence": [{"ReferencedSOPInstanceUID": "1.3"}, {}]}, EXPLICIT
    )
    report = read_report(decode_answer(raw, EXPLICIT))
    assert (report.committed, report.failed) == ((), {"1.3": 0x0110, "": 0x0110})


# -- proposals ----------------------------------------------------------------------------------------------------------


def test_a_get_proposes_every_class_uncompressed_and_fills_up_with_compressed() -> None:
    proposals = for_get()
    assert len(proposals) == 128
    assert proposals[0].abstract_syntax == GET["study"]
    assert proposals[0].role is None
    uncompressed = {p.abstract_syntax for p in proposals[1:] if EXPLICIT in p.transfer_syntaxes}
    assert uncompressed == set(USUAL_STORAGE)
    assert all(p.role == Role(scu=False, scp=True) for p in proposals[1:])
    assert all(len(p.transfer_syntaxes) == 1 for p in proposals[1 + len(USUAL_STORAGE) :])
    assert len(set(proposals)) == 128


def test_a_get_may_be_narrowed() -> None:
    proposals = for_get("patient", storage_classes=["1.2", "1.2"], compressed=USUAL_COMPRESSED[:1])
    assert [p.abstract_syntax for p in proposals] == [GET["patient"], "1.2", "1.2"]
    assert proposals[2].transfer_syntaxes == USUAL_COMPRESSED[:1]


def test_the_usual_classes_are_classes_of_the_standard() -> None:
    assert set(USUAL_STORAGE) <= set(STORAGE)
    assert len(set(USUAL_STORAGE)) == len(USUAL_STORAGE)


def test_storage_proposes_each_pair_once() -> None:
    pairs = [("1.2", EXPLICIT), ("1.3", EXPLICIT), ("1.2", IMPLICIT), ("1.2", EXPLICIT)]
    assert [(p.abstract_syntax, *p.transfer_syntaxes) for p in for_storage(pairs)] == pairs[:3]


def test_storage_offers_alternatives_for_what_is_uncompressed_as_long_as_there_is_room() -> None:
    pairs = [("1.2", EXPLICIT), ("1.3", "1.2.840.10008.1.2.4.50"), ("1.4", IMPLICIT), ("1.4", EXPLICIT)]
    proposals = for_storage(pairs, alternatives=True)
    assert [(p.abstract_syntax, *p.transfer_syntaxes) for p in proposals] == [
        *pairs,
        ("1.2", IMPLICIT, BIG),
        ("1.4", BIG),
    ]
    assert len(for_storage(pairs, alternatives=True, limit=5)) == 5
    many = [(f"1.2.{number}", EXPLICIT) for number in range(100)]
    assert len(for_storage(many, alternatives=True)) == 128


# -- names ------------------------------------------------------------------------------------------------------------


@given(
    st.text() | st.sampled_from(["..", "/etc/passwd", "1/2", "1..2", ".1", "1.", "", "1.02", "1\0", "١.٢"])
)
def test_no_text_of_a_peer_becomes_a_path(uid: str) -> None:
    name = file_name(uid)
    assert name.endswith(".dcm")
    assert set(name[:-4]) <= set("0123456789abcdef.")
    assert not name.startswith(".")
    assert ".." not in name
    assert len(name) <= 68
    assert file_name(uid) == name


def test_a_real_uid_keeps_its_name() -> None:
    assert file_name("1.2.840.0.55") == "1.2.840.0.55.dcm"
    assert len(file_name("1." + "2" * 62)) == 68
    assert file_name("1." + "2" * 63) != "1." + "2" * 63 + ".dcm"


# -- words --------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_any_rejection_and_abort_has_words(result: int, source: int, reason: int) -> None:
    assert str(AssociationRejected(result, source, reason)).startswith("the peer rejected")
    assert str(AssociationAborted(source, reason)).startswith("the peer's")


def test_a_failure_names_status_number_and_comment() -> None:
    assert (
        str(RequestFailed(0x0020, 0xA900, "no level"))
        == "Identifier does not match SOP Class (A900H): no level"
    )


# -- files ------------------------------------------------------------------------------------------------------------


def bundled() -> list[Path]:
    return sorted(CT.parent.rglob("*.dcm"))


def test_every_file_of_pydicom_is_what_pydicom_says() -> None:
    checked = 0
    for path in bundled():
        try:
            file = read_file(path)
        except NotDicom:
            continue
        dataset = dcmread(path, force=True, stop_before_pixels=True)
        meta = dataset.file_meta
        if "SOPClassUID" in dataset and "SOPInstanceUID" in dataset:
            assert (file.sop_class_uid, file.sop_instance_uid) == (
                dataset.SOPClassUID,
                dataset.SOPInstanceUID,
            ), path
        else:
            assert file.sop_instance_uid == meta.MediaStorageSOPInstanceUID, path
        if "TransferSyntaxUID" in meta:
            assert file.transfer_syntax_uid == meta.TransferSyntaxUID, path
        checked += 1
    assert checked > 40


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_data_set_alone_is_found_out(syntax: str, tmp_path: Path) -> None:
    dataset = dcmread(CT)
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = syntax != BIG, syntax == IMPLICIT
    del dataset.PixelData
    write_dataset(file, dataset)
    path = tmp_path / "bare"
    path.write_bytes(file.getvalue())
    assert read_file(path) == DicomFile(
        path, dataset.SOPClassUID, dataset.SOPInstanceUID, syntax, 0, len(file.getvalue())
    )


def test_a_header_longer_than_the_first_window_is_read_on(tmp_path: Path) -> None:
    dataset = dcmread(CT)
    dataset.file_meta.add_new(0x00020102, "OB", bytes(100_000))
    dataset.save_as(tmp_path / "long", enforce_file_format=False)
    assert read_file(tmp_path / "long").sop_instance_uid == dataset.SOPInstanceUID


def test_the_data_set_is_right_where_its_meta_information_differs(tmp_path: Path) -> None:
    dataset = dcmread(CT)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.save_as(tmp_path / "differs", enforce_file_format=False)
    assert dcmread(tmp_path / "differs").file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert read_file(tmp_path / "differs").sop_instance_uid == dataset.SOPInstanceUID
    del dataset.SOPInstanceUID
    dataset.save_as(tmp_path / "lacks", enforce_file_format=False)
    assert read_file(tmp_path / "lacks").sop_instance_uid == "1.2.3"


def not_dicom(tmp_path: Path) -> dict[str, bytes]:
    return {
        "empty": b"",
        "text": b"Dear colleague, the images are on the way. " * 10,
        "zeroes": bytes(5000),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "short": b"\x08\0",
        "nothing but a preamble": bytes(128) + b"DICM",
        "implicit garbage": b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100" + b"\xff" * 200,
    }


@pytest.mark.parametrize("name", list(not_dicom(Path())))
def test_what_is_no_dicom_is_told_from_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(not_dicom(tmp_path)[name])
    with pytest.raises(NotDicom):
        read_file(path)


def test_a_pipe_a_folder_and_nothing_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises((NotDicom, FileUnreadable)):
            read_file(path)
    with pytest.raises(FileUnreadable, match="No such file"):
        read_file(tmp_path / "nothing")


@given(st.binary(max_size=600))
def test_any_bytes_are_dicom_or_not(data: bytes) -> None:
    try:
        identify(data, "bytes")
    except NotDicom:
        pass


def test_folders_are_walked_lazily_and_links_do_not_lead_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("one.dcm", "a/two", "a/b/three"):
        (tmp_path / name).write_bytes(CT.read_bytes())
    (tmp_path / "a" / "notes.txt").write_text("no DICOM")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "link.dcm").symlink_to(CT)
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    found = walk([tmp_path, tmp_path / "missing"])
    everything = []
    while some := take(found, 2):
        assert len(some) <= 2
        everything += some
    names = {each.path.name for each in everything if isinstance(each, DicomFile)}
    assert names == {"one.dcm", "two", "three", "link.dcm"}
    assert {(each.path.name, each.is_error) for each in everything if isinstance(each, Skipped)} == {
        ("notes.txt", False),
        ("broken", True),
        ("missing", True),
    }


def test_the_collection_of_odd_files_is_walked_without_a_crash() -> None:
    shared = Path(__file__).resolve().parents[4] / "shared" / "data"
    if not shared.is_dir():
        pytest.skip("the collection is not here")
    found = list(walk([shared]))
    assert sum(isinstance(each, DicomFile) for each in found) > 200
