"""DIMSE status codes (PS3.7 annex C, PS3.4 B.2.3, C.4): their kind and their name."""

from __future__ import annotations

from enum import Enum
from typing import Final

from protocols.dimse.commands import RESPONSE, CommandField


class StatusKind(Enum):
    """PS3.7 C.1."""

    SUCCESS = "success"
    PENDING = "pending"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"


SUCCESS: Final = 0x0000
REQUESTED_OPTIONAL_ATTRIBUTES_NOT_SUPPORTED: Final = 0x0001
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NO_SUCH_SOP_INSTANCE: Final = 0x0112
NO_SUCH_EVENT_TYPE: Final = 0x0113
INVALID_ARGUMENT_VALUE: Final = 0x0115
INVALID_SOP_INSTANCE: Final = 0x0117
NO_SUCH_SOP_CLASS: Final = 0x0118
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED_OPERATION: Final = 0x0211
RESOURCE_LIMITATION: Final = 0x0213
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_COUNT_MATCHES: Final = 0xA701
CANNOT_PERFORM_SUB_OPERATIONS: Final = 0xA702
MOVE_DESTINATION_UNKNOWN: Final = 0xA801
DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900
COERCION_OF_DATA_ELEMENTS: Final = 0xB000
SUB_OPERATIONS_WITH_FAILURES: Final = 0xB000
ELEMENTS_DISCARDED: Final = 0xB006
UNABLE_TO_PROCESS: Final = 0xC000
CANCEL: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_OPTIONAL_KEYS_NOT_SUPPORTED: Final = 0xFF01

_GENERAL: Final[dict[int, str]] = {
    0x0000: "Success",
    0x0001: "Requested optional attributes are not supported",
    0x0105: "No such attribute",
    0x0106: "Invalid attribute value",
    0x0107: "Attribute list error",
    0x0110: "Processing failure",
    0x0111: "Duplicate SOP Instance",
    0x0112: "No such SOP Instance",
    0x0113: "No such event type",
    0x0114: "No such argument",
    0x0115: "Invalid argument value",
    0x0116: "Attribute value out of range",
    0x0117: "Invalid SOP Instance",
    0x0118: "No such SOP Class",
    0x0119: "Class-instance conflict",
    0x0120: "Missing attribute",
    0x0121: "Missing attribute value",
    0x0122: "Refused: SOP Class not supported",
    0x0123: "No such action",
    0x0124: "Refused: not authorized",
    0x0210: "Duplicate invocation",
    0x0211: "Unrecognized operation",
    0x0212: "Mistyped argument",
    0x0213: "Resource limitation",
    0xFE00: "Cancelled",
}
"""PS3.7 annex C."""

_STORE: Final[dict[int, str]] = {
    0xA700: "Refused: out of resources",
    0xA900: "Data set does not match SOP Class",
    0xB000: "Coercion of data elements",
    0xB006: "Elements discarded",
    0xB007: "Data set does not match SOP Class",
    0xC000: "Cannot understand",
}
"""PS3.4 table B.2-1."""

_FIND: Final[dict[int, str]] = {
    0xA700: "Refused: out of resources",
    0xA710: "Invalid prior record key",
    0xA900: "Identifier does not match SOP Class",
    0xB001: "Matching reached the response limit",
    0xC000: "Unable to process",
    0xFF00: "Matches are continuing",
    0xFF01: "Matches are continuing; an optional key is not supported",
}
"""PS3.4 table C.4-1."""

_GET: Final[dict[int, str]] = {
    0xA701: "Refused: out of resources, unable to calculate the number of matches",
    0xA702: "Refused: out of resources, unable to perform sub-operations",
    0xA900: "Identifier does not match SOP Class",
    0xAA00: "None of the frames requested were found in the SOP Instance",
    0xAA01: "Unable to create a new object for this SOP Class",
    0xAA02: "Unable to extract frames",
    0xAA03: "Time-based request for a SOP Instance that is not time-based",
    0xAA04: "Invalid request",
    0xB000: "Sub-operations complete, one or more failures or warnings",
    0xC000: "Unable to process",
    0xFF00: "Sub-operations are continuing",
}
"""PS3.4 tables C.4-3 and Y.4-2."""

_OF_SERVICE: Final[dict[int, dict[int, str]]] = {
    CommandField.C_STORE_RQ: _STORE,
    CommandField.C_FIND_RQ: _FIND,
    CommandField.C_GET_RQ: _GET,
    CommandField.C_MOVE_RQ: _GET | {0xA801: "Refused: move destination unknown"},
}

_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})


def kind_of(status: int) -> StatusKind:
    """The kind of any status, known or not; what no table has is a failure (PS3.7 table C-1)."""
    if status == SUCCESS:
        return StatusKind.SUCCESS
    if status in (0xFF00, 0xFF01):
        return StatusKind.PENDING
    if status == CANCEL:
        return StatusKind.CANCEL
    if status & 0xF000 == 0xB000 or status in _WARNINGS:
        return StatusKind.WARNING
    return StatusKind.FAILURE


def name_of(status: int, command_field: int) -> str:
    """What a status says in the answers to one command; request's or response's field alike.

    The last digits of A7xxH, A9xxH and Cxxx are the implementation's own (PS3.4 B.2.3).
    """
    names = _OF_SERVICE.get(command_field & ~RESPONSE, {})
    for code in (status, status & 0xFF00, status & 0xF000):
        exact = code == status or code in (0xA700, 0xA900, 0xC000)
        if exact and code in names:
            return names[code]
    return _GENERAL.get(status, f"{kind_of(status).value.capitalize()} {status:04X}H")
