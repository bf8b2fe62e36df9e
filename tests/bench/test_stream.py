from __future__ import annotations

import struct
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import population, stream, templates, wire

SMALL = templates.template("small")
RUN = population.Run.new()


def messages(raw: bytes, limit: int) -> tuple[bytes, bytes]:
    """Command set and data set that a stream carries, every header checked on the way."""
    command, data, position = b"", b"", 0
    while position < len(raw):
        kind, length = struct.unpack_from(">BxI", raw, position)
        pdv, context, control = struct.unpack_from(">IBB", raw, position + 6)
        assert kind == wire.P_DATA and context == 5 and pdv == length - 4
        assert length <= limit
        piece = raw[position + 12 : position + 6 + length]
        position += 6 + length
        if control & 1:
            command += piece
        else:
            data += piece
            assert bool(control & 2) == (position == len(raw))
    return command, data


@given(st.integers(min_value=1100, max_value=300_000) | st.just(0))
def test_any_maximum_length_gives_the_same_message(limit: int) -> None:
    made = stream.build(SMALL, 5, limit)
    command, data = messages(bytes(made.head) + bytes(made.tail), limit or wire.OFFERED_PDU_BYTES)
    assert data == SMALL.data
    fields = wire.read_command(command)
    assert wire.number(fields, wire.COMMAND_FIELD) == wire.C_STORE
    assert fields[wire.AFFECTED_CLASS].rstrip(b"\0").decode() == SMALL.sop_class_uid
    assert made.size_bytes == len(SMALL.data)


def test_a_peer_whose_pdus_cannot_hold_the_header_is_told() -> None:
    with pytest.raises(wire.PeerFailed, match="cannot hold a header"):
        stream.build(SMALL, 1, 512)
    with pytest.raises(wire.PeerFailed, match="7 bytes"):
        stream.build(SMALL, 1, 7)


def test_patched_instances_parse_and_have_unique_uids() -> None:
    made = stream.build(SMALL, 5, 16384)
    seen: set[str] = set()
    for number in range(3):
        study = RUN.study(number)
        made.begin_study(study)
        for instance in range(1, 5):
            made.begin_instance(RUN, study, instance, 40000 + instance)
            command, data = messages(bytes(made.head) + bytes(made.tail), 16384)
            image = pydicom.dcmread(BytesIO(data), force=True)
            fields = wire.read_command(command)
            assert fields[wire.AFFECTED_INSTANCE].decode() == image.SOPInstanceUID
            assert wire.number(fields, wire.MESSAGE_ID) == 40000 + instance
            assert image.StudyInstanceUID == study.study_uid
            assert image.SeriesInstanceUID == study.series_uid
            assert (image.PatientID, image.PatientName) == (study.patient_id, study.patient_name)
            assert (image.StudyDate, image.AccessionNumber) == (study.study_date, study.accession_number)
            assert image.InstanceNumber == instance
            assert image.SOPInstanceUID.is_valid
            seen.add(image.SOPInstanceUID)
    assert len(seen) == 12


def test_a_copy_shares_the_pixels_but_not_the_header() -> None:
    made = stream.build(SMALL, 5, 16384)
    other = made.copy()
    other.begin_study(RUN.study(7))
    assert made.head != other.head
    assert made.tail is other.tail


def test_a_value_wider_than_its_room_is_refused() -> None:
    made = stream.build(SMALL, 5, 16384)
    wide = population.Study(0, "X" * 33, "1", "20240101", "1", "1.2", "1.3")
    with pytest.raises(ValueError, match="33 bytes"):
        made.begin_study(wide)
