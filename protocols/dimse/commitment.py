"""Storage commitment's data sets (PS3.4 annex J): what is asked for, and what is reported.

Pure, but not quick for thousands of references: for native threads.
"""

from __future__ import annotations

import zlib
from typing import Final

from msgspec import Struct

from protocols.dataset.elements import Element, elements, items
from protocols.dataset.text import decode_text
from protocols.dataset.transfer_syntax import Encoding, encoding_of, is_deflated
from protocols.dataset.writing import sequence, text_element
from protocols.errors import PacsError, Refusal

ACTION_REQUEST_COMMITMENT: Final = 1
EVENT_ALL_COMMITTED: Final = 1
EVENT_FAILURES_EXIST: Final = 2
MOST_REFERENCES: Final = 100_000
_MOST_INFLATED_BYTES: Final = 64 * 1024 * 1024

_SOP_CLASS_UID: Final = 0x00081150
_SOP_INSTANCE_UID: Final = 0x00081155
_RETRIEVE_AE_TITLE: Final = 0x00080054
_TRANSACTION_UID: Final = 0x00081195
_FAILURE_REASON: Final = 0x00081197
_FAILED_SOP_SEQUENCE: Final = 0x00081198
_REFERENCED_SOP_SEQUENCE: Final = 0x00081199

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
        request = _request(data, transfer_syntax_uid)
    except (PacsError, zlib.error) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"the action information cannot be read: {type(error).__name__}") from error
    if not 0 < len(request.transaction_uid) <= 64:
        raise InvalidArgument("no Transaction UID")
    if not request.references:
        raise InvalidArgument("0 references")
    return request


def _request(data: bytes, transfer_syntax_uid: str) -> CommitmentRequest:
    if is_deflated(transfer_syntax_uid):
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _MOST_INFLATED_BYTES)
    encoding = encoding_of(transfer_syntax_uid, data[:6])
    transaction_uid, references = "", []
    for element in elements(data, 0, len(data), encoding):
        if element.tag == _TRANSACTION_UID:
            transaction_uid = _uid(data, element)
        elif element.tag == _REFERENCED_SOP_SEQUENCE:
            references = _references(data, element, encoding)
    return CommitmentRequest(transaction_uid, tuple(references))


def _references(data: bytes, sequence: Element, encoding: Encoding) -> list[Reference]:
    found: list[Reference] = []
    for start, stop in items(data, sequence.start, sequence.stop, encoding, implicit=sequence.implicit):
        if len(found) == MOST_REFERENCES:
            raise InvalidArgument(f"more than {MOST_REFERENCES} references")
        uids = {
            element.tag: _uid(data, element)
            for element in elements(data, start, stop, encoding, implicit=sequence.implicit)
            if element.tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID)
        }
        if len(uids) < 2:
            raise InvalidArgument("a reference without SOP class or instance")
        found.append(Reference(uids[_SOP_CLASS_UID], uids[_SOP_INSTANCE_UID]))
    return found


def _uid(data: bytes, element: Element) -> str:
    return decode_text(data[element.start : element.stop], "UI", "")


def encode_report(
    transaction_uid: str, result: CommitmentResult, retrieve_ae: str, transfer_syntax_uid: str
) -> bytes:
    """The event information of an N-EVENT-REPORT (PS3.4 table J.3-2)."""
    encoding = encoding_of(transfer_syntax_uid)
    parts = [
        text_element(_RETRIEVE_AE_TITLE, "AE", retrieve_ae, encoding),
        text_element(_TRANSACTION_UID, "UI", transaction_uid, encoding),
    ]
    if result.failed:
        failed = [
            _reference(one, encoding) + text_element(_FAILURE_REASON, "US", str(one.reason), encoding)
            for one in result.failed
        ]
        parts.append(sequence(_FAILED_SOP_SEQUENCE, failed, encoding))
    if result.committed:
        committed = [_reference(one, encoding) for one in result.committed]
        parts.append(sequence(_REFERENCED_SOP_SEQUENCE, committed, encoding))
    data = b"".join(parts)
    if is_deflated(transfer_syntax_uid):
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
        return data + b"\0" * (len(data) & 1)
    return data


def _reference(one: Reference | Failure, encoding: Encoding) -> bytes:
    return text_element(_SOP_CLASS_UID, "UI", one.sop_class_uid, encoding) + text_element(
        _SOP_INSTANCE_UID, "UI", one.sop_instance_uid, encoding
    )
