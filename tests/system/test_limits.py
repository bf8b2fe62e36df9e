"""Limits of the real server: who may have how many associations, how long anybody may dawdle, what it takes when all is used up."""

from __future__ import annotations

import contextlib
import resource
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protocols.ul.model import LOCAL_LIMIT_EXCEEDED, Abort, AssociateAccept, AssociateReject
from tests.system.raw_peer import (
    RawPeer,
    association_request,
    ct_data_set,
    data_pdu,
    descriptors,
    echo_request,
    eventually,
    store_request,
    unfinished,
    well,
)
from tests.system.server import Server, running

MIB = 1024 * 1024
PER_AE, PER_ADDRESS, OVERALL = 4, 8, 12
SILENCE_S = 3.0
RATE_GRACE_S = 5.0
MODALITY = "127.0.0.77"


@pytest.fixture(scope="module")
def limited_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """ARTIM is long, so that only eviction ends connections that say nothing."""
    folder = tmp_path_factory.mktemp("limits")
    options = (
        f"--dicom.max-associations={OVERALL}",
        f"--dicom.max-associations-per-ae={PER_AE}",
        f"--dicom.max-associations-per-address={PER_ADDRESS}",
        "--dicom.artim-s=30",
        f"--dicom.network-timeout-s={SILENCE_S}",
        f"--dicom.idle-timeout-s={SILENCE_S}",
    )
    nodes = [f"MODALITY={MODALITY}:104"]
    with running(Server(folder / "data", options=options, nodes=nodes, workers=1)) as server:
        yield server


@pytest.fixture
def many_files() -> Iterator[None]:
    """Leave for as many sockets as the floods need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    if wanted < 1500:
        pytest.skip("too few file descriptors for a flood")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def peers(
    count: int, port: int, source: Callable[[int], str | None] = lambda _: None
) -> Iterator[list[RawPeer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RawPeer(port, source=source(number))) for number in range(count)]


def nobody_left(server: Server) -> bool:
    return not any(worker["associations"] for worker in server.status()["workers"])


# -- how many -------------------------------------------------------------------------------------------------------------


def accepted(found: list[object]) -> int:
    return sum(isinstance(answer, AssociateAccept) for answer in found)


def test_one_ae_gets_its_share_and_the_rest_is_told_to_come_back(limited_server: Server) -> None:
    port = limited_server.dicom_port
    with peers(PER_AE + 2, port) as ours:
        answers: list[object] = [peer.associate(calling="GREEDY") for peer in ours]
        assert accepted(answers) == PER_AE
        assert set(map(repr, answers[PER_AE:])) == {repr(LOCAL_LIMIT_EXCEEDED)}
        assert well(port, calling="MODEST")
        ours[0].release()
        eventually(lambda: well(port, calling="GREEDY"), what="a place was given back")
    eventually(lambda: nobody_left(limited_server))


def test_one_address_gets_its_share_whatever_it_calls_itself(limited_server: Server) -> None:
    port = limited_server.dicom_port
    with peers(PER_ADDRESS + 2, port) as ours:
        answers: list[object] = [peer.associate(calling=f"AE{number}") for number, peer in enumerate(ours)]
        assert accepted(answers) == PER_ADDRESS
        assert answers[PER_ADDRESS:] == [LOCAL_LIMIT_EXCEEDED] * 2
        assert well(port, calling="NEIGHBOUR", source="127.0.0.2")
    eventually(lambda: nobody_left(limited_server))


def test_the_node_takes_so_many_from_everybody_together(limited_server: Server) -> None:
    port = limited_server.dicom_port
    with peers(OVERALL + 2, port, lambda number: f"127.0.0.{2 + number % 4}") as ours:
        answers: list[object] = [peer.associate(calling=f"AE{number}") for number, peer in enumerate(ours)]
        assert accepted(answers) == OVERALL
        assert answers[OVERALL:] == [LOCAL_LIMIT_EXCEEDED] * 2
        for peer, answer in zip(ours, answers, strict=True):
            if isinstance(answer, AssociateAccept):
                assert peer.echo() == 0
    eventually(lambda: nobody_left(limited_server))


@pytest.mark.parametrize("addresses", [1, 25], ids=["one address", "many addresses"])
def test_idle_connections_never_keep_a_known_modality_out(
    limited_server: Server, many_files: None, addresses: int
) -> None:
    """F14: a thousand connections that say nothing; from many addresses they fill every place that a worker has."""
    port = limited_server.dicom_port
    turned_away = _turned_away(limited_server)
    with peers(1100, port, lambda number: f"127.0.1.{1 + number % addresses}"):
        for _ in range(20):
            assert well(port, source=MODALITY)
        eventually(lambda: _turned_away(limited_server) > turned_away, what="the flood reached a limit")
        with RawPeer(port, source=MODALITY) as modality:
            assert modality.established(calling="MODALITY").store("1.2.3", ct_data_set("1.2.3")) == 0
    assert limited_server.logged("connection_evicted")


def _turned_away(server: Server) -> int:
    return sum(worker["counters"]["turned_away"] for worker in server.status()["workers"])


def test_flood_of_requests_gets_its_share_and_a_known_modality_gets_in(
    limited_server: Server, many_files: None
) -> None:
    """F14: a thousand idle connections and two hundred requests at once from another address."""
    port = limited_server.dicom_port
    with peers(1000, port, lambda number: f"127.0.1.{1 + number % 25}"), peers(200, port) as flood:
        for number, peer in enumerate(flood):
            peer.send(association_request(calling=f"FLOOD{number}"))
        assert well(port, source=MODALITY)
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(RawPeer.receive, flood))
        kinds = {type(answer) for answer in answers}
        assert kinds <= {AssociateAccept, AssociateReject, type(None)}
        assert 0 < accepted(answers) <= PER_ADDRESS
        assert all(
            answer == LOCAL_LIMIT_EXCEEDED for answer in answers if isinstance(answer, AssociateReject)
        )
        assert well(port, source=MODALITY)
    eventually(lambda: nobody_left(limited_server))


# -- how long -------------------------------------------------------------------------------------------------------------


def trickled(peer: RawPeer, data: bytes, every_s: float, within_s: float) -> bool:
    """Send a byte now and then until the server closes; False if it bears it."""
    peer.sock.settimeout(every_s)
    deadline = time.monotonic() + within_s
    for at in range(len(data)):
        try:
            peer.send(data[at : at + 1])
            while peer.sock.recv(4096):
                continue
            return True
        except TimeoutError:
            if time.monotonic() > deadline:
                return False
        except OSError:
            return True
    return False


def test_dawdlers_are_closed_and_leave_nothing(limited_server: Server) -> None:
    """F11, F12, F13: silence after the association, silence in a message, a byte a second anywhere in a message."""
    port = limited_server.dicom_port
    store = store_request("1.2.826.7")
    header = struct.pack(">BxI", 4, 100) + bytes(100)

    def silent(peer: RawPeer, data: bytes) -> bool:
        peer.sock.settimeout(SILENCE_S + 10)
        peer.send(data)
        return isinstance(peer.receive(), Abort) and peer.ended()

    cases: list[tuple[Callable[..., bool], tuple[object, ...]]] = [
        (silent, (b"",)),
        (silent, (store[:20],)),
        (silent, (store + data_pdu(bytes(9000), last=False),)),
        (trickled, (header, 0.5, RATE_GRACE_S + 8)),
        (trickled, (store, 0.5, RATE_GRACE_S + 8)),
    ]

    def asking(peer: RawPeer) -> bool:
        """The control: an association that gets older than every timeout, and is never silent for long."""
        deadline, message_id = time.monotonic() + 1.5 * SILENCE_S, 0
        while time.monotonic() < deadline:
            message_id += 1
            assert peer.echo(message_id) == 0
            time.sleep(SILENCE_S / 4)
        return peer.echo(99) == 0

    cases.append((asking, ()))
    with peers(len(cases) + 1, port, lambda number: f"127.0.0.{2 + number % 3}") as ours:
        for number, peer in enumerate(ours):
            peer.established(calling=f"SLOW{number}")
        # Halfway through an object, more than a buffer of which is on the disk: 1.2 MB buy a long time at the minimum rate, so
        # it is the silence that ends this one.
        ours[-1].send(store + data_pdu(bytes(60_000), last=False) * 20)
        with ThreadPoolExecutor(len(cases)) as pool:
            waiting = [
                pool.submit(case, peer, *arguments)
                for peer, (case, arguments) in zip(ours[:-1], cases, strict=True)
            ]
            assert silent(ours[-1], b"")
            assert [done.result() for done in waiting] == [True] * len(cases)
    eventually(lambda: nobody_left(limited_server), what="their places are free")
    eventually(lambda: not unfinished(limited_server), what="nothing of their objects is left")
    assert limited_server.sql("SELECT count(*) FROM instances WHERE sop_instance_uid = '1.2.826.7'") == ["0"]


# -- what it takes --------------------------------------------------------------------------------------------------------


def test_used_up_file_descriptors_pause_accepting_and_nothing_else(
    limited_server: Server, many_files: None
) -> None:
    """F30: what is open goes on, nothing spins, and all is well again once there are some."""
    port, (worker,) = limited_server.dicom_port, limited_server.worker_pids()
    limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    with RawPeer(port, source=MODALITY) as modality:
        modality.established(calling="MODALITY")
        paused = len(limited_server.logged("accept_pauses"))
        try:
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (descriptors(worker) + 8, limits[1]))
            with peers(30, port):
                eventually(lambda: len(limited_server.logged("accept_pauses")) > paused)
                began_s, began = _cpu_s(worker), time.monotonic()
                for message_id in range(2, 8):
                    assert modality.echo(message_id) == 0
                    status = modality.store(
                        f"1.2.3.{message_id}", ct_data_set(f"1.2.3.{message_id}"), message_id
                    )
                    assert status in (0, 0xA700), "no descriptor for the object: refused, not lost"
                    time.sleep(0.2)
                assert _cpu_s(worker) - began_s < 0.5 * (time.monotonic() - began), "it spins"
        finally:
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        eventually(lambda: well(port, source=MODALITY))
        assert modality.echo(90) == 0
        assert modality.store("1.2.3.99", ct_data_set("1.2.3.99"), 99) == 0
    assert limited_server.worker_pids() == [worker]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_pipelining_peer_does_not_starve_another(limited_server: Server) -> None:
    """One that always has requests on the way, and one that asks now and then: both are served."""
    port = limited_server.dicom_port
    requests = b"".join(echo_request(number) for number in range(1, 2001))
    with peers(2, port) as (busy, quiet):
        busy.established(calling="BUSY")
        quiet.established(calling="QUIET")
        with ThreadPoolExecutor(2) as pool:
            sending = pool.submit(busy.send, requests)
            reading = pool.submit(lambda: [busy.receive_command().status for _ in range(2000)])
            answered_meanwhile = 0
            while not reading.done():
                assert quiet.echo() == 0
                answered_meanwhile += not reading.done()
            sending.result()
            assert reading.result() == [0] * 2000
    assert answered_meanwhile > 0
