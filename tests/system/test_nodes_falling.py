"""Nodes of one archive that fall, a store that is away, moves over two nodes: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import seaweed
from tests.postgres_fixture import Server as Postgres
from tests.postgres_fixture import shared_server
from tests.system import peers
from tests.system.dicomweb import Client, path_of
from tests.system.nodes import (
    STORE,
    column,
    consistent,
    done,
    found,
    node,
    place,
    replicated,
    retrieved,
    sent,
    study_of,
)
from tests.system.server import Server, running

pytestmark = pytest.mark.slow
_COPIED = "SELECT count(*) FROM object_copies"
_LACKING = """SELECT count(*) FROM instances i WHERE NOT EXISTS (SELECT FROM object_copies c
    WHERE c.sop_instance_uid = i.sop_instance_uid AND c.object_digest = i.digest)"""


@pytest.fixture(scope="module")
def postgres() -> Postgres:
    return shared_server()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The settings of a store in an S3 server."""
    with seaweed.Seaweed.running(tmp_path_factory.mktemp("s3")) as server:
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


def test_a_store_that_is_away_keeps_no_node_from_its_own_objects(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.create_database()
    (tmp_path / "s3").mkdir()
    with seaweed.Seaweed.running(tmp_path / "s3") as server:
        store = (
            f'kind = "s3"\nendpoint = "{server.endpoint}"\nbucket = "{seaweed.BUCKET}"\nattempts = 2\n'
            f'access_key = "{seaweed.ACCESS_KEY}"\nsecret_key = "{seaweed.SECRET_KEY}"\nrequest_timeout_s = 2'
        )
        three = [node(tmp_path, dsn, number, store=store) for number in (0, 1, 2)]
        with running(three[0]) as first, running(three[1]) as second, running(three[2]) as third:
            before = sent(first)
            replicated(second, before)
            server.stop()
            study = sent(first)
            peers.wait_until(lambda: found(third, study) == 3, "the others to find it")
            assert len(retrieved(first, study)) == 3
            told, _ = peers.get(third, study, "STUDY", {"StudyInstanceUID": study[0].study})
            assert told.counts() == (None, 0, 3, 0)
            with Client(second) as client:
                one = study[0]
                reply = client.get(path_of(one.study, one.series, one.uid), accept="application/dicom")
                assert reply.status == 503
            peers.wait_until(
                lambda: any(one["waiting"] == 3 for one in done(third, "GET", "/storage")["replication"]),
                "the lag to be told by any node",
            )
            server.start()
            replicated(third, study)
            for asked in (second, third):
                assert retrieved(asked, before + study) == {each.uid: each.data for each in before + study}
            consistent(three)


def test_a_node_whose_disk_is_lost_is_forgotten_and_what_it_had_is_served_by_others(
    postgres: Postgres, tmp_path: Path
) -> None:
    dsn = postgres.create_database()
    first, second = (node(tmp_path, dsn, number) for number in (0, 1))
    with running(first), running(second):
        safe, deleted = sent(second), sent(second)
        replicated(first, safe)
        replicated(first, deleted)
        number = done(first, "DELETE", f"/studies/{deleted[0].study}")["deletion"]
        (tmp_path / STORE).rename(tmp_path / "away")  # the store is not to be had
        unsafe = sent(second)
        peers.wait_until(lambda: found(first, unsafe) == 3, "the other node to find it")
        words = [
            sys.executable, "-m", "supervisors.cli", "nodes", "forget", "1", "--json", "--config", str(tmp_path / "node0.toml"),
            *first.options[2:4],
        ]  # fmt: skip
        refused = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 2 and "node 1 is alive" in refused.stderr

        second.kill()
        shutil.rmtree(second.data)
        shutil.rmtree(tmp_path / STORE, ignore_errors=True)
        (tmp_path / "away").rename(tmp_path / STORE)
        peers.wait_until(
            lambda: [one["alive"] for one in done(first, "GET", "/storage")["nodes"]] == [True, False],
            "it to be taken for dead",
            within_s=60,
        )
        told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert told.returncode == 1, told.stderr
        answer = json.loads(told.stdout)
        assert (answer["copied"], sorted(answer["lost"])) == (3, sorted(one.uid for one in unsafe))
        assert [one["node"] for one in done(first, "GET", "/storage")["nodes"]] == [0]

        peers.wait_until(lambda: len(first.objects()) == 3, "what has copies to be brought to the other node")
        assert retrieved(first, safe) == {one.uid: one.data for one in safe} and place(first, safe)[0] == 3
        done(first, "POST", f"/deletions/{number}/undo")
        peers.wait_until(lambda: found(first, deleted) == 3, "what was deleted to be back from copies")
        assert retrieved(first, deleted) == {one.uid: one.data for one in deleted}
        told_get, _ = peers.get(first, unsafe, "STUDY", {"StudyInstanceUID": unsafe[0].study})
        assert told_get.counts() == (None, 0, 3, 0)
        lost = {one["sop_instance_uid"] for one in done(first, "GET", "/integrity/findings")["items"]}
        assert lost == {one.uid for one in unsafe}

        assert set(peers.send(first, *unsafe)) == {0}, "whoever has it still may send it again"
        peers.wait_until(lambda: place(first, unsafe)[0] == 3, "it to be there again")
        assert retrieved(first, unsafe) == {one.uid: one.data for one in unsafe}

        second.start(wait=False)
        assert second.process is not None and second.process.wait(30) == 2
        assert "node 1 was forgotten" in second.tail()
        consistent((first,))
