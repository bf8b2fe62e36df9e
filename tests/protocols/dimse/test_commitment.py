"""Storage commitment's data sets, against pydicom's reading and writing of the same."""

from __future__ import annotations

import zlib
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from protocols.dimse import commitment
from protocols.dimse.commitment import (
    CommitmentResult,
    Failure,
    InvalidArgument,
    Reference,
    decode_request,
    encode_report,
)

IMPLICIT, EXPLICIT, DEFLATED, BIG = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
)  # fmt: skip
CT = "1.2.840.10008.5.1.4.1.1.2"
syntaxes = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG])


def encoded(dataset: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_dataset(buffer, dataset)
    data: bytes = buffer.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflater.compress(data) + deflater.flush()
    return data


def decoded(data: bytes, syntax: str) -> Dataset:
    if syntax == DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)
    return read_dataset(BytesIO(data), syntax == IMPLICIT, syntax != BIG)


def asked(count: int, *, undefined: bool = False) -> Dataset:
    information = Dataset()
    information.TransactionUID = "1.2.3"
    information.add_new(0x00091010, "LO", "somebody's own")
    information.ReferencedSOPSequence = []
    for number in range(count):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, f"1.2.3.{number}"
        item.is_undefined_length_sequence_item = undefined
        information.ReferencedSOPSequence.append(item)
    information["ReferencedSOPSequence"].is_undefined_length = undefined
    return information


@syntaxes
@pytest.mark.parametrize("undefined", [False, True])
def test_a_request_is_read_in_every_layout(syntax: str, undefined: bool) -> None:
    request = decode_request(encoded(asked(3, undefined=undefined), syntax), syntax)
    assert request.transaction_uid == "1.2.3"
    assert request.references == tuple(Reference(CT, f"1.2.3.{number}") for number in range(3))


@syntaxes
def test_a_report_is_what_pydicom_reads(syntax: str) -> None:
    result = CommitmentResult(
        (Reference(CT, "1.2.30"), Reference(CT, "1.2.4")), (Failure(CT, "1.2.5", 0x0112),)
    )
    report = encode_report("1.2.3", result, "PACS", syntax)
    assert len(report) % 2 == 0
    information = decoded(report, syntax)
    assert (information.TransactionUID, information.RetrieveAETitle) == ("1.2.3", "PACS")
    assert [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in information.ReferencedSOPSequence] == [
        (CT, "1.2.30"), (CT, "1.2.4"),
    ]  # fmt: skip
    (failed,) = information.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.5", 0x0112)


def test_a_report_without_failures_names_none() -> None:
    result = CommitmentResult((Reference(CT, "1.2.4"),))
    assert result.event_type == commitment.EVENT_ALL_COMMITTED
    assert "FailedSOPSequence" not in decoded(encode_report("1.2.3", result, "PACS", EXPLICIT), EXPLICIT)


@syntaxes
def test_what_is_torn_anywhere_is_refused_or_lacks_something(syntax: str) -> None:
    """Never another error, and never a reference that was not there."""
    whole = encoded(asked(3), syntax)
    for length in range(len(whole)):
        try:
            request = decode_request(whole[:length], syntax)
        except InvalidArgument:
            continue
        assert set(request.references) <= {Reference(CT, f"1.2.3.{number}") for number in range(3)}


def test_requests_that_lack_something_are_refused() -> None:
    unnamed, endless, nothing, half = asked(1), asked(1), asked(0), asked(2)
    del unnamed.TransactionUID
    endless["TransactionUID"].value = "1." * 40 + "1"
    del half.ReferencedSOPSequence[1].ReferencedSOPClassUID
    for wrong in (unnamed, endless, nothing, half):
        with pytest.raises(InvalidArgument):
            decode_request(encoded(wrong, EXPLICIT), EXPLICIT)


def test_references_are_counted_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "MOST_REFERENCES", 3)
    assert len(decode_request(encoded(asked(3), EXPLICIT), EXPLICIT).references) == 3
    with pytest.raises(InvalidArgument, match="more than 3"):
        decode_request(encoded(asked(4), EXPLICIT), EXPLICIT)


def test_a_deflate_bomb_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "_MOST_INFLATED_BYTES", 100_000)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = (
        deflater.compress(b"\x09\x00\x10\x10UN\0\0" + (10**7).to_bytes(4, "little") + bytes(10**7))
        + deflater.flush()
    )
    with pytest.raises(InvalidArgument):
        decode_request(bomb, DEFLATED)


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 64, b"\xfe\xff\x0d\xe0\0\0\0\0"])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        decode_request(data, EXPLICIT)


def test_a_uid_with_control_characters_cannot_reach_the_database() -> None:
    information = asked(1)
    information.add_new(0x00081195, "LO", "1\0.2")
    data = encoded(information, EXPLICIT)
    assert b"1\0.2" in data
    assert "\0" not in decode_request(data, EXPLICIT).transaction_uid
