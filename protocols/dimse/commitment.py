"""Storage commitment's data sets (PS3.4 annex J): what is asked for, and what is reported.

Pure, but not quick for thousands of references: for native threads.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Final

from msgspec import Struct
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from protocols.errors import Refusal
from protocols.ul.sop_classes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

ACTION_REQUEST_COMMITMENT: Final = 1
EVENT_ALL_COMMITTED: Final = 1
EVENT_FAILURES_EXIST: Final = 2
MOST_REFERENCES: Final = 100_000
_MOST_INFLATED_BYTES: Final = 64 * 1024 * 1024

PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119


class Reference(Struct, frozen=True):
    sop_class_uid: str
    sop_instance_uid: str


class Failure(Struct, frozen=True):
    """reason: of PS3.3 C.14.1.1."""

    sop_class_uid: str
    sop_instance_uid: str
    reason: int


class CommitmentRequest(Struct, frozen=True):
    """What an N-ACTION asks for."""

    transaction_uid: str
    references: tuple[Reference, ...]


class CommitmentResult(Struct, frozen=True):
    """What is reported."""

    committed: tuple[Reference, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def event_type(self) -> int:
        return EVENT_FAILURES_EXIST if self.failed else EVENT_ALL_COMMITTED


class InvalidArgument(Refusal):
    """0115H: the action information is not what PS3.4 table J.3-1 asks for."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0x0115, http_status=400)


def decode_request(data: bytes, transfer_syntax_uid: str) -> CommitmentRequest:
    """raises: InvalidArgument"""
    try:
        information = _decoded(data, transfer_syntax_uid)
        transaction_uid = str(information.get("TransactionUID", "") or "")
        items = information.get("ReferencedSOPSequence") or ()
        references = tuple(
            Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in items
        )
    except Exception as error:  # pydicom raises whatever comes
        raise InvalidArgument(f"the action information cannot be read: {type(error).__name__}") from error
    if not 0 < len(transaction_uid) <= 64:
        raise InvalidArgument("no Transaction UID")
    if not 0 < len(references) <= MOST_REFERENCES:
        raise InvalidArgument(f"{len(references)} references")
    return CommitmentRequest(transaction_uid, references)


def encode_request(request: CommitmentRequest, transfer_syntax_uid: str) -> bytes:
    information = Dataset()
    information.TransactionUID = request.transaction_uid
    information.ReferencedSOPSequence = [
        _reference(one.sop_class_uid, one.sop_instance_uid) for one in request.references
    ]
    return _encoded(information, transfer_syntax_uid)


def encode_report(
    transaction_uid: str, result: CommitmentResult, retrieve_ae: str, transfer_syntax_uid: str
) -> bytes:
    """The event information of an N-EVENT-REPORT (PS3.4 table J.3-2)."""
    information = Dataset()
    information.RetrieveAETitle = retrieve_ae
    information.TransactionUID = transaction_uid
    if result.failed:
        failed = []
        for one in result.failed:
            item = _reference(one.sop_class_uid, one.sop_instance_uid)
            item.FailureReason = one.reason
            failed.append(item)
        information.FailedSOPSequence = failed
    if result.committed:
        information.ReferencedSOPSequence = [
            _reference(one.sop_class_uid, one.sop_instance_uid) for one in result.committed
        ]
    return _encoded(information, transfer_syntax_uid)


def decode_report(data: bytes, transfer_syntax_uid: str) -> tuple[str, CommitmentResult]:
    """Transaction UID and result of a peer's report. raises: InvalidArgument"""
    try:
        information = _decoded(data, transfer_syntax_uid)
        committed = tuple(
            Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in information.get("ReferencedSOPSequence") or ()
        )
        failed = tuple(
            Failure(
                str(item.ReferencedSOPClassUID),
                str(item.ReferencedSOPInstanceUID),
                int(item.get("FailureReason") or 0),
            )
            for item in information.get("FailedSOPSequence") or ()
        )
        return str(information.TransactionUID), CommitmentResult(committed, failed)
    except Exception as error:
        raise InvalidArgument(f"the event information cannot be read: {type(error).__name__}") from error


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _decoded(data: bytes, transfer_syntax_uid: str) -> Dataset:
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _MOST_INFLATED_BYTES)
    return read_dataset(
        BytesIO(data),
        transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
    )


def _encoded(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    buffer.is_little_endian = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    write_dataset(buffer, dataset)
    data: bytes = buffer.getvalue()
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
        return data + b"\0" * (len(data) & 1)
    return data
