"""The REST API on the real server: patients, tags, archives, searches, nodes, settings, audit, system."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import pydicom
import pytest

from tests.system import peers
from tests.system.peers import wait_until
from tests.system.server import Server, free_port

PASSWORD = "nine horses on the pier"


def call(
    server: Server,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = None,
    expect: int = 200,
) -> Any:
    """As the administrator, unless a token is given."""
    given = server.token if token is None else token
    status, answer = server.ask(method, f"/api/v1{path}", body, token=given, within_s=20)
    assert status == expect, (method, path, status, answer)
    return json.loads(answer) if answer else None


def listed(server: Server, path: str, **query: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = call(server, "GET", f"{path}?{urlencode(query)}")["items"]
    return items


@pytest.fixture(scope="module")
def stored(node: Server) -> list[peers.Instance]:
    """Three patients, of whom one has two studies."""
    anne = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Ärzte^Änne", "PatientID": "API-1"}
    anne |= {"PatientBirthDate": "19500102", "PatientSex": "F"}
    made = [
        peers.make(
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Ärzte^Änne",
            PatientID="API-1",
            PatientBirthDate="19500102",
            PatientSex="F",
        ),
        peers.make(
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Ärzte^Änne",
            PatientID="API-1",
            PatientBirthDate="19500102",
            PatientSex="F",
        ),
        peers.make(PatientName="=SUM(A1)", PatientID="API-2", PatientBirthDate="19991231", PatientSex="M"),
        peers.make(PatientName="<script>alert(1)</script>", PatientID="API-3"),
    ]
    assert peers.send(node, *made) == [0] * len(made)
    return made


@pytest.fixture(scope="module")
def weak(node: Server) -> str:
    """The token of somebody who may do everything but sees no study."""
    actions = [one["action"] for one in call(node, "GET", "/permissions")]
    call(node, "POST", "/roles", {"name": "blind", "actions": actions}, expect=201)
    user = {"username": "blind", "password": PASSWORD, "roles": ["blind"]}
    call(node, "POST", "/users", user, expect=201)
    return node.login("blind", PASSWORD)


# -- patients ---------------------------------------------------------------------------------------------------------------
def test_patients_are_listed_with_their_studies(node: Server, stored: list[peers.Instance]) -> None:
    found = listed(node, "/patients", patient_id="API-", sort="patient_id")
    assert [(one["patient_id"], one["number_of_studies"]) for one in found] == [
        ("API-1", 2), ("API-2", 1), ("API-3", 1),
    ]  # fmt: skip
    assert [one["patient_id"] for one in listed(node, "/patients", patient_name="arzte")] == ["API-1"]
    studies = call(node, "GET", f"/patients/{found[0]['id']}/studies")
    assert {one["study_instance_uid"] for one in studies["items"]} == {stored[0].study, stored[1].study}
    assert studies["total"] == 2


@pytest.mark.parametrize(
    "column",
    [
        "last_received_at",
        "patient_name",
        "patient_id",
        "patient_birth_date",
        "patient_sex",
        "number_of_studies",
    ],
)
def test_pages_of_patients_follow_each_other_in_any_order(
    node: Server, stored: list[peers.Instance], column: str
) -> None:
    for way in ("", "-"):
        whole = [one["id"] for one in listed(node, "/patients", sort=way + column, limit="500")]
        paged, cursor = [], ""
        while cursor is not None:
            page = call(
                node, "GET", "/patients?" + urlencode({"sort": way + column, "limit": 2, "cursor": cursor})
            )
            paged += [one["id"] for one in page["items"]]
            cursor = page["next"]
        assert paged == whole


def test_who_sees_no_study_sees_no_patient_and_nothing_of_them(
    node: Server, stored: list[peers.Instance], weak: str
) -> None:
    assert call(node, "GET", "/patients", token=weak)["items"] == []
    number = listed(node, "/patients", patient_id="API-1")[0]["id"]
    one = stored[0]
    for path in (
        f"/patients/{number}/studies",
        f"/studies/{one.study}/series/{one.series}/instances/{one.uid}/tags",
        f"/studies/{one.study}/archive",
        f"/studies/{one.study}/audit",
    ):
        call(node, "GET", path, token=weak, expect=404)
    call(node, "POST", "/archive", {"studies": [one.study]}, token=weak, expect=404)
    assert call(node, "GET", "/status", token=weak)["last_studies"] == []


def test_a_list_as_csv_holds_no_formula(node: Server, stored: list[peers.Instance]) -> None:
    _, body = node.get("/api/v1/patients?patient_id=API-2&format=csv")
    rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
    assert [row["patient_name"] for row in rows] == ["'=SUM(A1)"]


def test_a_list_as_csv_is_all_of_it_in_its_order(node: Server, stored: list[peers.Instance]) -> None:
    for path, column in (("/studies", "study_instance_uid"), ("/patients", "patient_id")):
        page = call(node, "GET", f"{path}?limit=500&sort=patient_id")
        assert page["total"] > 2
        _, body = node.get(f"/api/v1{path}?limit=2&sort=patient_id&format=csv")
        rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
        assert [row[column] for row in rows] == [item[column] for item in page["items"]]
    number = listed(node, "/patients", patient_id="API-1")[0]["id"]
    _, body = node.get(f"/api/v1/patients/{number}/studies?limit=1&format=csv")
    rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
    assert len(rows) == call(node, "GET", f"/patients/{number}/studies")["total"]


# -- tags -------------------------------------------------------------------------------------------------------------------
def test_tags_are_those_of_pydicom_but_bulk_data(node: Server) -> None:
    instance = peers.example("CT_small.dcm")
    peers.send(node, instance)
    path = f"/studies/{instance.study}/series/{instance.series}/instances/{instance.uid}/tags"
    rows = {row["path"]: row for row in call(node, "GET", path)["items"]}
    wanted = peers.decode(instance.data, instance.syntax)
    assert {f"{element.tag:08X}" for element in wanted if element.tag.element} == {
        path for path in rows if "." not in path
    }
    assert rows["00100010"]["value"] == str(wanted.PatientName)
    assert (rows["00100020"]["keyword"], rows["00100020"]["name"]) == ("PatientID", "Patient ID")
    assert rows["7FE00010"]["bulk"] and rows["7FE00010"]["value"] == ""
    found = call(node, "GET", f"{path}?q=patientid")["items"]
    assert "PatientID" in {row["keyword"] for row in found}
    assert all("patientid" in row["keyword"].casefold() for row in found)


# -- archives ---------------------------------------------------------------------------------------------------------------
def test_studies_leave_as_one_zip_and_that_is_audited(node: Server, stored: list[peers.Instance]) -> None:
    wanted = [stored[0].study, stored[2].study]
    status, body = node.ask("POST", "/api/v1/archive", {"studies": wanted}, token=node.token, within_s=20)
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        uids = {
            pydicom.dcmread(io.BytesIO(archive.read(name))).StudyInstanceUID for name in archive.namelist()
        }
    assert uids == set(wanted)
    for study in wanted:
        wait_until(lambda study=study: listed(node, "/audit", event="downloaded", uid=study), "the audit")
    status, one = node.get(f"/api/v1/studies/{stored[0].study}/archive")
    assert zipfile.ZipFile(io.BytesIO(one)).namelist()[0].startswith(stored[0].study)


def test_an_archive_of_what_is_not_there_is_refused_whole(node: Server, stored: list[peers.Instance]) -> None:
    call(node, "POST", "/archive", {"studies": [stored[0].study, "2.25.404"]}, expect=404)
    for studies in ([], ["x"], ["1.2"] * 501):
        call(node, "POST", "/archive", {"studies": studies}, expect=400)


# -- searches ---------------------------------------------------------------------------------------------------------------
def test_searches_are_everybodys_own(node: Server, weak: str) -> None:
    kept = call(node, "POST", "/searches", {"name": "CT today", "query": "modality=CT"}, expect=201)
    again = call(
        node, "POST", "/searches", {"name": "CT today", "query": "modality=CT&sort=source"}, expect=201
    )
    assert again["id"] == kept["id"]
    assert [one["query"] for one in listed(node, "/searches")] == ["modality=CT&sort=source"]
    assert call(node, "GET", "/searches", token=weak)["items"] == []
    call(node, "DELETE", f"/searches/{kept['id']}", token=weak, expect=404)
    call(node, "DELETE", f"/searches/{kept['id']}", expect=204)
    assert listed(node, "/searches") == []


# -- nodes ------------------------------------------------------------------------------------------------------------------
def test_a_node_is_added_taken_in_tested_changed_and_removed(node: Server) -> None:
    body = {
        "ae_title": "MR7",
        "host": "127.0.0.1",
        "port": node.dicom_port,
        "networks": ["10.1.2.3/16"],
        "rights": ["find"],
    }
    call(node, "POST", "/nodes", body, expect=201)
    call(node, "POST", "/nodes", body, expect=409)
    assert next(one for one in listed(node, "/nodes") if one["ae_title"] == "MR7")["fixed"] is False
    echo = call(node, "POST", "/nodes/MR7/echo")
    assert (echo["ok"], echo["ms"]) == (False, None)
    assert "called AE title" in echo["why"]
    call(node, "PUT", "/nodes/MR7", {**body, "ae_title": "MR8"}, expect=400)
    changed = call(node, "PUT", "/nodes/MR7", {**body, "rights": ["store"], "networks": []})
    assert changed["rights"] == ["store"]
    # Known from loopback now, with the one right: its queries are turned down within seconds, on every worker.
    find, verification = peers.FIND["study"], "1.2.840.10008.1.1"

    def refused() -> bool:
        contexts = [(find, peers.IMPLICIT), (verification, peers.IMPLICIT)]
        with peers.opened(node, contexts, calling="MR7") as association:
            return find not in {context.abstract_syntax for context in association.accepted_contexts}

    wait_until(refused, "the new rights", within_s=15)
    call(node, "DELETE", "/nodes/MR7", expect=204)
    call(node, "DELETE", "/nodes/MR7", expect=404)
    wait_until(lambda: len(listed(node, "/audit", event="node_changed", q="MR7")) >= 4, "the audit")


def test_a_node_that_answers_is_echoed_to_and_one_that_is_gone_is_told_apart(node: Server) -> None:
    self_node = {"ae_title": node.aet, "host": "localhost", "port": node.dicom_port}
    call(node, "POST", "/nodes", self_node, expect=201)
    echo = call(node, "POST", f"/nodes/{node.aet}/echo")
    assert (echo["ok"], echo["why"]) == (True, "")
    assert echo["ms"] > 0
    call(node, "DELETE", f"/nodes/{node.aet}", expect=204)
    gone = call(node, "POST", "/nodes/GONE/echo")
    assert (gone["ok"], "Connection refused" in gone["why"]) == (False, True)
    call(node, "POST", "/nodes/NOBODY/echo", expect=404)
    metadata = {"ae_title": "CLOUD", "host": "169.254.169.254", "port": free_port()}
    call(node, "POST", "/nodes", metadata, expect=201)
    assert "no AE can be" in call(node, "POST", "/nodes/CLOUD/echo")["why"]
    call(node, "DELETE", "/nodes/CLOUD", expect=204)


def test_a_node_of_the_settings_cannot_be_changed_here(node: Server) -> None:
    fixed = next(one for one in listed(node, "/nodes") if one["ae_title"] == "DEST")
    assert fixed.pop("fixed") is True
    call(node, "PUT", "/nodes/DEST", fixed, expect=409)
    call(node, "DELETE", "/nodes/DEST", expect=409)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ae_title": "BACK\\SLASH"}, {"ae_title": "  "}, {"ae_title": "X" * 17}, {"port": 0}, {"port": 65536},
        {"host": ""}, {"host": "a b"}, {"host": "http://x/"}, {"networks": ["all"]}, {"rights": ["root"]},
        {"transfer_syntaxes": ["1.2.x"]}, {"networks": ["10.0.0.0/8"] * 300}, {"more": 1}, {"host": "x" * 300},
    ],
)  # fmt: skip
def test_a_node_that_cannot_be_is_refused(node: Server, wrong: dict[str, object]) -> None:
    body = {"ae_title": "WRONG", "host": "10.1.2.3", "port": 104, **wrong}
    call(node, "POST", "/nodes", body, expect=400)
    assert not any(
        one["host"] == body["host"] and one["port"] == body["port"] for one in listed(node, "/nodes")
    )


# -- settings ---------------------------------------------------------------------------------------------------------------
def setting(server: Server, key: str) -> dict[str, Any]:
    return next(one for one in listed(server, "/settings", limit="500") if one["key"] == key)


def test_every_setting_is_shown_with_where_it_comes_from(node: Server) -> None:
    from config.keys import keys

    shown = {one["key"]: one for one in listed(node, "/settings", limit="500")}
    assert set(shown) == set(keys())
    assert shown["dicom.max_find_results"]["value"] == 1150
    assert shown["dicom.max_find_results"]["source"] == "--dicom.max_find_results"
    assert shown["dicom.max_associations"]["source"] == "default"


def test_a_change_is_in_force_on_every_worker_until_it_is_taken_back(node: Server) -> None:
    key = "web.max_query_results"
    assert peers.send(node, peers.make(), peers.make()) == [0, 0]
    changed = call(node, "PUT", f"/settings/{key}", {"value": 1})
    assert (changed["value"], changed["source"], changed["changed_by"]) == (1, "changed here", "admin")

    def counts() -> set[int]:
        """Connections of their own, so that every worker answers some."""
        answers = [node.ask("GET", "/dicom-web/studies", token=node.token) for _ in range(12)]
        return {len(json.loads(body)) for _, body in answers}

    wait_until(lambda: counts() == {1}, "the change on every worker", within_s=15)
    call(node, "DELETE", f"/settings/{key}")
    wait_until(lambda: min(counts()) > 1, "the change taken back", within_s=15)
    call(node, "DELETE", f"/settings/{key}", expect=404)

    def told() -> set[tuple[str, str]]:
        rows = listed(node, "/audit", event="settings_changed", q=key)
        return {(row["details"]["before"], row["details"]["after"]) for row in rows}

    wait_until(lambda: told() == {("5000", "1"), ("1", "5000")}, "the audit")


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("server.data", "elsewhere", 409),  # read at the start only
        ("dicom.max_find_results", 5, 409),  # a flag wins
        ("dicom.nothing", 5, 404),
        ("dicom.max_associations", 0, 400),
        ("dicom.max_associations", "many", 400),
        ("dicom.max_associations", True, 400),
        ("dicom.idle_timeout_s", -1, 400),
        ("server.log_level", "loud", 400),
        ("people.session_idle_s", None, 400),
    ],
)
def test_a_change_that_cannot_be_is_refused(node: Server, key: str, value: object, status: int) -> None:
    call(node, "PUT", f"/settings/{key}", {"value": value}, expect=status)


# -- audit ------------------------------------------------------------------------------------------------------------------
def test_the_audit_is_searched_page_by_page(node: Server, stored: list[peers.Instance]) -> None:
    wait_until(lambda: listed(node, "/audit", event="store", uid=stored[3].study), "the audit")
    first = call(node, "GET", "/audit?limit=2")
    second = call(node, "GET", f"/audit?limit=2&cursor={quote(first['next'])}")
    ids = [one["id"] for one in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True) and len(set(ids)) == 4
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert listed(node, "/audit", **{"from": later}) == []
    assert listed(node, "/audit", patient_id="API-3")
    assert {one["event"] for one in listed(node, "/audit", event="login")} == {"login"}
    of_study = listed(node, f"/studies/{stored[3].study}/audit")
    assert "store" in {one["event"] for one in of_study}
    assert all(stored[3].study in one["uids"] for one in of_study)


@pytest.mark.parametrize(
    "column", ["at", "event", "outcome", "who", "via", "address", "patient_id", "uids", "id"]
)
def test_the_audit_is_sorted_by_any_column_and_its_pages_fit_together(
    node: Server, stored: list[peers.Instance], column: str
) -> None:
    wait_until(lambda: listed(node, "/audit", event="store", patient_id="API-3"), "the audit")
    later = {"to": datetime.now(UTC).isoformat(), "limit": "40"}
    for way in ("", "-"):
        rows, cursor = [], ""
        while len(rows) < 100:
            query = urlencode({**later, "sort": f"{way}{column}", **({"cursor": cursor} if cursor else {})})
            page = call(node, "GET", f"/audit?{query}")
            rows += page["items"]
            if not (cursor := page["next"] or ""):
                break
        values = [((row["uids"] or [""])[0] if column == "uids" else row[column], row["id"]) for row in rows]
        if column in ("at", "id", "uids"):  # text is compared as PostgreSQL does
            assert values == sorted(values, reverse=bool(way)), way
        groups = [value for n, (value, _) in enumerate(values) if n == 0 or values[n - 1][0] != value]
        assert len(groups) == len(set(groups)), "what is alike stands together"
        assert len({number for _, number in values}) == len(values) > 3


def test_the_audit_as_csv_holds_every_row_that_matches(node: Server) -> None:
    with peers.opened(node, [(peers.FIND["study"], peers.EXPLICIT)]) as association:
        for _ in range(520):
            assert peers.ask(association, "STUDY", {"PatientID": "CSV-OF-MANY"}).final == 0
    wait_until(
        lambda: node.sql("SELECT count(*) >= 520 FROM audit_events WHERE event = 'query'") == ["t"],
        "the audit",
    )
    status, body = node.get("/api/v1/audit?event=query&format=csv&limit=3&sort=who", within_s=20)
    rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
    assert status == 200 and len(rows) >= 520
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["event"] for row in rows} == {"query"}


def test_the_audit_is_verified_and_exported_and_both_are_audited(node: Server) -> None:
    verdict = call(node, "GET", "/audit/verify")
    assert (verdict["ok"], verdict["findings"]) == (True, [])
    assert verdict["events"] > 0
    status, body = node.get("/api/v1/audit/export?format=xml&event=login", within_s=20)
    root = ElementTree.fromstring(body)
    assert status == 200 and len(root) > 0
    status, body = node.get("/api/v1/audit/export?format=jsonl&event=login", within_s=20)
    rows = [json.loads(line) for line in body.splitlines()]
    assert {row["event"] for row in rows} == {"login"} and len(rows) == len(root)
    status, body = node.get("/api/v1/audit/export?event=login", within_s=20)
    assert len(list(csv.DictReader(io.StringIO(body.decode())))) == len(rows)

    def hows() -> set[str]:
        return {one["details"]["how"] for one in listed(node, "/audit", event="audit_read", limit="500")}

    wait_until(lambda: {"verify", "export", "search"} <= hows(), "the audit")


@pytest.mark.parametrize(
    "query",
    ["sort=details", "sort=hash", "sort=at;drop", "from=yesterday", "from=2024-01-01T00:00:00",
     "from=0001-01-01T00:00:00%2B14:00", "event=nothing", "outcome=x", "limit=0", "cursor=xyz", "q=" + "x" * 300],
)  # fmt: skip
def test_a_malformed_question_to_the_audit_is_400(node: Server, query: str) -> None:
    call(node, "GET", f"/audit?{query}", expect=400)


# -- system -----------------------------------------------------------------------------------------------------------------
def test_open_associations_are_listed(node: Server) -> None:
    with peers.opened(node, [(peers.CT, peers.EXPLICIT)], calling="LISTED"):
        wait_until(
            lambda: [one for one in listed(node, "/associations") if one["calling_ae"] == "LISTED"],
            "the association",
        )


def test_queues_and_storage_are_told_in_figures(node: Server, stored: list[peers.Instance]) -> None:
    queues = call(node, "GET", "/queues")
    assert {"ingest", "index", "queries", "audit"} <= set(queues["mailboxes"]["0"])
    storage = call(node, "GET", "/system/storage")
    assert storage["accepting"] and storage["free_bytes"] > 0
    assert storage["totals"]["studies"] == sum(one["studies"] for one in storage["by_month"]) > 0
    assert "CT" in {one["modality"] for one in storage["by_modality"]}


def test_what_is_in_quarantine_is_listed(node: Server) -> None:
    first = peers.make()
    other = peers.make(SOPInstanceUID=first.uid, PatientID="ANOTHER")
    peers.send(node, first)
    peers.send(node, other)
    wait_until(
        lambda: [one for one in listed(node, "/quarantine") if one["sop_instance_uid"] == first.uid],
        "the quarantine",
    )
