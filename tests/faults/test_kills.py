"""kill -9 under load (F1): of the whole server, of one worker, of the parent alone; and SIGTERM (F33)."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from statistics import median

import pytest

from tests.faults.judge import Broken, judge
from tests.faults.load import Ledger, Load, wait_until
from tests.faults.rig import Rig
from tests.pace import TimeGiven
from tests.system.server import READY_WITHIN_S, running

RESTART_WITHIN_S = 10.0
DRAIN_WITHIN_S = 30.0
SENDERS = 6


def kill_again_and_again(rig: Rig, ledger: Ledger, rounds: int, seed: int) -> list[float]:
    """Kill the whole server at random moments of a load; seconds that it was given until it was ready again, each time."""
    chance = random.Random(seed)
    took = []
    for number in range(rounds):
        with Load(rig, ledger, senders=SENDERS, seed=number) as load:
            load.wait_acknowledged(chance.randint(20, 150))
            rig.kill()
            rig.start(wait=False)
            starting = TimeGiven(rig.pids)

            def ready(starting: TimeGiven = starting) -> bool:
                starting.look()
                return rig.get("/readyz")[0] == 200

            wait_until(ready, READY_WITHIN_S, "the server is ready again")
            starting.look()
            took.append(starting.seconds)
            load.wait_acknowledged(10)
    return took


def check_kills(rig: Rig, ledger: Ledger, rounds: int) -> None:
    took = kill_again_and_again(rig, ledger, rounds, seed=rounds)
    found = judge(rig, ledger)
    assert ledger.interruptions >= rounds, "the kills met no association"
    assert found["acknowledged"] > rounds * 30
    assert median(took) <= RESTART_WITHIN_S, took


def test_kill_of_the_whole_server_loses_nothing_that_was_acknowledged(rig: Rig, ledger: Ledger) -> None:
    check_kills(rig, ledger, rounds=2)


@pytest.mark.slow
def test_a_hundred_kills_of_the_whole_server_lose_nothing(rig: Rig, ledger: Ledger) -> None:
    check_kills(rig, ledger, rounds=100)


def test_kill_of_a_worker_loses_nothing_and_the_others_go_on(rig: Rig, ledger: Ledger) -> None:
    with Load(rig, ledger, senders=SENDERS) as load:
        load.wait_acknowledged(50)
        victim, survivor = rig.worker_pids()
        rig.kill_worker(victim)
        assert survivor in rig.worker_pids()
        load.wait_acknowledged(50)
    judge(rig, ledger)
    assert ledger.interruptions, "the killed worker had no association"


def test_kill_of_the_parent_ends_all_and_a_restart_finds_everything(rig: Rig, ledger: Ledger) -> None:
    with Load(rig, ledger, senders=SENDERS) as load:
        load.wait_acknowledged(50)
        assert rig.process is not None
        family = rig.pids()
        os.kill(rig.process.pid, signal.SIGKILL)
        rig.process.wait(10)
        wait_until(
            lambda: not any(alive(pid) for pid in family),
            20,
            "the workers and PostgreSQL end with the parent",
        )
        rig.start()
        load.wait_acknowledged(20)
    judge(rig, ledger)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_judge_notices_what_is_lost_torn_or_left(rig: Rig, ledger: Ledger) -> None:
    """The control of all campaigns: a promise that was broken behind the server's back is noticed."""
    with Load(rig, ledger, senders=2, images=4, pixel_bytes=(8_000,)) as load:
        load.join(30)
    judge(rig, ledger)
    uid = next(iter(ledger.acknowledged))
    (key,) = rig.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid = '{uid}'")
    (path,) = [one for one in rig.objects() if one.key == key]
    kept = path.read_bytes()

    path.unlink()
    with pytest.raises(Broken):
        judge(rig, ledger)
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(Broken):
        judge(rig, ledger)
    path.write_bytes(kept)
    judge(rig, ledger)

    leftover = rig.data / "tmp" / "0" / ("0" * 32 + ".dcm")
    leftover.write_bytes(kept)
    with pytest.raises(Broken, match="temporary"):
        judge(rig, ledger)
    leftover.unlink()
    stray = path.path.with_name("0" * 32 + ".dcm")
    stray.write_bytes(kept)
    with pytest.raises(Broken, match="without a row"):
        judge(rig, ledger)
    stray.unlink()


def test_termination_under_load_drains_and_leaves_nothing_to_recover(rig: Rig, ledger: Ledger) -> None:
    """Senders that release after some images: each association ends in its own time, and the server in good order."""
    with Load(rig, ledger, senders=SENDERS, per_association=30) as load:
        load.wait_acknowledged(60)
        assert rig.stop(DRAIN_WITHIN_S) == 0
        recovered = len(rig.logged("recovery_done"))
        rig.start()
        wait_until(
            lambda: len(rig.logged("recovery_done")) >= recovered + rig.workers, 30, "recovery is done"
        )
        assert [line["instances"] for line in rig.logged("recovery_done")[recovered:]] == [0] * rig.workers
        load.wait_acknowledged(20)
    assert not rig.logged("drain_cut_short")
    judge(rig, ledger)


@pytest.mark.slow
def test_termination_does_not_wait_for_ever_for_senders_that_never_end(
    tmp_path: Path, ledger: Ledger
) -> None:
    with running(Rig(tmp_path / "data", options=("--server.grace-s", "1"))) as rig:
        assert isinstance(rig, Rig)
        with Load(rig, ledger, senders=SENDERS) as load:
            load.wait_acknowledged(60)
            assert rig.stop(DRAIN_WITHIN_S) == 0
            rig.start()
            load.wait_acknowledged(20)
        assert rig.logged("drain_cut_short")
        judge(rig, ledger)
