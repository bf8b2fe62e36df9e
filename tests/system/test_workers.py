"""Several worker processes as one server: shared port, shared limits, and what happens when one of them dies."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocols.ul.model import LOCAL_LIMIT_EXCEEDED, AssociateAccept
from tests.system.raw_peer import RawPeer, ct_data_set, eventually, well
from tests.system.server import Server, running

PER_AE = 8


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers, which may fall often."""
    folder = tmp_path_factory.mktemp("workers")
    options = (f"--dicom.max-associations-per-ae={PER_AE}", "--server.restart-crashes=50")
    with running(Server(folder / "data", options=options, workers=2)) as server:
        yield server


@contextlib.contextmanager
def opened(server: Server, count: int, calling: str = "PEER") -> Iterator[list[RawPeer]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(RawPeer(server.dicom_port)).established(calling=calling) for _ in range(count)
        ]


def workers(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.status()["workers"]
    return found


def pid_of(server: Server, slot: int) -> int:
    """A worker's process, as soon as the page knows it: a new worker has not heard of the others yet."""
    found: list[int] = []

    def known() -> bool:
        found[:] = [worker["pid"] for worker in workers(server) if worker["slot"] == slot]
        return bool(found)

    eventually(known, what=f"the page shows worker {slot}")
    return found[0]


def shares(server: Server) -> list[int]:
    """Associations of each worker."""
    return [len(worker["associations"]) for worker in workers(server)]


def answers(peer: RawPeer) -> bool:
    try:
        return peer.echo() == 0
    except (AssertionError, OSError):
        return False


def replaced(server: Server, pid: int) -> bool:
    """Another process has taken the place of a worker, and accepts."""
    now = workers(server)
    return len(now) == 2 and all(worker["state"] == "accepting" and worker["pid"] != pid for worker in now)


@contextlib.contextmanager
def shared_out(server: Server, at_least: int) -> Iterator[list[RawPeer]]:
    """Associations, as many as one AE may have, some with each worker. A machine that is busy may keep one worker from its turn."""
    seen = []
    for _ in range(10):
        with opened(server, PER_AE) as peers:
            eventually(lambda: sum(shares(server)) == PER_AE)
            seen.append(shares(server))
            if min(seen[-1]) >= at_least:
                yield peers
                return
        eventually(lambda: shares(server) == [0, 0])
    raise AssertionError(f"one worker takes them all: {seen}")


def test_associations_are_shared_out(pair: Server) -> None:
    eventually(lambda: [worker["state"] for worker in workers(pair)] == ["accepting"] * 2)
    with shared_out(pair, at_least=PER_AE // 4) as peers:
        assert all(map(answers, peers))
    eventually(lambda: shares(pair) == [0, 0])


def test_limits_are_the_nodes_not_a_workers(pair: Server) -> None:
    with opened(pair, PER_AE):
        for _ in range(6):  # whichever worker takes it
            with RawPeer(pair.dicom_port) as one_more:
                assert one_more.associate(calling="PEER") == LOCAL_LIMIT_EXCEEDED
        assert well(pair.dicom_port, calling="OTHER")
    eventually(lambda: shares(pair) == [0, 0])


def test_worker_that_is_killed_is_replaced_and_the_other_goes_on(pair: Server) -> None:
    with shared_out(pair, at_least=1) as peers:
        with RawPeer(pair.dicom_port) as sender:
            assert sender.established(calling="SENDER").store("1.2.3.1", ct_data_set("1.2.3.1")) == 0
        (victim,) = [worker for worker in workers(pair) if worker["slot"] == 0]
        os.kill(victim["pid"], signal.SIGKILL)
        lost = len(victim["associations"])
        living = [peer for peer in peers if answers(peer)]
        assert len(living) == PER_AE - lost
        assert 0 < lost < PER_AE

        # At once: the one that is left takes everybody.
        assert well(pair.dicom_port, calling="OTHER")
        eventually(lambda: replaced(pair, victim["pid"]), what="a new worker")
        fall = pair.logged("worker_died")[0]
        assert (fall["slot"], fall["code"]) == (0, -signal.SIGKILL)
        assert all(map(answers, living)), "the others noticed"

        # Its places count no more, and no less than its own are given back.
        with opened(pair, lost) as newcomers, RawPeer(pair.dicom_port) as one_more:
            assert one_more.associate(calling="PEER") == LOCAL_LIMIT_EXCEEDED
            assert all(map(answers, newcomers))
        eventually(lambda: takes_its_share(pair, 0), what="the new one takes its share")
    eventually(lambda: pair.sql("SELECT count(*) FROM instances") == ["1"])


def takes_its_share(server: Server, slot: int) -> bool:
    with opened(server, PER_AE // 2, calling="MORE"):
        return shares(server)[slot] > 0


def test_worker_that_stands_still_does_not_keep_peers_from_the_other(pair: Server) -> None:
    """A stopped process accepts nothing; its sibling on the same socket does."""
    frozen = pid_of(pair, 1)
    os.kill(frozen, signal.SIGSTOP)
    try:
        for _ in range(10):
            assert well(pair.dicom_port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
    eventually(lambda: all(worker["state"] == "accepting" for worker in workers(pair)))


def test_parent_gives_up_on_a_worker_that_falls_again_and_again(tmp_path: Path) -> None:
    """One fall is borne, the second is not: the node ends with an error that says so, and nothing of it is left."""
    options = ("--server.restart-crashes=1", "--server.restart-window-s=120")
    with running(Server(tmp_path / "data", options=options, workers=2)) as server:
        sibling = pid_of(server, 1)
        pid = pid_of(server, 0)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: replaced(server, pid))
        assert pid_of(server, 1) == sibling
        pids = server.pids()
        os.kill(pid_of(server, 0), signal.SIGKILL)
        assert server.process is not None
        assert server.process.wait(30) == 1
        (last,) = server.logged("node_gives_up")
        assert last["level"] == "error"
        assert "worker 0" in last["why"]
        assert "Traceback (most recent" not in server.tail().rsplit("node_gives_up", 1)[1]
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="no process is left")


@pytest.mark.slow
def test_falls_that_are_far_enough_apart_are_borne(tmp_path: Path) -> None:
    """The control: as many falls, but not within the window."""
    options = ("--server.restart-crashes=1", "--server.restart-window-s=0.5")
    with running(Server(tmp_path / "data", options=options, workers=1)) as server:
        for _ in range(2):
            pid = pid_of(server, 0)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: replaced_alone(server, pid))  # type: ignore[misc]
            with RawPeer(server.dicom_port) as peer:
                assert isinstance(peer.associate(), AssociateAccept)
        assert server.stop() == 0


def replaced_alone(server: Server, pid: int) -> bool:
    if server.get("/readyz")[0] != 200:
        return False
    (worker,) = workers(server) or ({"state": "", "pid": 0},)
    return worker["state"] == "accepting" and worker["pid"] != pid
