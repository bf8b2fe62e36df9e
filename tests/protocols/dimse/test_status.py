"""Status kinds and names, against pynetdicom's tables."""

from __future__ import annotations

import pytest
from pynetdicom import status as peer

from protocols.dimse.commands import CommandField
from protocols.dimse.status import StatusKind, kind_of, name_of

SERVICES = {
    CommandField.C_ECHO_RQ: peer.VERIFICATION_SERVICE_CLASS_STATUS,
    CommandField.C_STORE_RQ: peer.STORAGE_SERVICE_CLASS_STATUS,
    CommandField.C_FIND_RQ: peer.QR_FIND_SERVICE_CLASS_STATUS,
    CommandField.C_MOVE_RQ: peer.QR_MOVE_SERVICE_CLASS_STATUS,
    CommandField.C_GET_RQ: peer.QR_GET_SERVICE_CLASS_STATUS,
    CommandField.N_ACTION_RQ: peer.STORAGE_COMMITMENT_SERVICE_CLASS_STATUS,
}


@pytest.mark.parametrize("command_field", SERVICES)
def test_every_status_of_the_service_has_its_kind_and_a_name(command_field: int) -> None:
    for status, (kind, _) in SERVICES[command_field].items():
        assert kind_of(status).value == kind.lower()
        assert not name_of(status, command_field).endswith(f"{status:04X}H"), f"{status:04X}"


def test_statuses_have_the_name_of_their_service() -> None:
    assert name_of(0xA900, CommandField.C_STORE_RQ) == "Data set does not match SOP Class"
    assert name_of(0xA9FF, CommandField.C_STORE_RSP) == "Data set does not match SOP Class"
    assert name_of(0xA900, CommandField.C_FIND_RQ) == "Identifier does not match SOP Class"
    assert name_of(0xC123, CommandField.C_FIND_RSP) == "Unable to process"
    assert name_of(0xA801, CommandField.C_MOVE_RSP) == "Refused: move destination unknown"
    assert name_of(0x0211, CommandField.N_ACTION_RQ) == "Unrecognized operation"
    assert name_of(0xB123, CommandField.C_STORE_RQ) == "Warning B123H"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, StatusKind.SUCCESS),
        (0x0001, StatusKind.WARNING),
        (0xB00F, StatusKind.WARNING),
        (0xFF01, StatusKind.PENDING),
        (0xFF02, StatusKind.FAILURE),
        (0xFE00, StatusKind.CANCEL),
        (0x0111, StatusKind.FAILURE),
        (0x9999, StatusKind.FAILURE),
    ],
)
def test_any_status_has_a_kind(status: int, kind: StatusKind) -> None:
    assert kind_of(status) is kind
