"""Studies move between tiers by policy and by hand, come back when somebody wants them, and none is lost on the way."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from pacs_actors.lifecycle.recoding import SYNTAXES
from tests.system import peers, stow
from tests.system.dicomweb import Client, path_of
from tests.system.server import Server, free_port, running

NEAR, FAR = "nas", "vault"
DESTINATION = free_port()


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("tiers")
    (root / NEAR).mkdir()
    (root / FAR).mkdir()
    config = root / "pacs.toml"
    config.write_text(
        f"""
        [lifecycle]
        every_s = 3600
        [stores.{NEAR}]
        kind = "folder"
        path = "{root / NEAR}"
        reserve_bytes = 0
        [stores.{FAR}]
        kind = "folder"
        tier = "archive"
        path = "{root / FAR}"
        reserve_bytes = 0
        """
    )
    nodes = (f"DEST=127.0.0.1:{DESTINATION}",)
    with running(Server(root / "data", workers=2, nodes=nodes, options=("--config", str(config)))) as server:
        yield server


Study = list[peers.Instance]


def stored(server: Server, instances: int = 3, **attributes: Any) -> Study:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    study = [
        peers.make(
            **{**uids, "PatientID": f"T{uids['StudyInstanceUID'][-12:]}", "Modality": "CT", **attributes}
        )
        for _ in range(instances)
    ]
    assert stow.store(server, *study).status == 200
    with Client(server) as client:
        assert len(json.loads(client.get(f"/studies/{study[0].study}/instances").body)) == instances
    return study


def ask(server: Server, method: str, path: str, body: object = None) -> tuple[int, Any]:
    status, answer = server.ask(method, f"/api/v1{path}", body, token=server.token, within_s=30)
    return status, json.loads(answer) if answer else None


def done(server: Server, method: str, path: str, body: object = None) -> Any:
    status, answer = ask(server, method, path, body)
    assert status < 300, (status, answer)
    return answer


def settled(server: Server, number: int) -> dict[str, Any]:
    """A move, once it has ended."""

    def find() -> dict[str, Any] | None:
        found = done(server, "GET", "/storage/moves?state=done,failed,cancelled&limit=500")["items"]
        return next((move for move in found if move["id"] == number), None)

    peers.wait_until(find, "the move has ended")
    found = find()
    assert found is not None
    return found


def moved(
    server: Server, study: Study, from_store: str = "", to_store: str = "", **more: Any
) -> dict[str, Any]:
    asked = {"study_instance_uid": study[0].study, "from_store": from_store, "to_store": to_store, **more}
    return settled(server, done(server, "POST", "/storage/moves", asked)["id"])


def place(server: Server, study: Study) -> tuple[str, int, dict[str, int]]:
    """(availability, instances online, instances in each store)"""
    facts = done(server, "GET", f"/studies/{study[0].study}/storage")
    return facts["availability"], facts["online"], {one["store"]: one["instances"] for one in facts["copies"]}


def files(server: Server, store: str) -> list[Path]:
    return [
        path for path in (server.data.parent / store).rglob("*") if path.is_file() and ".dcm" in path.name
    ]


def downloads(server: Server, study: Study) -> dict[str, str]:
    """SOP Instance UID -> SHA-256 of what the web gives for it."""
    found = {}
    with Client(server) as client:
        for one in study:
            reply = client.get(
                path_of(one.study, one.series, one.uid), accept="application/dicom; transfer-syntax=*"
            )
            assert reply.status == 200, reply
            found[one.uid] = sha256(reply.body).hexdigest()
    return found


def test_a_study_moves_away_and_comes_back_when_it_is_looked_at(clinic: Server) -> None:
    study = stored(clinic)
    before = downloads(clinic, study)
    move = moved(clinic, study, "online", NEAR)
    assert (move["state"], move["done"]) == ("done", 3)
    assert place(clinic, study) == ("NEARLINE", 0, {NEAR: 3})
    answers = peers.find(clinic, "STUDY", {"StudyInstanceUID": study[0].study, "InstanceAvailability": ""})
    assert answers.values("InstanceAvailability") == ["NEARLINE"]
    assert downloads(clinic, study) == before
    peers.wait_until(lambda: place(clinic, study) == ("ONLINE", 3, {NEAR: 3}), "all of it is back")


@pytest.mark.parametrize("form", ["jpeg-ls", "jpeg-2000", "htj2k", "rle"])
def test_images_that_are_coded_elsewhere_come_back_as_they_were_to_the_last_byte(
    clinic: Server, form: str
) -> None:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    names = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")
    study = [again(name, SOPInstanceUID=generate_uid(), **uids) for name in names]
    assert stow.store(clinic, *study).status == 200
    before = downloads(clinic, study)
    known = set(files(clinic, NEAR))
    moved(clinic, study, "online", NEAR, form=form)
    made = sorted(set(files(clinic, NEAR)) - known)
    kept = [pydicom.dcmread(path) for path in made if path.suffix == ".dcm"]
    assert {one.file_meta.TransferSyntaxUID for one in kept} == {SYNTAXES[form]} and len(kept) == 2
    assert sum(path.suffix == ".zst" for path in made) == 1, "what has no image is compressed"
    assert downloads(clinic, study) == before


def again(name: str, **attributes: str) -> peers.Instance:
    """One of pydicom's files under other UIDs."""
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return peers.Instance(
        str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), syntax, peers.encode(dataset, syntax),
        str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID),
    )  # fmt: skip


@pytest.mark.parametrize("form", ["zstd", "gzip", "lz4"])
def test_what_is_compressed_elsewhere_goes_out_over_dicom_as_it_came(clinic: Server, form: str) -> None:
    study = stored(clinic)
    before = {path: path.stat().st_size for path in files(clinic, NEAR)}
    moved(clinic, study, "online", NEAR, form=form)
    made = [path for path in files(clinic, NEAR) if path not in before]
    assert len(made) == 3 and not any(path.suffix == ".dcm" for path in made)
    told, inbox = peers.get(clinic, study, "STUDY", {"StudyInstanceUID": study[0].study})
    assert told.status == 0x0000
    assert {uid: data for uid, (_, data) in inbox.received.items()} == {one.uid: one.data for one in study}


def test_an_archived_study_is_recalled_before_it_is_served(clinic: Server) -> None:
    study = stored(clinic)
    before = downloads(clinic, study)
    moved(clinic, study, "online", FAR)
    assert place(clinic, study) == ("OFFLINE", 0, {FAR: 3})
    with Client(clinic) as client:
        reply = client.get(path_of(study[0].study, study[0].series, study[0].uid), accept="application/dicom")
    assert reply.status == 503 and int(reply.headers["retry-after"]) > 0
    peers.wait_until(
        lambda: place(clinic, study)[:2] == ("ONLINE", 3), "the study that was asked for is back"
    )
    assert downloads(clinic, study) == before


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/dicom-web/studies/{}", "multipart/related; type=application/dicom"),
        ("/dicom-web/studies/{}", "application/zip"),
        ("/api/v1/studies/{}/archive", "*/*"),
    ],
)
def test_nobody_is_sent_a_part_of_an_archived_study(clinic: Server, path: str, accept: str) -> None:
    """What is begun cannot be refused any more."""
    study = stored(clinic)
    moved(clinic, study, "online", FAR)
    status, headers = asked(clinic, path.format(study[0].study), accept)
    assert status == 503 and int(headers["retry-after"]) > 0
    peers.wait_until(
        lambda: asked(clinic, path.format(study[0].study), accept)[0] == 200, "all of it is back"
    )


def asked(server: Server, path: str, accept: str) -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(
        f"{server.url}{path}", headers={"authorization": f"Bearer {server.token}", "accept": accept}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
            return answer.status, dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers)


def test_a_retrieval_over_dicom_waits_for_the_archive(clinic: Server) -> None:
    study = stored(clinic)
    moved(clinic, study, "online", FAR)
    told, inbox = peers.get(clinic, study, "STUDY", {"StudyInstanceUID": study[0].study})
    assert told.status == 0x0000 and len(inbox.received) == 3
    moved(clinic, study, "online", "")
    assert place(clinic, study) == ("OFFLINE", 0, {FAR: 3})
    inbox = peers.Inbox()
    with peers.listening(DESTINATION, [one.context for one in study], inbox=inbox):
        told = peers.move(clinic, "STUDY", {"StudyInstanceUID": study[0].study})
    assert told.status == 0x0000 and len(inbox.received) == 3


def test_the_last_copy_stays(clinic: Server) -> None:
    study = stored(clinic)
    move = moved(clinic, study, "online", "")
    assert move["state"] == "failed" and "no other verified copy" in move["problem"]
    assert place(clinic, study) == ("ONLINE", 3, {})
    moved(clinic, study, "online", NEAR)
    move = moved(clinic, study, NEAR, "")
    assert move["state"] == "failed"
    assert place(clinic, study) == ("NEARLINE", 0, {NEAR: 3})


def test_a_copy_goes_from_one_store_to_the_next(clinic: Server) -> None:
    study = stored(clinic)
    before = downloads(clinic, study)
    moved(clinic, study, "online", NEAR)
    move = moved(clinic, study, NEAR, FAR, form="zstd")
    assert move["state"] == "done"
    assert place(clinic, study) == ("OFFLINE", 0, {FAR: 3})
    moved(clinic, study, "", "online")
    assert downloads(clinic, study) == before


def test_a_rotten_copy_is_passed_over_for_a_good_one(clinic: Server) -> None:
    study = stored(clinic)
    before = downloads(clinic, study)
    assert moved(clinic, study, "", FAR)["done"] == 3, "a copy that ended is shown as whole"
    known = set(files(clinic, NEAR))
    moved(clinic, study, "online", NEAR)
    for path in set(files(clinic, NEAR)) - known:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    assert moved(clinic, study, "", "online")["state"] == "done"
    assert downloads(clinic, study) == before
    assert place(clinic, study) == ("ONLINE", 3, {FAR: 3})


def test_an_object_that_is_lost_online_is_healed_from_its_copy_when_it_is_asked_for(clinic: Server) -> None:
    study = stored(clinic)
    before = downloads(clinic, study)
    moved(clinic, study, "", NEAR)
    uids = ", ".join(f"'{one.uid}'" for one in study)
    keys = clinic.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid IN ({uids})")
    for key in keys:
        lose(clinic, key)
    assert downloads(clinic, study) == before


def lose(server: Server, key: str) -> None:
    """Make an object vanish behind the server's back."""
    [found] = [one for one in server.objects() if one.key == key]
    found.unlink()


def test_a_legal_hold_keeps_a_study_from_policies_and_people(clinic: Server) -> None:
    study = stored(clinic)
    uid = study[0].study
    done(clinic, "PUT", f"/studies/{uid}/hold", {"reason": "A court asks for it."})
    status, problem = ask(clinic, "DELETE", f"/studies/{uid}")
    assert status == 409 and "legal hold" in problem["detail"]
    done(clinic, "DELETE", f"/studies/{uid}/hold")
    done(clinic, "DELETE", f"/studies/{uid}")


def test_a_policy_names_what_it_says_and_a_dry_run_moves_nothing(clinic: Server) -> None:
    wanted, other = stored(clinic, Modality="XA"), stored(clinic, Modality="NM")
    held = stored(clinic, Modality="XA")
    done(clinic, "PUT", f"/studies/{held[0].study}/hold", {"reason": "It is taught with."})
    rule = {"when": {"modalities": ["XA"]}, "action": "move", "from_store": "online", "to_store": NEAR}
    preview = done(clinic, "POST", "/storage/preview", rule)
    assert [one["study_instance_uid"] for one in preview["some"]] == [wanted[0].study]
    assert preview["studies"] == 1 and preview["size_bytes"] > 0
    assert place(clinic, wanted)[0] == "ONLINE"
    policy = done(clinic, "POST", "/storage/policies", {"name": "Angiography", "enabled": True, "rule": rule})
    done(clinic, "POST", "/storage/run")
    peers.wait_until(lambda: place(clinic, wanted)[0] == "NEARLINE", "the policy has moved it")
    assert place(clinic, other)[0] == place(clinic, held)[0] == "ONLINE"
    [run] = done(clinic, "GET", f"/storage/policies/{policy['id']}/runs")
    assert run["studies"] == 1
    done(clinic, "DELETE", f"/storage/policies/{policy['id']}")


def test_a_policy_that_cannot_be_is_refused_with_its_reasons(clinic: Server) -> None:
    rule = {"action": "delete", "to_store": "tape"}
    status, problem = ask(clinic, "POST", "/storage/policies", {"name": "Wrong", "rule": rule})
    assert status == 422
    assert "retention_days" in problem["detail"] and "to_store" in problem["detail"]


def test_a_deletion_takes_the_copies_too_and_undo_brings_them_back(clinic: Server) -> None:
    study = stored(clinic)
    before = downloads(clinic, study)
    moved(clinic, study, "online", NEAR)
    gone = done(clinic, "DELETE", f"/studies/{study[0].study}")
    done(clinic, "POST", f"/deletions/{gone['deletion']}/undo")
    peers.wait_until(lambda: ask(clinic, "GET", f"/studies/{study[0].study}/storage")[0] == 200, "it is back")
    peers.wait_until(lambda: place(clinic, study)[1] == 3, "all of it is back")
    assert downloads(clinic, study) == before
    gone = done(clinic, "DELETE", f"/studies/{study[0].study}")
    count = len(files(clinic, NEAR))
    clinic.sql(f"UPDATE deletions SET undo_until = now() WHERE id = {gone['deletion']}")
    peers.wait_until(lambda: len(files(clinic, NEAR)) == count - 3, "its copies are removed")


def test_what_is_stored_again_while_it_is_nearline_is_online_again(clinic: Server) -> None:
    study = stored(clinic, instances=1)
    moved(clinic, study, "online", NEAR)
    assert peers.send(clinic, *study) == [0x0000]
    peers.wait_until(lambda: place(clinic, study)[:2] == ("ONLINE", 1), "it is online")


def test_a_crash_in_the_middle_of_a_move_loses_nothing(clinic: Server) -> None:
    """F1 for moves: the lease of what a killed worker had begun is taken over, and every object is somewhere."""
    study = stored(clinic, instances=60)
    before = downloads(clinic, study)
    asked = {"study_instance_uid": study[0].study, "from_store": "online", "to_store": NEAR, "form": "gzip"}
    number = done(clinic, "POST", "/storage/moves", asked)["id"]
    clinic.kill()
    clinic.start()
    clinic.sql("UPDATE tier_moves SET leased_until = '-infinity'")  # rather than wait for it
    assert settled(clinic, number)["state"] == "done"
    assert place(clinic, study) == ("NEARLINE", 0, {NEAR: 60})
    uids = ", ".join(f"'{one.uid}'" for one in study)
    keys = set(clinic.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid IN ({uids})"))
    assert not keys & {one.key for one in clinic.objects()}, "what is nearline takes no room online"
    assert downloads(clinic, study) == before


def test_figures_tell_where_everything_is(clinic: Server) -> None:
    study = stored(clinic, Modality="PT")
    moved(clinic, study, "", FAR)
    clinic.sql("SELECT 1")
    storage = done(clinic, "GET", "/storage")
    assert {store["name"]: (store["tier"], store["problem"]) for store in storage["stores"]} == {
        NEAR: ("nearline", ""), FAR: ("archive", ""),
    }  # fmt: skip
    assert storage["figures"]["free_bytes"] > 0
    assert sum(month["studies"] for month in storage["figures"]["months"]) >= 1


def test_priors_are_on_their_way_when_the_next_study_of_a_patient_arrives(clinic: Server) -> None:
    prior, unlike = stored(clinic, PatientID="PRIORS"), stored(clinic, PatientID="PRIORS", Modality="MR")
    moved(clinic, prior, "online", FAR)
    moved(clinic, unlike, "online", FAR)
    stored(clinic, PatientID="PRIORS")
    peers.wait_until(lambda: place(clinic, prior)[0] == "ONLINE", "the prior is there to compare with")
    assert place(clinic, unlike)[0] == "OFFLINE"
