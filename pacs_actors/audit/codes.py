"""The codes of audit messages (PS3.15 A.5, PS3.16 CID 400 to 405): which event is which, who plays which part. No I/O."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from pacs_actors.audit import events


class Code(Struct, frozen=True):
    value: str
    scheme: str
    meaning: str


def dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def rfc3881(value: str, meaning: str) -> Code:
    return Code(value, "RFC-3881", meaning)


APPLICATION: Final = dcm("110150", "Application")
DESTINATION: Final = dcm("110152", "Destination Role ID")
SOURCE: Final = dcm("110153", "Source Role ID")

STUDY: Final = dcm("110180", "Study Instance UID")
NODE: Final = dcm("110182", "Node ID")
PATIENT: Final = rfc3881("2", "Patient Number")
REPORT: Final = rfc3881("9", "Report Number")
CRITERIA: Final = rfc3881("10", "Search Criteria")
USER: Final = rfc3881("11", "User Identifier")
URI: Final = rfc3881("12", "URI")
ROW: Final = Code("AuditRow", "99PACSACTORS", "Row of the audit")

_APPLICATION_ACTIVITY: Final = dcm("110100", "Application Activity")
_AUDIT_LOG_USED: Final = dcm("110101", "Audit Log Used")
_ACCESSED: Final = dcm("110103", "DICOM Instances Accessed")
_TRANSFERRED: Final = dcm("110104", "DICOM Instances Transferred")
_STUDY_DELETED: Final = dcm("110105", "DICOM Study Deleted")
_EXPORT: Final = dcm("110106", "Export")
_IMPORT: Final = dcm("110107", "Import")
_NETWORK_ENTRY: Final = dcm("110108", "Network Entry")
_QUERY: Final = dcm("110112", "Query")
_SECURITY_ALERT: Final = dcm("110113", "Security Alert")
_USER_AUTHENTICATION: Final = dcm("110114", "User Authentication")

_NODE_AUTHENTICATION: Final = dcm("110126", "Node Authentication")


class Parts(Enum):
    """Who plays which part beside whom."""

    IN = "they are the source, we are the destination"
    OUT = "we are the source, they or whom they name are the destination"
    ACCESS = "they work here"
    OURSELVES = "we are the application"
    ALERT = "we report what they did"


class Kind(Struct, frozen=True):
    """action: C, R, U, D or E"""

    event: Code
    action: str
    parts: Parts
    types: tuple[Code, ...] = ()


def _alert(value: str, meaning: str) -> Kind:
    return Kind(_SECURITY_ALERT, "E", Parts.ALERT, (dcm(value, meaning),))


KINDS: Final = {
    events.STORE: Kind(_TRANSFERRED, "C", Parts.IN),
    events.IMPORTED: Kind(_IMPORT, "C", Parts.IN),
    events.QUERY: Kind(_QUERY, "E", Parts.IN),
    events.RETRIEVE: Kind(_TRANSFERRED, "R", Parts.OUT),
    events.MOVE: Kind(_TRANSFERRED, "R", Parts.OUT),
    events.COMMIT: Kind(_ACCESSED, "R", Parts.ACCESS),
    events.ASSOCIATION: Kind(_NETWORK_ENTRY, "E", Parts.ACCESS, (dcm("110124", "Attach"),)),
    events.INSTANCE_QUARANTINED: Kind(_ACCESSED, "U", Parts.ACCESS),
    events.PATIENT_MISMATCH: Kind(_ACCESSED, "U", Parts.ACCESS),
    events.OBJECT_HEALED: Kind(_ACCESSED, "U", Parts.ACCESS),
    events.OBJECT_DAMAGED: Kind(_ACCESSED, "U", Parts.ACCESS),
    events.LOGIN: Kind(_USER_AUTHENTICATION, "E", Parts.ACCESS, (dcm("110122", "Login"),)),
    events.LOGOUT: Kind(_USER_AUTHENTICATION, "E", Parts.ACCESS, (dcm("110123", "Logout"),)),
    events.DENIED: _alert("110132", "Use of Restricted Function"),
    events.VIEWED: Kind(_ACCESSED, "R", Parts.ACCESS),
    events.DOWNLOADED: Kind(_TRANSFERRED, "R", Parts.OUT),
    events.EXPORTED: Kind(_EXPORT, "R", Parts.OUT),
    events.DELETED: Kind(_STUDY_DELETED, "D", Parts.ACCESS),
    events.UNDELETED: Kind(_ACCESSED, "C", Parts.ACCESS),
    events.ERASED: Kind(_STUDY_DELETED, "D", Parts.ACCESS),
    events.SHARE_CREATED: _alert("110135", "Object Security Attributes Changed"),
    events.SHARE_USED: Kind(_ACCESSED, "R", Parts.ACCESS),
    events.SHARE_REVOKED: _alert("110135", "Object Security Attributes Changed"),
    events.USER_CHANGED: _alert("110137", "User Security Attributes Changed"),
    events.PERMISSION_CHANGED: _alert("110136", "Security Roles Changed"),
    events.SETTINGS_CHANGED: _alert("110131", "Software Configuration"),
    events.NODE_CHANGED: _alert("110128", "Network Configuration"),
    events.AUDIT_READ: Kind(_AUDIT_LOG_USED, "R", Parts.ACCESS),
    events.INTEGRITY_ASKED: _alert("110132", "Use of Restricted Function"),
    events.STORAGE_ASKED: _alert("110132", "Use of Restricted Function"),
    events.AUDIT_DAMAGED: _alert("110129", "Security Configuration"),
    events.STARTED: Kind(_APPLICATION_ACTIVITY, "E", Parts.OURSELVES, (dcm("110120", "Application Start"),)),
    events.STOPPED: Kind(_APPLICATION_ACTIVITY, "E", Parts.OURSELVES, (dcm("110121", "Application Stop"),)),
}
# What an event that is not listed is: an alert says what happened without saying more than we know.
UNKNOWN: Final = _alert("110132", "Use of Restricted Function")


def kind_of(event: str, outcome: str) -> Kind:
    """An association that we refused is not one that was attached (PS3.15 A.5.3: Security Alert)."""
    if event == events.ASSOCIATION and outcome == "refused":
        return Kind(_SECURITY_ALERT, "E", Parts.ALERT, (_NODE_AUTHENTICATION,))
    return KINDS.get(event, UNKNOWN)


def outcome_indicator(event: str, outcome: str) -> str:
    """0: success, 4: minor failure (may try again), 8: serious failure."""
    if outcome == "success":
        return "0"
    return "4" if outcome == "warning" or event == events.LOGIN else "8"
