"""Three nodes, database and store on a network of their own: one falls, one is cut off; nothing is lost, nothing done twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import postgres_fixture
from tests.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed
from tests.system import peers
from tests.system.namespaces import SWITCH, Machine, Network, network
from tests.system.nodes import column, configuration, consistent, done, found, retrieved, study_of
from tests.system.server import Server, free_port, running

pytestmark = pytest.mark.slow
_LACKING = """SELECT count(*) FROM instances i WHERE NOT EXISTS (SELECT FROM object_copies c
    WHERE c.sop_instance_uid = i.sop_instance_uid AND c.object_digest = i.digest)"""


class Site:
    """nodes: 0, 1 and 2; machines: theirs"""

    def __init__(self, net: Network, root: Path, held: ExitStack) -> None:
        self.net, self.root = net, root
        databases, objects = net.machine(10), net.machine(11)
        postgres = postgres_fixture.start_server(listens=databases.address, wrapper=databases.wrapper)
        held.callback(postgres.stop)
        name = postgres.create_database().split("/")[3].split("?")[0]
        self.dsn = f"postgresql://pacs@{databases.address}/{name}"
        store = Seaweed(root / "s3", free_port())
        store.address, store.wrapper = objects.address, objects.wrapper
        store.endpoint = f"http://{objects.address}:{store.port}"
        (root / "s3").mkdir()
        held.callback(store.stop)
        store.start()
        self.store = (
            f'kind = "s3"\nendpoint = "{store.endpoint}"\nbucket = "{BUCKET}"\naccess_key = "{ACCESS_KEY}"\n'
            f'secret_key = "{SECRET_KEY}"\nrequest_timeout_s = 5'
        )
        self.machines = [net.machine(20 + number) for number in range(3)]
        self.nodes = [self._node(number, machine) for number, machine in enumerate(self.machines)]
        for one in self.nodes:
            held.enter_context(running(one))

    def _node(self, number: int, machine: Machine) -> Server:
        config = configuration(self.root, f"node{number}", store=self.store)
        options = (
            "--config", str(config), "--database.url", self.dsn, "--server.node", str(number),
            "--dicom.host", machine.address, "--web.host", machine.address,
        )  # fmt: skip
        made = Server(
            self.root / f"data{number}",
            workers=1,
            options=options,
            nodes=[f"SCU={SWITCH}:104"],
            wrapper=machine.wrapper,
        )
        made.host = machine.address
        return made


@contextmanager
def site(root: Path) -> Iterator[Site]:
    with network() as net, ExitStack() as held:
        yield Site(net, root, held)


def sending(server: Server, until: threading.Event, answered: dict[str, peers.Instance]) -> None:
    """Studies of ten, over an association each; what was answered 0000H is noted. Whoever falls is called again."""
    while not until.is_set():
        study = study_of(10)
        try:
            with peers.opened(server, [study[0].context]) as association:
                for one in study:
                    if until.is_set() or peers.store(association, one) != 0:
                        break
                    answered[one.uid] = one
        except Exception:  # the peer is gone: whatever pynetdicom makes of that
            until.wait(0.2)


def test_one_node_falls_and_another_is_cut_off_amid_ingest_and_moves(tmp_path: Path) -> None:
    with site(tmp_path) as where:
        first, _, third = where.nodes
        answered: list[dict[str, peers.Instance]] = [{}, {}, {}]
        moving = [study_of(10) for _ in range(4)]
        moved = [one for study in moving for one in study]
        for study in moving:  # each on all three
            for server, some in zip(where.nodes, (study[:4], study[4:7], study[7:]), strict=True):
                assert set(peers.send(server, *some)) == {0}
        until = threading.Event()
        threads = [
            threading.Thread(target=sending, args=(server, until, known), daemon=True)
            for server, known in zip(where.nodes, answered, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            wait = peers.wait_until
            wait(lambda: all(len(known) >= 40 for known in answered), "all to have stored some", within_s=180)
            for study in moving:
                order = {"study_instance_uid": study[0].study, "from_store": "online", "to_store": "common"}
                done(third, "POST", "/storage/moves", order)
            where.net.cut_off(where.machines[1])
            first.kill()
            wait(
                lambda: (
                    [one["alive"] for one in done(third, "GET", "/storage")["nodes"]] == [False, False, True]
                ),
                "two to be taken for dead",
                within_s=120,
            )
            more = len(answered[2])
            wait(lambda: len(answered[2]) > more + 20, "the third to go on storing", within_s=120)
            study = study_of(3)
            assert set(peers.send(third, *study)) == {0} and found(third, study) == 3

            where.net.cut_off(where.machines[1], cut=False)
            first.start()
            before = [len(known) for known in answered]
            wait(
                lambda: all(len(known) > n + 10 for known, n in zip(answered, before, strict=True)),
                "all to store again",
                within_s=240,
            )
        finally:
            until.set()
            for thread in threads:
                thread.join(90)

        everything = answered[0] | answered[1] | answered[2] | {one.uid: one for one in [*study, *moved]}
        wait(
            lambda: set(column(third, "SELECT sop_instance_uid FROM instances")) >= everything.keys(),
            "all that was answered to be found",
            within_s=180,
        )
        wait(lambda: column(third, _LACKING)[0] == 0, "everything to be replicated", within_s=300)
        wait(
            lambda: (
                column(third, "SELECT count(*) FROM tier_moves WHERE state = 'done' AND to_store = 'common'")[
                    0
                ]
                == 4
            ),
            "all moves to be done",
            within_s=300,
        )
        stored = column(third, "SELECT count(*) FROM instances")[0]
        assert stored - len(everything) <= 60, "at most what was under way as somebody fell"
        assert column(third, "SELECT count(*) FROM tier_moves WHERE state = 'failed'") == [0]
        wait(lambda: column(third, "SELECT count(*) FROM object_removals")[0] == 0, "each to remove its own")
        consistent(where.nodes)
        some = [*moved, *study, *list(answered[0].values())[:30], *list(answered[1].values())[:30]]
        for server in where.nodes:
            got = retrieved(server, some)
            assert {one.uid: one.data for one in some}.items() <= got.items(), (
                "any node answers for any object"
            )


def test_a_node_that_is_cut_off_and_forgotten_ends_once_it_hears_of_it(tmp_path: Path) -> None:
    with site(tmp_path) as where:
        first, second, _ = where.nodes
        study = study_of(3)
        assert set(peers.send(second, *study)) == {0}
        peers.wait_until(lambda: column(first, _LACKING)[0] == 0 and found(first, study) == 3, "copies of it")
        where.net.cut_off(where.machines[1])
        peers.wait_until(
            lambda: [one["alive"] for one in done(first, "GET", "/storage")["nodes"]] == [True, False, True],
            "it to be taken for dead",
            within_s=120,
        )
        words = [sys.executable, "-m", "supervisors.cli", "nodes", "forget", "1", *first.options[:4]]
        told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert told.returncode == 0, told.stderr
        peers.wait_until(
            lambda: column(first, "SELECT count(*) FROM instances WHERE slot / 100 <> 1")[0] == 3,
            "the others to have what it had",
            within_s=120,
        )
        assert second.process is not None and second.process.poll() is None, "it knows nothing of that"
        where.net.cut_off(where.machines[1], cut=False)
        assert second.process.wait(120) == 0, "it is ended in peace"
        assert second.logged("node_forgotten")
        assert retrieved(first, study) == {one.uid: one.data for one in study}
