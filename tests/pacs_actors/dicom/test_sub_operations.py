"""Counters of a retrieval, and the list of what failed."""

from __future__ import annotations

import pytest

from pacs_actors.dicom.client_identifiers import decode_answer
from pacs_actors.dicom.sub_operations import SubOperations
from protocols.dataset.identifier import IdentifierEncoder
from protocols.dataset.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

FAILED_SOP_INSTANCE_UID_LIST = 0x00080058


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_list_of_failed_instances_names_none_that_there_is_not(syntax: str) -> None:
    """However many failed, and with UIDs of the greatest length: the list may be short of some, but no UID in it is cut."""
    uids = [f"2.25.{number:059d}" for number in range(20_000)]
    operations = SubOperations(len(uids))
    operations.give_up(uids)
    encoded = IdentifierEncoder((FAILED_SOP_INSTANCE_UID_LIST,), syntax).encode(
        ("\\".join(operations.failed_uids),)
    )
    told = decode_answer(encoded, syntax).text("FailedSOPInstanceUIDList").split("\\")
    assert len(told) > 1000
    assert told == uids[: len(told)]
    assert (operations.failed, operations.remaining) == (len(uids), 0)
