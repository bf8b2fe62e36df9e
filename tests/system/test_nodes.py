"""Several nodes on one database and one store are one archive: any answers for any object, and each sees to its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.postgres_fixture import Server as Postgres
from tests.postgres_fixture import shared_server
from tests.system import peers
from tests.system.command_line import ran
from tests.system.dicomweb import Client, path_of
from tests.system.nodes import STORE, copies, done, found, node, place, replicated, sent, study_of
from tests.system.server import Server, running


@pytest.fixture(scope="module")
def postgres() -> Postgres:
    return shared_server()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[tuple[Server, Server]]:
    """Nodes 0 and 1 of one archive."""
    root, dsn = tmp_path_factory.mktemp("nodes"), postgres.create_database()
    with running(node(root, dsn, 0)) as first, running(node(root, dsn, 1)) as second:
        yield first, second


def test_any_node_answers_for_any_object_by_dimse_and_the_web(pair: tuple[Server, Server]) -> None:
    for here, there in (pair, pair[::-1]):
        study = sent(here)
        before = len(there.objects())
        peers.wait_until(lambda: found(there, study) == 3, "the other node to find it")  # noqa: B023
        told, inbox = peers.get(there, study, "STUDY", {"StudyInstanceUID": study[0].study})
        assert (told.status, told.counts()) == (0, (None, 3, 0, 0))
        assert inbox.received == {one.uid: (one.syntax, one.data) for one in study}
        with Client(there) as client:
            for one in study:
                reply = client.get(path_of(one.study, one.series, one.uid), accept="application/dicom")
                assert reply.status == 200
            reply = client.get(f"/studies/{study[0].study}/metadata", accept="application/dicom+json")
            assert reply.status == 200 and len(json.loads(reply.body)) == 3
        assert len(there.objects()) == before, "an object stays on the node that it came to"


def test_what_one_node_has_answered_is_found_on_the_other_at_once(pair: tuple[Server, Server]) -> None:
    for here, there in (pair, pair[::-1]):
        with (
            peers.opened(here, [(peers.CT, peers.EXPLICIT)]) as storing,
            peers.opened(there, [(peers.FIND["study"], peers.EXPLICIT)]) as finding,
            Client(there) as client,
        ):
            for number in range(40):
                instance = peers.make()
                keys = {"StudyInstanceUID": instance.study, "NumberOfStudyRelatedInstances": ""}
                assert peers.store(storing, instance) == 0
                if number % 2:
                    answers = peers.ask(finding, "STUDY", keys)
                    assert answers.values("NumberOfStudyRelatedInstances") == ["1"], f"in round {number}"
                else:
                    reply = client.get(f"/studies/{instance.study}/instances")
                    assert reply.status == 200, f"in round {number}"


def test_everything_that_the_web_makes_of_an_image_is_made_on_any_node(pair: tuple[Server, Server]) -> None:
    first, second = pair
    image = peers.example("CT_small.dcm")
    assert peers.send(first, image) == [0]
    peers.wait_until(lambda: found(second, [image]) == 1, "the other node to find it")
    at = path_of(image.study, image.series, image.uid)
    with Client(second) as client:
        for path, kind in (
            (f"{at}/frames/1", "application/octet-stream"),
            (f"{at}/rendered", "image/jpeg"),
            (f"{path_of(image.study)}/thumbnail", "image/jpeg"),
            (f"{at}/metadata", "application/dicom+json"),
        ):
            reply = client.get(path, accept=f'multipart/related; type="{kind}"' if "frames" in path else kind)
            assert reply.status == 200 and reply.body, (path, reply)
    for path in (f"{at}/tags", f"{path_of(image.study)}/archive"):
        status, body = second.ask("GET", f"/api/v1{path}", token=second.token)
        assert status == 200 and body, path
    assert copies(second)


def test_the_nodes_are_listed(pair: tuple[Server, Server]) -> None:
    listed = ran("nodes", "list", "--json", *pair[0].options[2:4])
    assert [one["node"] for one in json.loads(listed.stdout)] == [0, 1]
    storage = done(pair[1], "GET", "/storage")
    assert [(one["node"], one["alive"]) for one in storage["nodes"]] == [(0, True), (1, True)]
    assert {(one["slot"], one["store"]) for one in storage["replication"]} == {(0, STORE), (100, STORE)}


def test_logins_tokens_and_people_are_the_archives_not_a_nodes(pair: tuple[Server, Server]) -> None:
    first, second = pair
    assert done(second, "GET", "/me", token=first.token)["name"] == "admin"
    name, password = f"reader{generate_uid()[-8:]}", "four boats at the lake"
    done(first, "POST", "/users", {"username": name, "password": password, "roles": ["radiologist"]})
    token = second.login(name, password)
    assert done(first, "GET", "/me", token=token)["name"] == name
    study = sent(first)
    peers.wait_until(lambda: found(second, study) == 3, "the other node to find it")
    assert second.ask("DELETE", f"/api/v1/studies/{study[0].study}", token=token)[0] == 403


def test_what_is_sent_to_both_nodes_is_there_once(pair: tuple[Server, Server]) -> None:
    first, second = pair
    study = sent(first)
    replicated(first, study)
    before = {server.web_port: len(server.objects()) for server in pair}
    assert set(peers.send(second, *study)) == {0}
    peers.wait_until(
        lambda: len(second.objects()) == before[second.web_port], "the second copies to be dropped"
    )
    assert len(first.objects()) == before[first.web_port] and found(second, study) == 3
    assert not second.quarantined()


def test_a_study_on_two_nodes_leaves_both_and_comes_back(pair: tuple[Server, Server]) -> None:
    first, second = pair
    study = study_of(6)
    assert set(peers.send(first, *study[:3]) + peers.send(second, *study[3:])) == {0}
    peers.wait_until(lambda: found(first, study) == 6, "all of it to be found")
    replicated(first, study)
    before = [len(server.objects()) for server in pair]
    asked = {"study_instance_uid": study[0].study, "from_store": "online", "to_store": STORE}
    done(first, "POST", "/storage/moves", asked)
    peers.wait_until(lambda: place(first, study) == (0, {STORE: 6}), "nothing of it to be online")
    peers.wait_until(
        lambda: [len(server.objects()) for server in pair] == [n - 3 for n in before],
        "each to remove its own",
    )
    told, inbox = peers.get(second, study, "STUDY", {"StudyInstanceUID": study[0].study})
    assert told.counts() == (None, 6, 0, 0) and len(inbox.received) == 6
    peers.wait_until(lambda: place(second, study)[0] == 6, "all of it to be back")


def test_deletion_and_undo_reach_the_objects_of_every_node(pair: tuple[Server, Server]) -> None:
    first, second = pair
    study = study_of(4)
    assert set(peers.send(first, *study[:2]) + peers.send(second, *study[2:])) == {0}
    peers.wait_until(lambda: found(second, study) == 4, "all of it to be found")
    replicated(second, study)
    with Client(second) as client:
        one = study[0]
        assert client.get(path_of(one.study, one.series, one.uid), accept="application/dicom").status == 200
    cached = copies(second)
    before = [len(server.objects()) for server in pair]
    number = done(second, "DELETE", f"/studies/{study[0].study}")["deletion"]
    peers.wait_until(
        lambda: [len(server.objects()) for server in pair] == [n - 2 for n in before],
        "each to move its own aside",
    )
    peers.wait_until(lambda: len(cached - copies(second)) == 1, "the copy of it to be gone")
    done(first, "POST", f"/deletions/{number}/undo")
    peers.wait_until(lambda: found(first, study) == 4, "all of it to be back")
    peers.wait_until(
        lambda: [len(server.objects()) for server in pair] == before, "each to bring its own back"
    )


def test_each_node_looks_after_its_own_objects(pair: tuple[Server, Server]) -> None:
    first, second = pair
    study = sent(first)
    replicated(first, study)
    (victim,) = [one for one in first.objects() if study[0].uid.encode() in one.read_bytes()]
    victim.flip(-1)
    done(second, "POST", "/integrity/scrub")

    def scrubbed(server: Server) -> bool:
        state = done(server, "GET", "/integrity")["scrub"]
        return state["running"] is None and state["last"] is not None

    peers.wait_until(lambda: scrubbed(first) and scrubbed(second), "both to have read everything")
    assert done(second, "GET", "/integrity")["scrub"]["last"]["found"] == 0
    assert done(first, "GET", "/integrity")["scrub"]["last"]["found"] == 1
    peers.wait_until(lambda: place(first, study)[0] == 3, "the damaged object to be healed from its copy")
    done(first, "POST", "/integrity/reconcile", {"fix": True})

    def reconciled(server: Server) -> bool:
        state = done(server, "GET", "/integrity")["reconcile"]
        return state["running"] is None and state["last"] is not None

    peers.wait_until(lambda: reconciled(first) and reconciled(second), "both to have compared")
    for server in pair:
        assert done(server, "GET", "/integrity")["reconcile"]["last"]["found"] == 0, done(
            server, "GET", "/integrity/findings"
        )


def test_a_number_belongs_to_one_folder(pair: tuple[Server, Server], tmp_path: Path) -> None:
    other = node(tmp_path, pair[0].options[3], 1)
    other.start(wait=False)
    assert other.process is not None and other.process.wait(30) == 2
    assert "server.node: 1 is the number of another data folder" in other.tail()
