from __future__ import annotations

import io
import json
import struct
import zlib

import pytest
from corpus import UNDEFINED, explicit, implicit
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from protocols.dataset.identifier import (
    MAX_IDENTIFIER_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    IdentifierEncoder,
    decode_identifier,
)
from protocols.errors import BadIdentifier, CannotUnderstand, PacsError

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED]
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LEVEL, RETRIEVE_AE, REQUEST, ROWS = 0x00080052, 0x00080054, 0x00400275, 0x00280010
NAME, PATIENT_ID, STUDY_UID, STUDY_DATE, COMMENTS = 0x00100010, 0x00100020, 0x0020000D, 0x00080020, 0x00104000


def by_pydicom(dataset: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT
    buffer.is_little_endian = syntax != BIG_ENDIAN
    write_dataset(buffer, dataset)
    raw = buffer.getvalue()
    if syntax != DEFLATED:
        return raw
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(raw) + stream.flush()


def read_by_pydicom(raw: bytes, syntax: str) -> Dataset:
    meta = explicit(0x00020010, "UI", syntax.encode() + b"\0" * (len(syntax) & 1))
    head = bytes(128) + b"DICM" + explicit(0x00020000, "UL", struct.pack("<I", len(meta))) + meta
    return dcmread(io.BytesIO(head + raw))


def query() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.QueryRetrieveLevel = "STUDY"
    dataset.PatientName = "Müll*"
    dataset.PatientID = ""
    dataset.StudyDate = "20240101-"
    dataset.StudyInstanceUID = ["1.2.3", "1.2.4"]
    dataset.Rows = 512
    step = Dataset()
    step.ScheduledProcedureStepID = "S1"
    step.RequestedProcedureID = ""
    dataset.RequestAttributesSequence = [step]
    dataset.ReferencedStudySequence = []
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_query_of_pydicoms_is_decoded(syntax: str) -> None:
    found = decode_identifier(by_pydicom(query(), syntax), syntax)
    assert (found.level, found.character_set, found.unsupported) == ("STUDY", "ISO_IR 100", ())
    assert found.keys == {
        NAME: "Müll*",
        PATIENT_ID: "",
        STUDY_DATE: "20240101-",
        STUDY_UID: "1.2.3\\1.2.4",
        ROWS: "512",
    }
    assert found.sequences == {REQUEST: {0x00400009: "S1", 0x00401001: ""}, 0x00081110: {}}


def test_group_lengths_are_ignored_and_padding_is_trimmed() -> None:
    raw = (
        explicit(0x00080000, "UL", bytes(4))
        + explicit(PATIENT_ID, "LO", b" 4711 \0")
        + explicit(NAME, "PN", b"  ")
    )
    assert decode_identifier(raw, EXPLICIT).keys == {PATIENT_ID: "4711", NAME: ""}


def test_long_uid_lists_are_not_cut() -> None:
    uids = "\\".join(f"1.2.3.{number}" for number in range(5000))
    raw = implicit(STUDY_UID, uids.encode() + b"\0" * (len(uids) & 1))
    assert decode_identifier(raw, IMPLICIT).keys[STUDY_UID] == uids


def test_a_second_item_is_a_bad_identifier() -> None:
    for items in (implicit(ITEM) * 2, (implicit(ITEM, length=UNDEFINED) + implicit(ITEM_END)) * 2):
        with pytest.raises(BadIdentifier):
            decode_identifier(explicit(REQUEST, "SQ", items), EXPLICIT)


def test_binary_keys_and_sequences_in_sequences_are_reported() -> None:
    inner = explicit(0x00400008, "SQ", implicit(ITEM, explicit(0x00080100, "SH", b"X1")))
    raw = explicit(REQUEST, "SQ", implicit(ITEM, inner)) + explicit(0x7FE00010, "OB", b"\1\2")
    found = decode_identifier(raw, EXPLICIT)
    assert found.unsupported == (0x00400008, 0x7FE00010)
    assert found.sequences == {REQUEST: {}}


def test_identifiers_have_limits() -> None:
    with pytest.raises(CannotUnderstand, match="bytes"):
        decode_identifier(bytes(MAX_IDENTIFIER_BYTES + 1), EXPLICIT)
    keys = b"".join(explicit(0x00091000 + at, "LO") for at in range(MAX_KEYS + 1))
    assert len(decode_identifier(keys[8:], EXPLICIT).keys) == MAX_KEYS
    with pytest.raises(CannotUnderstand, match="keys"):
        decode_identifier(keys, EXPLICIT)
    stream = zlib.compressobj(9, wbits=-15)
    bomb = stream.compress(bytes(MAX_IDENTIFIER_BYTES * 2)) + stream.flush()
    with pytest.raises(CannotUnderstand, match="inflates"):
        decode_identifier(bomb, DEFLATED)
    with pytest.raises(BadIdentifier, match="value"):
        decode_identifier(explicit(NAME, "PN", bytes(MAX_KEY_BYTES + 2).replace(b"\0", b"*")), EXPLICIT)
    deep = b""
    for _ in range(300):
        item = implicit(ITEM, length=UNDEFINED) + deep + implicit(ITEM_END)
        deep = explicit(REQUEST, "SQ", length=UNDEFINED) + item + implicit(SEQUENCE_END)
    with pytest.raises(CannotUnderstand, match="nest"):
        decode_identifier(deep, EXPLICIT)


def test_every_truncation_is_decoded_or_refused() -> None:
    raw = by_pydicom(query(), EXPLICIT)
    refused = 0
    for size in range(len(raw)):
        try:
            assert decode_identifier(raw[:size], EXPLICIT).level in {"", "STUDY"}
        except PacsError:
            refused += 1
    assert refused > len(raw) // 2


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
def test_random_bytes_give_typed_errors_only(raw: bytes, syntax: str) -> None:
    try:
        assert len(decode_identifier(raw, syntax).keys) <= len(raw)
    except PacsError as refusal:
        assert str(refusal)


TAGS = [NAME, PATIENT_ID, STUDY_UID, STUDY_DATE, COMMENTS, 0x00201208]
ROW = ["Doe^Jane", "4711", "1.2.3", "20240229", "two\r\nlines", "120"]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", ["Doe^Jane", "Müller^Jörg=王"])
def test_pydicom_reads_the_answers(syntax: str, name: str) -> None:
    encoder = IdentifierEncoder(TAGS, syntax, constants={LEVEL: "STUDY", RETRIEVE_AE: "PACS"})
    raw = encoder.encode([name, *ROW[1:]])
    answer = read_by_pydicom(raw, syntax)
    assert len(raw) % 2 == 0
    assert [element.tag for element in answer] == sorted(element.tag for element in answer)
    assert (answer.QueryRetrieveLevel, answer.RetrieveAETitle, str(answer.PatientName)) == (
        "STUDY",
        "PACS",
        name,
    )
    assert (answer.PatientID, answer.StudyInstanceUID, answer.StudyDate) == ("4711", "1.2.3", "20240229")
    assert (answer.PatientComments, answer.NumberOfStudyRelatedInstances) == ("two\r\nlines", 120)
    assert answer.get("SpecificCharacterSet") == (None if name.isascii() else "ISO_IR 192")
    assert decode_identifier(raw, syntax).keys[NAME] == name


def test_numbers_are_binary_where_their_vr_is() -> None:
    raw = IdentifierEncoder([ROWS, 0x00280009], BIG_ENDIAN).encode(["512", "00181063"])
    assert raw == explicit(0x00280009, "AT", b"\0\x18\x10\x63", order=">") + explicit(
        ROWS, "US", b"\2\0", order=">"
    )
    for wrong in ("", "x", "70000", "-1"):
        assert IdentifierEncoder([ROWS], EXPLICIT).encode([wrong]) == explicit(ROWS, "US")


STORED_REQUEST = json.dumps(
    [
        {
            "00400007": {"vr": "LO", "Value": ["Schädel"]},
            "00400008": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X1"]}}]},
            "00400009": {"vr": "SH", "Value": ["S1"]},
            "00400006": {"vr": "PN", "Value": [{"Alphabetic": "Doe", "Phonetic": "do"}]},
        }
    ],
    ensure_ascii=True,
)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_come_back_whole_or_as_asked_for(syntax: str) -> None:
    whole = read_by_pydicom(IdentifierEncoder([REQUEST], syntax).encode([STORED_REQUEST]), syntax)
    assert whole.SpecificCharacterSet == "ISO_IR 192"
    (item,) = whole.RequestAttributesSequence
    assert item.ScheduledProcedureStepDescription == "Schädel"
    assert item.ScheduledProtocolCodeSequence[0].CodeValue == "X1"
    assert str(item.ScheduledPerformingPhysicianName) == "Doe==do"
    encoder = IdentifierEncoder([REQUEST], syntax, item_tags={REQUEST: [0x00400009, 0x00401001]})
    (item,) = read_by_pydicom(encoder.encode([STORED_REQUEST]), syntax).RequestAttributesSequence
    assert [element.tag for element in item] == [0x00400009, 0x00401001]
    assert (item.ScheduledProcedureStepID, item.RequestedProcedureID) == ("S1", "")


def test_unknown_sequences_and_values_are_empty() -> None:
    assert IdentifierEncoder([REQUEST], EXPLICIT).encode([""]) == explicit(REQUEST, "SQ")
    assert IdentifierEncoder([NAME, PATIENT_ID], EXPLICIT).encode(["", ""]) == explicit(
        NAME, "PN"
    ) + explicit(PATIENT_ID, "LO")
    assert IdentifierEncoder([], EXPLICIT, constants={LEVEL: "STUDY"}).encode([]) == explicit(
        LEVEL, "CS", b"STUDY "
    )


def test_an_asked_for_character_set_is_empty_in_ascii_answers() -> None:
    encoder = IdentifierEncoder([0x00080005, NAME], EXPLICIT)
    assert encoder.encode(["anything", "Doe"]) == explicit(0x00080005, "CS") + explicit(NAME, "PN", b"Doe ")
    assert decode_identifier(encoder.encode(["", "É"]), EXPLICIT).character_set == "ISO_IR 192"


def test_values_beyond_16_bit_lengths_are_cut_between_characters() -> None:
    raw = IdentifierEncoder([COMMENTS], EXPLICIT).encode(["a" + "é" * 40000])
    assert read_by_pydicom(raw, EXPLICIT).PatientComments == "a" + "é" * 32766
    assert decode_identifier(IdentifierEncoder([COMMENTS], EXPLICIT).encode(["a" * 2001]), EXPLICIT).keys == {
        COMMENTS: "a" * 2001
    }


def test_repeated_tags_count_once_and_constants_go_first() -> None:
    encoder = IdentifierEncoder([PATIENT_ID, PATIENT_ID, LEVEL], EXPLICIT, constants={LEVEL: "IMAGE"})
    found = decode_identifier(encoder.encode(["one", "two", "three"]), EXPLICIT)
    assert (found.level, found.keys) == ("IMAGE", {PATIENT_ID: "one"})


def test_private_attributes_get_the_vr_they_were_given() -> None:
    raw = IdentifierEncoder([0x00291001], EXPLICIT, vrs={0x00291001: "LO"}).encode(["mine"])
    assert raw == explicit(0x00291001, "LO", b"mine")


PLAIN = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\\"), max_size=40)


@settings(deadline=None)
@given(st.lists(PLAIN, min_size=3, max_size=3), st.sampled_from(SYNTAXES))
def test_what_is_encoded_is_decoded(row: list[str], syntax: str) -> None:
    tags = [PATIENT_ID, NAME, 0x00081030]
    found = decode_identifier(IdentifierEncoder(tags, syntax).encode(row), syntax)
    assert found.keys == {tag: value.strip(" ") for tag, value in zip(tags, row, strict=True)}
