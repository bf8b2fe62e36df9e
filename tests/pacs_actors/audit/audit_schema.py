"""The schema of audit messages, typed from PS3.15 A.5.1, and a validator for it.

An element is its attributes (name -> pattern; ``?`` after the name: optional), its children in their order (name, most; a
group is a choice), and the pattern of its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from xml.etree.ElementTree import Element

TOKEN, TEXT = r"\S(.*\S)?|", r"[\s\S]*"
DATE_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
BOOLEAN, BASE64, INTEGER = "true|false|0|1", r"[A-Za-z0-9+/]*={0,2}", r"-?\d+"
OID = r"[0-2]((\.0)|(\.[1-9][0-9]*))*"


class Rule(NamedTuple):
    attributes: Mapping[str, str] = MappingProxyType({})
    children: tuple[tuple[tuple[str, ...], int, int], ...] = ()
    text: str = r"\s*"


def one_of(first: int, last: int) -> str:
    return "|".join(str(number) for number in range(first, last + 1))


def child(*names: str, least: int = 0, most: int = 1) -> tuple[tuple[str, ...], int, int]:
    return names, least, most


MANY = 10**6
CODED = Rule({"csd-code": TOKEN, "codeSystemName": TOKEN, "displayName?": TOKEN, "originalText": TOKEN})
SCHEMA = {
    "AuditMessage": Rule(
        {},
        (
            child("EventIdentification", least=1),
            child("ActiveParticipant", least=1, most=MANY),
            child("AuditSourceIdentification", least=1),
            child("ParticipantObjectIdentification", most=MANY),
        ),
    ),
    "EventIdentification": Rule(
        {"EventActionCode?": "C|R|U|D|E", "EventDateTime": DATE_TIME, "EventOutcomeIndicator": "0|4|8|12"},
        (child("EventID", least=1), child("EventTypeCode", most=MANY), child("EventOutcomeDescription")),
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": Rule(text=TEXT),
    "ActiveParticipant": Rule(
        {
            "UserID": TEXT, "AlternativeUserID?": TEXT, "UserName?": TEXT, "UserIsRequestor": BOOLEAN,
            "NetworkAccessPointID?": TOKEN, "NetworkAccessPointTypeCode?": one_of(1, 5),
        },
        (child("RoleIDCode", most=MANY), child("MediaIdentifier")),
    ),
    "RoleIDCode": CODED,
    "AuditSourceIdentification": Rule(
        {"AuditEnterpriseSiteID?": TOKEN, "AuditSourceID": TOKEN}, (child("AuditSourceTypeCode", most=MANY),)
    ),
    "AuditSourceTypeCode": Rule({"csd-code": one_of(1, 9)}),
    "ParticipantObjectIdentification": Rule(
        {
            "ParticipantObjectID": TOKEN, "ParticipantObjectTypeCode?": one_of(1, 4),
            "ParticipantObjectTypeCodeRole?": one_of(1, 26), "ParticipantObjectDataLifeCycle?": one_of(1, 15),
            "ParticipantObjectSensitivity?": TOKEN,
        },
        (
            child("ParticipantObjectIDTypeCode", least=1),
            child("ParticipantObjectName", "ParticipantObjectQuery", least=1),
            child("ParticipantObjectDetail", most=MANY),
            child("ParticipantObjectDescription", most=MANY),
        ),
    ),
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": Rule(text=TOKEN),
    "ParticipantObjectQuery": Rule(text=BASE64),
    "ParticipantObjectDetail": Rule({"type": TOKEN, "value": BASE64}),
    "ParticipantObjectDescription": Rule(
        {},
        (
            child("MPPS", most=MANY), child("Accession", most=MANY), child("SOPClass", most=MANY),
            child("ParticipantObjectContainsStudy"), child("Encrypted"), child("Anonymized"),
        ),
    ),
    "SOPClass": Rule({"UID?": OID, "NumberOfInstances": INTEGER}, (child("Instance", most=MANY),)),
    "Instance": Rule({"UID": OID}),
}  # fmt: skip


def problems(element: Element) -> list[str]:
    """What the schema has against an element and all below it."""
    rule = SCHEMA.get(element.tag)
    if rule is None:
        return [f"<{element.tag}> is not an element of the schema"]
    found = []
    patterns = {name.rstrip("?"): pattern for name, pattern in rule.attributes.items()}
    for name, value in element.attrib.items():
        if name not in patterns:
            found.append(f"<{element.tag} {name}> is unknown")
        elif not re.fullmatch(patterns[name], value):
            found.append(f"<{element.tag} {name}={value!r}>")
    needed = {name for name in rule.attributes if not name.endswith("?")}
    found += [f"<{element.tag}> lacks {name}" for name in sorted(needed - set(element.attrib))]
    if not re.fullmatch(rule.text, element.text or ""):
        found.append(f"<{element.tag}>: text {element.text!r}")
    rest = list(element)
    for names, least, most in rule.children:
        count = 0
        while rest and rest[0].tag in names and count < most:
            found += problems(rest.pop(0))
            count += 1
        if count < least:
            found.append(f"<{element.tag}> lacks {' or '.join(names)}")
    return found + [f"<{element.tag}>: <{each.tag}> out of place" for each in rest]
