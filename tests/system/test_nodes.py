"""Several nodes on one database and one store are one archive: any answers for any object, and one that falls loses nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydicom.uid import generate_uid

from tests import seaweed
from tests.postgres_fixture import Server as Postgres
from tests.postgres_fixture import shared_server
from tests.system import peers
from tests.system.dicomweb import Client, path_of
from tests.system.server import Server, running

STORE = "common"
_COPIED = "SELECT count(*) FROM object_copies"
_LACKING = """SELECT count(*) FROM instances i WHERE NOT EXISTS (SELECT FROM object_copies c
    WHERE c.sop_instance_uid = i.sop_instance_uid AND c.object_digest = i.digest)"""
Study = list[peers.Instance]


def configuration(root: Path, name: str, *, replicates: bool = True, store: str = "") -> Path:
    (root / STORE).mkdir(exist_ok=True)
    config = root / f"{name}.toml"
    config.write_text(
        f"""
        [lifecycle]
        every_s = 3600
        recall_wait_s = 10
        replicate_to = [{f'"{STORE}"' if replicates else ""}]
        [stores.{STORE}]
        {store or f'kind = "folder"{chr(10)}path = "{root / STORE}"{chr(10)}reserve_bytes = 0'}
        """
    )
    return config


def node(root: Path, dsn: str, number: int, *, workers: int = 1, **more: Any) -> Server:
    config = configuration(root, f"node{number}", **more)
    options = ("--config", str(config), "--database.url", dsn, "--server.node", str(number))
    return Server(root / f"data{number}", workers=workers, options=options)


@pytest.fixture(scope="module")
def postgres() -> Postgres:
    return shared_server()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[tuple[Server, Server]]:
    """Nodes 0 and 1 of one archive."""
    root, dsn = tmp_path_factory.mktemp("nodes"), postgres.create_database()
    with running(node(root, dsn, 0)) as first, running(node(root, dsn, 1)) as second:
        yield first, second


def study_of(instances: int = 3) -> Study:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    return [
        peers.make(**{**uids, "PatientID": f"N{uids['StudyInstanceUID'][-12:]}"}) for _ in range(instances)
    ]


def sent(server: Server, instances: int = 3) -> Study:
    study = study_of(instances)
    assert set(peers.send(server, *study)) == {0}
    return study


def done(server: Server, method: str, path: str, body: object = None, *, token: str = "") -> Any:
    status, answer = server.ask(method, f"/api/v1{path}", body, token=token or server.token, within_s=30)
    assert status < 300, (status, answer)
    return json.loads(answer) if answer else None


def found(server: Server, study: Study) -> int:
    """Instances of a study that a node finds."""
    with Client(server) as client:
        reply = client.get(f"/studies/{study[0].study}/instances")
        return len(json.loads(reply.body)) if reply.status == 200 else 0


def place(server: Server, study: Study) -> tuple[int, dict[str, int]]:
    """(instances online, instances in each store)"""
    facts = done(server, "GET", f"/studies/{study[0].study}/storage")
    return facts["online"], {one["store"]: one["instances"] for one in facts["copies"]}


def replicated(server: Server, study: Study) -> None:
    peers.wait_until(lambda: found(server, study) == len(study), "all of it to be found")
    peers.wait_until(lambda: place(server, study)[1].get(STORE) == len(study), "a copy of each instance")


def copies(server: Server) -> set[str]:
    """Of other nodes' objects."""
    return {path.name for path in (server.data / "cache" / "objects").rglob("*.dcm")}


def column(server: Server, statement: str) -> list[Any]:
    """The first column of what the nodes' database answers."""

    async def ask() -> list[Any]:
        connection = await asyncpg.connect(server.options[3])
        try:
            return [row[0] for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(ask())


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


@pytest.mark.slow
def test_a_move_goes_on_where_the_objects_are(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.create_database()
    with (
        running(node(tmp_path, dsn, 0, replicates=False)) as first,
        running(node(tmp_path, dsn, 1, replicates=False)) as second,
    ):
        study = study_of(6)
        assert set(peers.send(first, *study[:3]) + peers.send(second, *study[3:])) == {0}
        peers.wait_until(lambda: found(first, study) == 6, "all of it to be found")
        told, _ = peers.get(first, study, "STUDY", {"StudyInstanceUID": study[0].study})
        assert told.counts() == (None, 3, 3, 0), "what no store has a copy of fails, and nothing else"
        with Client(first) as client:
            one = study[3]
            assert (
                client.get(path_of(one.study, one.series, one.uid), accept="application/dicom").status == 503
            )
        asked = {"study_instance_uid": study[0].study, "from_store": "online", "to_store": STORE}
        number = done(first, "POST", "/storage/moves", asked)["id"]
        peers.wait_until(lambda: place(first, study) == (0, {STORE: 6}), "the move to be done by both")
        peers.wait_until(lambda: not first.objects() and not second.objects(), "each to remove its own")
        (move,) = [
            one for one in done(first, "GET", "/storage/moves?state=done")["items"] if one["id"] == number
        ]
        assert move["done"] == 6


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


# -- with a real S3, and nodes that fall ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The settings of a store in an S3 server."""
    with seaweed.running(tmp_path_factory.mktemp("s3")) as server:
        yield (
            f'kind = "s3"\nendpoint = "{server.endpoint}"\nbucket = "{seaweed.BUCKET}"\n'
            f'access_key = "{seaweed.ACCESS_KEY}"\nsecret_key = "{seaweed.SECRET_KEY}"\nprefix = "nodes/"'
        )


def sending(server: Server, until: threading.Event, answered: dict[str, peers.Instance]) -> None:
    """Studies of ten, over an association each, until told to end or nobody answers; what was answered 0000H is noted."""
    while not until.is_set():
        study = study_of(10)
        try:
            with peers.opened(server, [study[0].context]) as association:
                for one in study:
                    if peers.store(association, one) != 0:
                        return
                    answered[one.uid] = one
        except Exception:  # the peer fell: whatever pynetdicom makes of that
            return


def retrieved(server: Server, instances: Iterable[peers.Instance]) -> dict[str, bytes]:
    """What a node gives for them by C-GET, study by study."""
    by_study: dict[str, Study] = {}
    for one in instances:
        by_study.setdefault(one.study, []).append(one)
    received: dict[str, bytes] = {}
    for uid, study in by_study.items():
        _, inbox = peers.get(server, study, "STUDY", {"StudyInstanceUID": uid})
        received |= {name: data for name, (_, data) in inbox.received.items()}
    return received


def consistent(servers: Sequence[Server]) -> None:
    """Rows, totals and objects are as many, and no object is there twice."""
    server = servers[0]
    rows = sorted(column(server, "SELECT object_key FROM instances WHERE availability = 'ONLINE'"))
    objects = sorted(one.key for server in servers for one in server.objects())
    assert rows == objects
    (counted,) = column(server, "SELECT sum(instances)::bigint FROM archive_totals")
    assert counted == column(server, "SELECT count(*) FROM instances")[0]


@pytest.mark.slow
def test_a_node_that_is_killed_in_the_middle_of_ingest_loses_nothing(
    postgres: Postgres, tmp_path: Path, s3: str
) -> None:
    dsn = postgres.create_database()
    first, second = (node(tmp_path, dsn, number, workers=2, store=s3) for number in (0, 1))
    with running(first), running(second):
        answered: tuple[dict[str, peers.Instance], ...] = ({}, {})
        until = threading.Event()
        threads = [
            threading.Thread(target=sending, args=(server, until, known))
            for server, known in zip((first, second), answered, strict=True)
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        peers.wait_until(lambda: len(answered[0]) >= 150, "node 0 to have stored some", within_s=120)
        peers.wait_until(lambda: column(second, _COPIED)[0] >= 30, "some to be replicated", within_s=120)
        first.kill()
        more = len(answered[1])
        peers.wait_until(lambda: len(answered[1]) > more + 30, "node 1 to go on storing", within_s=120)
        until.set()
        for thread in threads:
            thread.join(60)

        uids = set(column(second, "SELECT sop_instance_uid FROM object_copies"))
        safe = [one for uid, one in answered[0].items() if uid in uids]
        got = retrieved(second, [one for one in answered[0].values() if one.study in {s.study for s in safe}])
        assert {one.uid: one.data for one in safe}.items() <= got.items(), (
            "what was replicated is there at once"
        )

        first.start()
        everything = answered[0] | answered[1]
        peers.wait_until(
            lambda: set(column(second, "SELECT sop_instance_uid FROM instances")) >= everything.keys(),
            "what node 0 had answered to be found",
            within_s=120,
        )
        peers.wait_until(
            lambda: column(second, _LACKING)[0] == 0, "everything to be replicated", within_s=300
        )
        (stored,) = column(second, "SELECT count(*) FROM instances")
        assert stored - len(everything) <= 6, "at most what each association had under way"
        consistent((first, second))
        for server in (first, second):
            assert (
                retrieved(server, everything.values()).items()
                >= {uid: one.data for uid, one in everything.items()}.items()
            )


@pytest.mark.slow
def test_a_node_that_is_killed_in_the_middle_of_moves_leaves_them_to_be_ended(
    postgres: Postgres, tmp_path: Path, s3: str
) -> None:
    dsn = postgres.create_database()
    first, second = (node(tmp_path, dsn, number, replicates=False, store=s3) for number in (0, 1))
    with running(first), running(second):
        studies = [study_of(20) for _ in range(6)]
        for study in studies:  # each on both nodes
            assert set(peers.send(first, *study[:10]) + peers.send(second, *study[10:])) == {0}
        peers.wait_until(lambda: all(found(second, study) == 20 for study in studies), "all to be found")
        for study in studies:
            asked = {"study_instance_uid": study[0].study, "from_store": "online", "to_store": STORE}
            done(second, "POST", "/storage/moves", asked)
        peers.wait_until(lambda: column(second, _COPIED)[0] >= 25, "the moves to be at it", within_s=120)
        first.kill()
        first.start()
        peers.wait_until(
            lambda: column(second, "SELECT count(*) FROM tier_moves WHERE state = 'done'")[0] == 6,
            "all moves to be done",
            within_s=240,
        )
        peers.wait_until(lambda: not first.objects() and not second.objects(), "nothing to be left behind")
        assert column(second, _COPIED)[0] == 120
        for server in (first, second):
            for study in studies:
                assert retrieved(server, study) == {one.uid: one.data for one in study}
        consistent((first, second))
