"""Rows of the audit as audit messages of PS3.15 A.5 (the XML of A.5.1, formerly RFC 3881). No I/O.

A message names its study and patient, and always its row with all its details: so a receiver that gets one twice can tell.
Patients' names are not kept, so the element that the schema wants for one is empty.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from datetime import UTC
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec
from msgspec import Struct

from pacs_actors.audit import codes, events
from pacs_actors.audit.codes import Code, Parts
from protocols.messages.audit import AuditRow

# XML 1.0 has no way to write these, escaped or not.
_NOT_IN_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_APPLICATION_SERVER: Final = "4"
_PERSON, _SYSTEM = "1", "2"
_ROLE_PATIENT, _ROLE_REPORT, _ROLE_SECURITY_USER, _ROLE_SECURITY_RESOURCE = "1", "3", "11", "13"
_ROLE_DESTINATION, _ROLE_JOB, _ROLE_QUERY = "16", "20", "24"
_LIFE_CYCLE: Final = {events.DELETED: "14", events.ERASED: "15", events.VIEWED: "6", events.EXPORTED: "10"}
# What a row names besides studies and patients: the key of its details, what that is, and its part.
_NAMED: Final = (
    ("user", codes.USER, _PERSON, _ROLE_SECURITY_USER),
    ("of", codes.USER, _SYSTEM, _ROLE_SECURITY_USER),
    ("ae_title", codes.NODE, _SYSTEM, _ROLE_DESTINATION),
    ("setting", codes.URI, _SYSTEM, _ROLE_SECURITY_RESOURCE),
    ("share", codes.URI, _SYSTEM, _ROLE_SECURITY_RESOURCE),
)
# Their UIDs are study, series, instance.
_OF_AN_INSTANCE: Final = (
    events.INSTANCE_QUARANTINED,
    events.PATIENT_MISMATCH,
    events.OBJECT_HEALED,
    events.OBJECT_DAMAGED,
)
# Their first UID is the study's; what follows lies below it.
_BELOW: Final = frozenset({
    *_OF_AN_INSTANCE, events.DELETED, events.UNDELETED, events.ERASED,
})  # fmt: skip


class Source(Struct, frozen=True):
    """Who reports: source_id names us among all sources; host is our machine's name."""

    source_id: str
    ae_title: str
    host: str


def message(row: AuditRow, source: Source) -> bytes:
    """One AuditMessage, UTF-8, without XML declaration."""
    kind = codes.kind_of(row.event, row.outcome)
    root = Element("AuditMessage")
    when = row.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = _add(
        root,
        "EventIdentification",
        EventActionCode=kind.action,
        EventDateTime=when,
        EventOutcomeIndicator=codes.outcome_indicator(row.event, row.outcome),
    )
    _coded(event, "EventID", kind.event)
    for each in kind.types:
        _coded(event, "EventTypeCode", each)
    if row.details.get("why"):
        _add(event, "EventOutcomeDescription").text = _clean(str(row.details["why"]))
    _participants(root, row, source, kind.parts)
    reporter = _add(root, "AuditSourceIdentification", AuditSourceID=source.source_id)
    _add(reporter, "AuditSourceTypeCode", **{"csd-code": _APPLICATION_SERVER})
    _objects(root, row)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=False)
    return written


# -- who ------------------------------------------------------------------------------------------------------------------------
def _participants(root: Element, row: AuditRow, source: Source, parts: Parts) -> None:
    them, us = _them(row), _us(source)
    destination = str(row.details.get("destination", ""))
    match parts:
        case Parts.IN:
            _participant(root, them, codes.SOURCE, requestor=True)
            _participant(root, us, codes.DESTINATION)
        case Parts.OUT if destination:
            _participant(root, us, codes.SOURCE)
            named = {"UserID": destination, "AlternativeUserID": f"AETITLES={destination}"}
            _participant(root, named, codes.DESTINATION)
            _participant(root, them, requestor=True)
        case Parts.OUT:
            _participant(root, us, codes.SOURCE)
            _participant(root, them, codes.DESTINATION, requestor=True)
        case Parts.ACCESS:
            _participant(root, them, requestor=True)
            _participant(root, us, codes.APPLICATION)
        case Parts.OURSELVES:
            _participant(root, us, codes.APPLICATION)
        case Parts.ALERT:
            _participant(root, us, codes.APPLICATION, requestor=True)
            _participant(root, them)


def _them(row: AuditRow) -> dict[str, str]:
    found = {"UserID": row.who or row.address or "unknown"}
    if row.via == "ae":
        found["AlternativeUserID"] = f"AETITLES={row.who}"
    elif row.via:
        found["AlternativeUserID"] = row.via
    return found | _access_point(row.address)


def _us(source: Source) -> dict[str, str]:
    names = {"UserID": "pacs-actors", "AlternativeUserID": f"AETITLES={source.ae_title}"}
    return names | _access_point(source.host)


def _access_point(address: str) -> dict[str, str]:
    """1: a machine's name, 2: an address."""
    if not address:
        return {}
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "1"}
    return {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "2"}


def _participant(
    root: Element, who: dict[str, str], role: Code | None = None, *, requestor: bool = False
) -> None:
    element = _add(root, "ActiveParticipant", UserIsRequestor=str(requestor).lower(), **who)
    if role is not None:
        _coded(element, "RoleIDCode", role)


# -- what -----------------------------------------------------------------------------------------------------------------------
def _objects(root: Element, row: AuditRow) -> None:
    details = row.details
    if row.event == events.QUERY:
        level = str(details.get("level", "")) or "?"
        _object(root, level, codes.CRITERIA, _SYSTEM, _ROLE_QUERY, query=msgspec.json.encode(details))
    elif row.event == events.COMMIT or (row.event == events.STORE and row.outcome == "refused"):
        role = _ROLE_JOB if row.event == events.COMMIT else _ROLE_REPORT
        for uid in row.uids:
            _object(root, uid, codes.REPORT, _SYSTEM, role)
    else:
        for uid in row.uids[:1] if row.event in _BELOW else row.uids:
            _study(root, uid, row)
    for key, code, kind, role in _NAMED:
        if details.get(key):
            _object(root, str(details[key]), code, kind, role, name=key)
    if row.event == events.AUDIT_READ:
        name = "Security Audit Log"
        _object(root, "audit_events", codes.URI, _SYSTEM, _ROLE_SECURITY_RESOURCE, name=name)
    if row.patient_id:
        _object(root, row.patient_id, codes.PATIENT, _PERSON, _ROLE_PATIENT)
    itself = _object(root, str(row.id), codes.ROW, _SYSTEM, _ROLE_SECURITY_RESOURCE, name=row.event)
    facts = {"hash": row.hash, "outcome": row.outcome, "via": row.via, "uids": " ".join(row.uids), **details}
    for name, value in facts.items():
        _add(itself, "ParticipantObjectDetail", type=name, value=_base64(str(value)))


def _study(root: Element, uid: str, row: AuditRow) -> None:
    study = _object(root, uid, codes.STUDY, _SYSTEM, _ROLE_REPORT)
    if row.event in _LIFE_CYCLE:
        study.set("ParticipantObjectDataLifeCycle", _LIFE_CYCLE[row.event])
    instances: tuple[str, ...] = ()
    if row.event in _OF_AN_INSTANCE:
        instances = row.uids[2:]
    elif row.event in _BELOW and row.details.get("level") == "instance":
        instances = row.uids[1:]
    count = row.details.get("instances", row.details.get("completed", len(instances)))
    if not isinstance(count, int) or count <= 0:
        return
    description = _add(study, "ParticipantObjectDescription")
    listed = [each.partition("=") for each in str(row.details.get("sop_classes", "")).split()]
    classes = [(uid, int(number)) for uid, _, number in listed if number.isdecimal()]
    for sop_class, number in classes:
        _add(description, "SOPClass", UID=sop_class, NumberOfInstances=str(number))
    rest = count - sum(number for _, number in classes)
    if rest > 0 or instances:
        found = _add(description, "SOPClass", NumberOfInstances=str(max(rest, 0)))
        for each in instances:
            _add(found, "Instance", UID=each)


def _object(
    root: Element, name_id: str, code: Code, kind: str, role: str, *, name: str = "", query: bytes | None = None
) -> Element:  # fmt: skip
    element = _add(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=name_id,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _coded(element, "ParticipantObjectIDTypeCode", code)
    if query is None:
        _add(element, "ParticipantObjectName").text = _clean(name)
    else:
        _add(element, "ParticipantObjectQuery").text = base64.b64encode(query).decode()
    return element


# -- how ------------------------------------------------------------------------------------------------------------------------
def _add(parent: Element, name: str, **attributes: str) -> Element:
    return SubElement(parent, name, {key: _clean(value) for key, value in attributes.items()})


def _coded(parent: Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    _add(parent, name, **attributes)


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode()
