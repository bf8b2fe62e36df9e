from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from corpus import HOSTILE_FILES, PYDICOM_DATA, PYDICOM_FILES, explicit, implicit, instance, needs_hostile
from hypothesis import given
from hypothesis import strategies as st

from protocols.dataset.part10 import (
    MAX_META_ELEMENTS,
    PREAMBLE_BYTES,
    Form,
    ObjectRecord,
    file_meta,
    parse_prefix,
    preamble,
    prefix,
    prefix_length,
    read_record,
    rewrite_record,
)
from protocols.errors import CannotUnderstand, Misuse, PacsError
from protocols.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

CT, UID, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.1"
RECORD = ObjectRecord(bytes(range(16)), 1_700_000_000_000_000_000, "MODALITY 1", 526_000)
UIDS = st.text("0123456789.", min_size=1, max_size=64)


def test_pydicom_reads_what_we_write() -> None:
    raw = prefix(CT, UID, SYNTAX, RECORD) + instance()
    dataset = pydicom.dcmread(io.BytesIO(raw))
    meta = dataset.file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, UID)
    assert meta.TransferSyntaxUID == SYNTAX
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert pydicom.uid.UID(IMPLEMENTATION_CLASS_UID).is_valid
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert dataset.SOPInstanceUID == "1.2.3.4"


@given(st.tuples(UIDS, UIDS, UIDS), st.binary(min_size=16, max_size=16), st.integers(0, 2**63))
def test_a_prefix_is_read_back(uids: tuple[str, str, str], digest: bytes, number: int) -> None:
    raw = prefix(*uids, ObjectRecord(digest, number, "AE", number))
    found = parse_prefix(raw)
    assert len(raw) == prefix_length(*uids) == found.data_offset
    assert found.form is Form.PART10
    assert (found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid) == uids
    assert found.record == ObjectRecord(digest, number, "AE", number, len(raw))


def test_bytes_from_128_on_depend_on_the_uids_only() -> None:
    other = ObjectRecord(bytes(16), 5, "ANOTHER", 7)
    assert (
        prefix(CT, UID, SYNTAX, RECORD)[128:]
        == prefix(CT, UID, SYNTAX, other)[128:]
        == file_meta(CT, UID, SYNTAX)
    )


def test_a_flipped_bit_in_the_record_is_noticed() -> None:
    raw = prefix(CT, UID, SYNTAX, RECORD)
    for at in range(64):
        damaged = bytearray(raw)
        damaged[at] ^= 1
        assert parse_prefix(damaged).record is None


def test_the_record_is_rewritten_in_place() -> None:
    block = bytearray(prefix(CT, UID, SYNTAX, RECORD) + bytes(3000))
    size = len(block)
    final = ObjectRecord(b"d" * 16, 42, "Ä" * 20, size, prefix_length(CT, UID, SYNTAX))
    rewrite_record(memoryview(block), final)
    found = parse_prefix(block)
    assert len(block) == size
    assert found.record == ObjectRecord(b"d" * 16, 42, "?" * 16, size, found.data_offset)
    with pytest.raises(Misuse):
        rewrite_record(bytearray(200), final)
    with pytest.raises(Misuse):
        rewrite_record(block, RECORD)


@pytest.mark.parametrize("uid", ["1" * 65, "1.2é"])
def test_uids_that_were_not_checked_are_our_own_bug(uid: str) -> None:
    with pytest.raises(Misuse):
        prefix(CT, uid, SYNTAX, RECORD)
    with pytest.raises(Misuse):
        preamble(ObjectRecord(b"", -1, "", 0))


@pytest.mark.parametrize(
    "path", [path for path in PYDICOM_FILES if path.suffix == ".dcm"], ids=lambda path: path.name
)
def test_foreign_files_are_read_as_pydicom_reads_them(path: Path) -> None:
    if path.name == "no_meta.dcm":
        pytest.skip("begins with a stray byte")
    found = parse_prefix(path.read_bytes())
    theirs = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    meta = theirs.file_meta
    assert found.record is None
    assert found.sop_instance_uid == meta.get("MediaStorageSOPInstanceUID", "")
    if "TransferSyntaxUID" in meta:
        assert found.transfer_syntax_uid == meta.TransferSyntaxUID
    if "FileMetaInformationGroupLength" in meta and meta.FileMetaInformationGroupLength:
        start = 0 if found.form is Form.META_WITHOUT_PREAMBLE else 132
        assert found.data_offset == start + 12 + meta.FileMetaInformationGroupLength


def test_files_without_preamble_or_meta_are_recognised() -> None:
    meta = file_meta(CT, UID, SYNTAX)
    assert parse_prefix(meta[4:] + instance()).form is Form.META_WITHOUT_PREAMBLE
    assert parse_prefix(meta + instance()).form is Form.META_WITHOUT_PREAMBLE
    bare = parse_prefix(instance())
    assert (bare.form, bare.transfer_syntax_uid, bare.data_offset) == (Form.BARE, SYNTAX, 0)
    assert parse_prefix(implicit(0x00080016, b"1.2 ")).transfer_syntax_uid == "1.2.840.10008.1.2"
    assert (
        parse_prefix(explicit(0x00080016, "UI", b"1.2\0", order=">")).transfer_syntax_uid
        == "1.2.840.10008.1.2.2"
    )


@pytest.mark.parametrize(
    "raw", [b"", b"\0" * 128, b"\0" * 200, b"DICM", b"<html><body>", b"\x89PNG\r\n\x1a\n", b"MZ" + bytes(300)]
)
def test_other_files_are_no_dicom(raw: bytes) -> None:
    with pytest.raises(CannotUnderstand):
        parse_prefix(raw)


def test_meta_information_has_limits() -> None:
    head = bytes(128) + b"DICM"
    with pytest.raises(CannotUnderstand, match="elements"):
        parse_prefix(head + explicit(0x00020102, "OB") * (MAX_META_ELEMENTS + 1))
    for lie in (2 * 1024 * 1024, 0xFFFFFFFE, 0xFFFFFFFF):
        with pytest.raises(CannotUnderstand, match="limit"):
            parse_prefix(head + explicit(0x00020102, "OB", bytes(64), length=lie))
    with pytest.raises(CannotUnderstand, match="limit"):
        parse_prefix(head + explicit(0x00020102, "OB", bytes(1024 * 1024)))


def test_missing_transfer_syntax_is_guessed_from_the_data_set() -> None:
    raw = bytes(128) + b"DICM" + explicit(0x00020003, "UI", b"1.2\0") + implicit(0x00080016, b"1.2 ")
    assert parse_prefix(raw).transfer_syntax_uid == "1.2.840.10008.1.2"


@needs_hostile
def test_hostile_files_are_read_or_refused() -> None:
    for path in HOSTILE_FILES:
        try:
            assert parse_prefix(path.read_bytes()).data_offset < 1024
        except PacsError as refusal:
            assert path.stem in {"129", "empty"}, refusal


@given(st.binary(max_size=300))
def test_random_bytes_give_typed_errors_only(raw: bytes) -> None:
    for data in (raw, bytes(128) + b"DICM" + raw, bytes(128) + b"DICM\2\0" + raw):
        try:
            assert 0 <= parse_prefix(data).data_offset <= len(data)
        except PacsError as refusal:
            assert isinstance(refusal, CannotUnderstand)


def test_every_truncation_of_a_file_is_read_or_refused() -> None:
    raw = (PYDICOM_DATA / "test_files" / "CT_small.dcm").read_bytes()
    offset = parse_prefix(raw).data_offset
    for size in range(offset):
        try:
            assert parse_prefix(raw[:size]).data_offset <= size
        except CannotUnderstand:
            assert size < offset


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_record_for_one_place_in_a_segment_is_none_at_another(block: int, other: int) -> None:
    record = ObjectRecord(b"0123456789abcdef", 1, "CT1", 5000, 300)
    packed = preamble(record, block)
    assert len(packed) == PREAMBLE_BYTES
    assert read_record(packed, block) == read_record(packed) == record
    assert (read_record(packed, other) is None) == (block != other)
    assert read_record(preamble(record), block) is None, "that of a file has no place"
