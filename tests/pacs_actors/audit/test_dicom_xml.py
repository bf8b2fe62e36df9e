"""Every row is an audit message of PS3.15 A.5: valid, with the codes of its event, and whoever took part."""

from __future__ import annotations

import base64
from xml.etree.ElementTree import Element, fromstring

import pytest

from pacs_actors.audit import events
from pacs_actors.audit.codes import KINDS
from pacs_actors.audit.dicom_xml import Source, message
from protocols.messages.audit import AuditRow
from tests.pacs_actors.audit.audit_schema import problems
from tests.pacs_actors.audit.rows import row

SOURCE = Source("PACS-NORTH", "PACS", "archive.example")

# EventID, action, EventTypeCodes: typed from PS3.15 A.5.3 and PS3.16 CID 400 and 401.
CODES = {
    "store": ("110104", "C", []), "imported": ("110107", "C", []), "query": ("110112", "E", []),
    "retrieve": ("110104", "R", []), "move": ("110104", "R", []), "commit": ("110103", "R", []),
    "association": ("110108", "E", ["110124"]), "instance_quarantined": ("110103", "U", []),
    "patient_mismatch": ("110103", "U", []), "object_healed": ("110103", "U", []), "login": ("110114", "E", ["110122"]),
    "logout": ("110114", "E", ["110123"]), "denied": ("110113", "E", ["110132"]), "viewed": ("110103", "R", []),
    "downloaded": ("110104", "R", []), "exported": ("110106", "R", []), "deleted": ("110105", "D", []),
    "undeleted": ("110103", "C", []), "erased": ("110105", "D", []), "share_created": ("110113", "E", ["110135"]),
    "share_used": ("110103", "R", []), "share_revoked": ("110113", "E", ["110135"]),
    "user_changed": ("110113", "E", ["110137"]), "permission_changed": ("110113", "E", ["110136"]),
    "settings_changed": ("110113", "E", ["110131"]), "node_changed": ("110113", "E", ["110128"]),
    "audit_read": ("110101", "R", []), "audit_damaged": ("110113", "E", ["110129"]),
    "object_damaged": ("110103", "U", []), "integrity_asked": ("110113", "E", ["110132"]),
    "storage_asked": ("110113", "E", ["110132"]),
    "started": ("110100", "E", ["110120"]), "stopped": ("110100", "E", ["110121"]),
}  # fmt: skip


def read(of: AuditRow) -> Element:
    found = fromstring(message(of, SOURCE))
    assert problems(found) == []
    return found


def codes(parent: Element, name: str) -> list[str]:
    return [str(each.get("csd-code")) for each in parent.iter(name)]


def participants(of: AuditRow) -> list[tuple[str, str, list[str]]]:
    """Who, requestor or not, roles."""
    return [
        (str(each.get("UserID")), str(each.get("UserIsRequestor")), codes(each, "RoleIDCode"))
        for each in read(of).iter("ActiveParticipant")
    ]


def objects(of: AuditRow) -> dict[str, Element]:
    """By the code of what its ID is."""
    found = read(of).findall("ParticipantObjectIdentification")
    return {codes(each, "ParticipantObjectIDTypeCode")[0]: each for each in found}


def details(element: Element) -> dict[str, str]:
    return {
        str(each.get("type")): base64.b64decode(str(each.get("value"))).decode()
        for each in element.iter("ParticipantObjectDetail")
    }


def test_every_event_has_its_codes() -> None:
    assert set(CODES) == set(events.ALL) == set(KINDS)


@pytest.mark.parametrize("outcome", ["success", "warning", "failure", "refused"])
@pytest.mark.parametrize("name", CODES)
def test_every_event_is_a_valid_message_with_the_codes_of_the_standard(name: str, outcome: str) -> None:
    facts = {
        "why": "because", "level": "STUDY", "instances": 3, "destination": "WS1", "user": "bert", "of": "viewer",
        "ae_title": "CT2", "setting": "web.hosts", "share": "7",
    }  # fmt: skip
    found = read(row(name, details=facts, outcome=outcome, uids=("1.2.3", "1.2.3.4", "1.2.3.4.5")))
    identification = found.find("EventIdentification")
    assert identification is not None
    refused = (name, outcome) == ("association", "refused")
    wanted = ("110113", "E", ["110126"]) if refused else CODES[name]
    assert codes(identification, "EventID") == [wanted[0]]
    assert (identification.get("EventActionCode"), codes(identification, "EventTypeCode")) == wanted[1:]
    severity = {"success": "0", "warning": "4"}.get(outcome, "4" if name == "login" else "8")
    assert identification.get("EventOutcomeIndicator") == severity
    assert identification.get("EventDateTime") == "2026-02-03T04:05:06.789Z"
    assert identification.findtext("EventOutcomeDescription") == "because"
    source = found.find("AuditSourceIdentification")
    assert source is not None
    assert source.get("AuditSourceID") == "PACS-NORTH"


def test_an_event_that_nobody_foresaw_is_a_valid_message() -> None:
    assert codes(read(row("something_new")), "EventID") == ["110113"]


def test_what_is_stored_goes_from_them_to_us() -> None:
    assert participants(row("store")) == [
        ("CT1", "true", ["110153"]),
        ("pacs-actors", "false", ["110152"]),
    ]


def test_what_is_retrieved_goes_from_us_to_them() -> None:
    assert participants(row("retrieve")) == [
        ("pacs-actors", "false", ["110153"]),
        ("CT1", "true", ["110152"]),
    ]


def test_what_is_moved_goes_from_us_to_a_third() -> None:
    assert participants(row("move", details={"destination": "WS9"})) == [
        ("pacs-actors", "false", ["110153"]),
        ("WS9", "false", ["110152"]),
        ("CT1", "true", []),
    ]


def test_a_start_has_the_application_alone() -> None:
    assert participants(
        row("started", who="pacs-actors", via="process", address="", uids=(), patient_id="")
    ) == [("pacs-actors", "false", ["110150"])]


@pytest.mark.parametrize(
    ("address", "kind"), [("10.0.0.9", "2"), ("::1", "2"), ("ct1.example", "1"), ("", None)]
)
def test_where_somebody_came_from_is_an_address_or_a_name(address: str, kind: str | None) -> None:
    them = next(read(row(address=address)).iter("ActiveParticipant"))
    assert them.get("NetworkAccessPointTypeCode") == kind
    assert them.get("NetworkAccessPointID") == (address or None)
    assert them.get("AlternativeUserID") == "AETITLES=CT1"


def test_study_and_patient_are_named_and_instances_counted() -> None:
    counts = "1.2.840.10008.5.1.4.1.1.2=9 1.2.840.10008.5.1.4.1.1.7=2 nonsense 1.2=x"
    found = objects(row("store", details={"instances": 12, "sop_classes": counts}))
    study, patient = found["110180"], found["2"]
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert [each.attrib for each in study.iter("SOPClass")] == [
        {"UID": "1.2.840.10008.5.1.4.1.1.2", "NumberOfInstances": "9"},
        {"UID": "1.2.840.10008.5.1.4.1.1.7", "NumberOfInstances": "2"},
        {"NumberOfInstances": "1"},
    ]
    assert patient.get("ParticipantObjectID") == "P1"
    assert patient.findtext("ParticipantObjectName") == "", "names are not kept"


def test_a_quarantined_instance_is_named_below_its_study() -> None:
    study = objects(row("instance_quarantined", uids=("1.2", "1.3", "1.4")))["110180"]
    assert study.get("ParticipantObjectID") == "1.2"
    assert [each.get("UID") for each in study.iter("Instance")] == ["1.4"]


def test_a_query_has_its_keys_in_it() -> None:
    query = objects(row("query", uids=(), details={"level": "STUDY", "keys": "PatientID", "matches": 3}))[
        "10"
    ]
    text = base64.b64decode(str(query.findtext("ParticipantObjectQuery"))).decode()
    assert text == '{"level":"STUDY","keys":"PatientID","matches":3}'


def test_whose_rights_and_which_node_changed_is_named() -> None:
    user = objects(row("user_changed", details={"user": "bert", "change": "locked"}))["11"]
    node = objects(row("node_changed", details={"ae_title": "CT2"}))["110182"]
    assert (user.get("ParticipantObjectID"), node.get("ParticipantObjectID")) == ("bert", "CT2")


def test_a_message_names_its_row_with_everything_in_it() -> None:
    itself = objects(row("viewed", via="token", details={"how": "viewer", "n": 5}))["AuditRow"]
    assert itself.get("ParticipantObjectID") == "7"
    assert details(itself) == {
        "hash": "ab" * 32, "outcome": "success", "via": "token", "uids": "1.2.3", "how": "viewer", "n": "5",
    }  # fmt: skip


HOSTILE = ["<a>&\"'", "]]>", "\0\x01\x1f", "\ufffe", "a\nb", "é漢👩", "x" * 5000, " lead", "&#0;"]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:8]))
def test_whatever_a_peer_sent_the_message_can_be_parsed(text: str) -> None:
    hostile = row(
        text, who=text, via=text, address=text, patient_id=text, uids=(text, text), details={text: text, "why": text, "level": text}
    )  # fmt: skip
    for name in (text, "query", "store", "deleted", "move"):
        found = fromstring(message(AuditRow(**{**_fields(hostile), "event": name}), SOURCE))
        assert found.tag == "AuditMessage"
        assert b"\n" not in message(AuditRow(**{**_fields(hostile), "event": "store", "details": {}}), SOURCE)


def _fields(of: AuditRow) -> dict[str, object]:
    return {name: getattr(of, name) for name in AuditRow.__struct_fields__}
