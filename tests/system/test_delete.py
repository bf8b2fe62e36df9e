"""Deleting over the web: gone at once on every worker, counted, audited, undone, erased; and what a crash leaves (issue part 1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.uid import generate_uid

from pacs_actors.archive.metadata_files import series_name
from tests.system import peers, stow
from tests.system.command_line import ran
from tests.system.dicomweb import Client, path_of
from tests.system.server import Server, running


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Server(tmp_path_factory.mktemp("delete") / "data", workers=2)) as server:
        yield server


Study = list[peers.Instance]


def study_of(*modalities: str, patient: str = "") -> Study:
    """A study with a series of two instances for each modality."""
    common = {"StudyInstanceUID": generate_uid(), "PatientID": patient or f"ID{generate_uid()[-20:]}"}
    found = []
    for modality in modalities or ("CT",):
        series = generate_uid()
        found += [
            peers.make(SeriesInstanceUID=series, Modality=modality, PatientName="Doe^Jane", **common)
            for _ in range(2)
        ]
    return found


def stored(server: Server, study: Study) -> Study:
    """Stored and indexed."""
    assert stow.store(server, *study).status == 200
    with Client(server) as client:
        assert len(json.loads(client.get(f"/studies/{study[0].study}/instances").body)) == len(study)
    return study


def ask(server: Server, method: str, path: str, token: str | None = None) -> tuple[int, Any]:
    status, body = server.ask(method, path, token=server.token if token is None else token, within_s=30)
    return status, json.loads(body) if body else None


def delete(server: Server, *uids: str) -> int:
    names = ("", "/series/", "/instances/")
    status, answer = ask(
        server, "DELETE", "/api/v1/studies/" + "".join(n + u for n, u in zip(names, uids, strict=False))
    )
    assert status == 200, answer
    assert answer["instances"] > 0
    number: int = answer["deletion"]
    return number


def study_row(server: Server, study: str) -> tuple[str, str, str, str] | None:
    rows = server.sql(
        "SELECT number_of_series, number_of_instances, modalities_in_study, sop_classes_in_study FROM studies "
        f"WHERE study_instance_uid = '{study}'"
    )
    return tuple(rows[0].split("|")) if rows else None  # type: ignore[return-value]


def visible(server: Server, instance: peers.Instance) -> bool:
    with Client(server) as client:
        reply = client.get(
            path_of(instance.study, instance.series, instance.uid), "application/dicom; transfer-syntax=*"
        )
    assert reply.status in (200, 404), reply
    return reply.status == 200


def totals(server: Server) -> list[str]:
    return server.sql(
        "SELECT sum(patients), sum(studies), sum(series), sum(instances), sum(size_bytes) FROM archive_totals"
    )


def counted(server: Server) -> list[str]:
    return server.sql(
        "SELECT (SELECT count(*) FROM patients), (SELECT count(*) FROM studies), (SELECT count(*) FROM series), "
        "(SELECT count(*) FROM instances), (SELECT coalesce(sum(size_bytes), 0) FROM instances)"
    )


def aside(server: Server) -> int:
    return len(list((server.data / "quarantine" / "deleted").glob("*.dcm")))


def settled(server: Server, number: int, condition: str) -> Callable[[], bool]:
    return lambda: server.sql(f"SELECT {condition} FROM deletions WHERE id = {number}") == ["t"]


def test_a_deleted_study_is_gone_from_searches_at_once_and_from_retrieval_within_moments(
    clinic: Server,
) -> None:
    study = stored(clinic, study_of("CT", "SR"))
    assert all(visible(clinic, one) for one in study)
    delete(clinic, study[0].study)
    for _ in range(4):  # whichever worker answers
        with Client(clinic) as client:
            assert json.loads(client.get("/studies", query={"StudyInstanceUID": study[0].study}).body) == []
        assert peers.find(clinic, "STUDY", {"StudyInstanceUID": study[0].study}).data == []
    peers.wait_until(lambda: not any(visible(clinic, one) for one in study), "no retrieval", within_s=20)
    assert counted(clinic) == totals(clinic)


def test_counts_modalities_and_classes_follow_what_is_left(clinic: Server) -> None:
    study = stored(clinic, study_of("CT", "MR"))
    first, _, third, fourth = study
    delete(clinic, first.study, first.series, first.uid)
    assert study_row(clinic, first.study) == ("2", "3", "{CT,MR}", f"{{{first.sop_class}}}")
    delete(clinic, third.study, third.series)
    assert study_row(clinic, first.study) == ("1", "1", "{CT}", f"{{{first.sop_class}}}")
    assert visible(clinic, study[1])
    delete(clinic, study[1].study, study[1].series, study[1].uid)
    assert study_row(clinic, first.study) is None, "the last instance takes its study with it"
    assert fourth.uid not in " ".join(clinic.sql("SELECT sop_instance_uid FROM instances"))
    assert counted(clinic) == totals(clinic)


def test_undo_brings_back_every_instance_byte_for_byte(clinic: Server) -> None:
    study = stored(clinic, study_of("CT", "MR"))
    before = study_row(clinic, study[0].study)
    number = delete(clinic, study[0].study)
    peers.wait_until(settled(clinic, number, "aside"), "the objects aside")
    assert aside(clinic) >= len(study)
    listed = {one["id"]: one for one in ask(clinic, "GET", "/api/v1/deletions")[1]["items"]}
    assert (listed[number]["level"], listed[number]["instances"]) == ("study", len(study))
    assert (listed[number]["deleted_by"], listed[number]["patient_name"]) == ("admin", "Doe^Jane")
    status, answer = ask(clinic, "POST", f"/api/v1/deletions/{number}/undo")
    assert (status, answer["state"]) == (200, "undone")
    assert study_row(clinic, study[0].study) == before
    with Client(clinic) as client:
        for one in study:
            reply = client.get(
                path_of(one.study, one.series, one.uid), "application/dicom; transfer-syntax=*"
            )
            assert reply.body.endswith(one.data)
    assert counted(clinic) == totals(clinic)
    assert number not in {one["id"] for one in ask(clinic, "GET", "/api/v1/deletions")[1]["items"]}
    again = ask(clinic, "POST", f"/api/v1/deletions/{number}/undo")
    assert (again[0], again[1]["state"]) == (200, "undone")


def test_undo_right_behind_the_deletion_finds_the_objects_wherever_they_are(clinic: Server) -> None:
    for _ in range(5):
        study = stored(clinic, study_of("CT"))
        number = delete(clinic, study[0].study)
        assert ask(clinic, "POST", f"/api/v1/deletions/{number}/undo")[0] == 200
        assert all(visible(clinic, one) for one in study)


def test_a_deleted_instance_that_is_sent_again_is_new_and_undo_then_adds_nothing(clinic: Server) -> None:
    study = stored(clinic, study_of("CT"))
    number = delete(clinic, study[0].study)
    assert peers.send(clinic, *study) == [0, 0]
    assert stow.store(clinic, *study).status == 200
    assert all(visible(clinic, one) for one in study)
    assert ask(clinic, "POST", f"/api/v1/deletions/{number}/undo")[0] == 200
    assert study_row(clinic, study[0].study) == ("1", "2", "{CT}", f"{{{study[0].sop_class}}}")

    def copies() -> bool:
        return len(clinic.objects()) == int(clinic.sql("SELECT count(*) FROM instances")[0])

    peers.wait_until(copies, "the second copies dropped")


def test_what_was_said_before_a_deletion_is_said_again_on_every_worker(clinic: Server) -> None:
    """A report that makes the study anew says little; an image that follows fills it in, whichever worker remembers it as told."""
    common = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PatientID": "P-said"}
    for turn in range(4):
        report = peers.make(
            "1.2.840.10008.5.1.4.1.1.88.33", **{**common, "SeriesInstanceUID": generate_uid()}, Modality="SR"
        )
        images = [peers.make(**common, StudyDescription="Thorax", AccessionNumber="A7") for _ in range(2)]
        for one in (report, *images):  # connections of their own: several workers
            assert peers.send(clinic, one) == [0]
        with Client(clinic) as client:
            (row,) = json.loads(
                client.get(
                    "/studies", query={"StudyInstanceUID": report.study, "includefield": "00081030"}
                ).body
            )
        assert row["00081030"].get("Value") == ["Thorax"], turn
        delete(clinic, report.study)


def test_it_is_told_to_the_audit(clinic: Server) -> None:
    study = stored(clinic, study_of("CT", patient="P-audited"))
    number = delete(clinic, study[0].study, study[0].series)
    ask(clinic, "POST", f"/api/v1/deletions/{number}/undo")
    rows = clinic.sql(
        "SELECT event, who, via, patient_id, uids, details->>'instances' FROM audit_events "
        f"WHERE '{study[0].study}' = ANY (uids) AND event IN ('deleted', 'undeleted') ORDER BY id"
    )
    uids = f"{{{study[0].study},{study[0].series}}}"
    assert rows == [f"{event}|admin|session|P-audited|{uids}|2" for event in ("deleted", "undeleted")]


def test_dicomweb_delete_answers_204_and_404(clinic: Server) -> None:
    study = stored(clinic, study_of("CT"))
    with Client(clinic) as client:
        assert client.get(path_of(study[0].study), method="DELETE").status == 204
        assert client.get(path_of(study[0].study), method="DELETE").status == 404
        assert client.get("/studies/not-a-uid", method="DELETE").status == 404
        assert (
            client.get(path_of(study[0].study, generate_uid(), generate_uid()), method="DELETE").status == 404
        )


def test_who_has_no_right_or_sees_nothing_deletes_nothing_and_undoes_nothing(clinic: Server) -> None:
    study = stored(clinic, study_of("CT"))
    role = {
        "name": "blind cleaner", "description": "", "actions": ["study.delete"],
        "scope": {"everything": False, "rules": [{"modalities": ["XX"]}]},
    }  # fmt: skip
    assert clinic.ask("POST", "/api/v1/roles", role, token=clinic.token)[0] == 201
    password = "seven horses on the pier"
    tokens = {}
    for name, its in (("reader", "radiologist"), ("cleaner", "blind cleaner")):
        user = {"username": name, "password": password, "roles": [its]}
        assert clinic.ask("POST", "/api/v1/users", user, token=clinic.token)[0] == 201
        tokens[name] = clinic.login(name, password)
    paths = (f"/dicom-web/studies/{study[0].study}", f"/api/v1/studies/{study[0].study}")
    for path in paths:
        assert clinic.ask("DELETE", path, token=tokens["reader"])[0] == 403
        assert clinic.ask("DELETE", path, token=tokens["cleaner"])[0] == 404
    assert visible(clinic, study[0])
    number = delete(clinic, study[0].study)
    assert clinic.ask("POST", f"/api/v1/deletions/{number}/undo", token=tokens["cleaner"])[0] == 404
    assert ask(clinic, "GET", "/api/v1/deletions", tokens["cleaner"])[1]["items"] == []


def test_metadata_kept_of_a_series_goes_with_its_instances(clinic: Server) -> None:
    study = stored(clinic, study_of("CT", "MR"))
    folder = clinic.data / "cache" / "metadata"

    def kept(series: str) -> int:
        return len(list(folder.rglob(f"{series_name(study[0].study, series)}*")))

    def ask_for_metadata() -> None:
        with Client(clinic) as client:
            assert client.get(f"{path_of(study[0].study)}/metadata").status == 200

    ask_for_metadata()
    ct, mr = study[0].series, study[2].series
    assert kept(ct) and kept(mr)
    number = delete(clinic, study[0].study, ct, study[0].uid)
    peers.wait_until(settled(clinic, number, "aside"), "the objects aside")
    assert not kept(ct) and kept(mr)
    ask_for_metadata()
    assert kept(ct)
    number = delete(clinic, study[0].study)
    peers.wait_until(settled(clinic, number, "aside"), "the objects aside")
    assert not kept(ct) and not kept(mr)


def test_what_may_not_be_undone_any_more_is_erased_for_good(clinic: Server) -> None:
    study = stored(clinic, study_of("CT"))
    number = delete(clinic, study[0].study)
    peers.wait_until(settled(clinic, number, "aside"), "the objects aside")
    files, before = aside(clinic), len(clinic.objects())
    clinic.sql(f"UPDATE deletions SET undo_until = now() WHERE id = {number}")
    assert ask(clinic, "POST", f"/api/v1/deletions/{number}/undo")[0] == 409
    peers.wait_until(settled(clinic, number, "state = 'erased'"), "the erasure")
    assert (aside(clinic), len(clinic.objects())) == (files - len(study), before)
    assert clinic.sql(f"SELECT count(*) FROM deleted_instances WHERE deletion = {number}") == ["0"]
    told = f"SELECT who, via FROM audit_events WHERE event = 'erased' AND uids[1] = '{study[0].study}'"
    assert clinic.sql(told) == ["pacs-actors|process"]
    assert number not in {one["id"] for one in ask(clinic, "GET", "/api/v1/deletions")[1]["items"]}
    every = {
        one["id"]: one["state"]
        for one in ask(clinic, "GET", "/api/v1/deletions?state=all&limit=500")[1]["items"]
    }
    assert every[number] == "erased"
    assert ask(clinic, "POST", f"/api/v1/deletions/{number}/undo")[0] == 409


@pytest.mark.slow
def test_what_is_deleted_stays_deleted_over_a_crash_and_a_rebuilt_index(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = Server(tmp_path_factory.mktemp("crash") / "data", workers=1)
    with running(server):
        gone, kept = stored(server, study_of("CT")), stored(server, study_of("CT"))
        number = delete(server, gone[0].study)
        server.kill()  # perhaps before its objects were moved
        server.start()
        peers.wait_until(settled(server, number, "aside"), "the objects aside")
        assert not visible(server, gone[0]) and visible(server, kept[0])
        assert len(server.objects()) == 2 and aside(server) == 2
        server.stop()
        assert ran("index", "rebuild", "--from-scratch", "--data", server.data).returncode == 0
        server.start()
        assert not visible(server, gone[0]) and visible(server, kept[0])
        assert ask(server, "POST", f"/api/v1/deletions/{number}/undo")[0] == 200
        assert visible(server, gone[0])
        assert counted(server) == totals(server)


def test_undoing_says_how_many_objects_could_not_be_brought_back(clinic: Server) -> None:
    study = stored(clinic, study_of("CT"))
    number = delete(clinic, study[0].study)
    peers.wait_until(settled(clinic, number, "aside"), "the objects aside")
    keys = clinic.sql(
        f"SELECT object_key FROM deleted_instances WHERE deletion = {number} ORDER BY sop_instance_uid"
    )
    kept = sorted(one.uid for one in study)
    for path in (clinic.data / "quarantine" / "deleted").rglob("*"):
        if path.is_file() and path.name.startswith(keys[0].replace("/", "-")):
            path.unlink()
    status, answer = ask(clinic, "POST", f"/api/v1/deletions/{number}/undo")
    assert (status, answer["state"], answer["instances"], answer["lost"]) == (200, "undone", 2, 1)
    [lost] = clinic.logged("deleted_object_lost")
    assert lost["uid"] == kept[0]
    there = clinic.sql(
        f"SELECT sop_instance_uid FROM instances WHERE sop_instance_uid IN ('{kept[0]}', '{kept[1]}')"
    )
    assert there == kept[1:]
