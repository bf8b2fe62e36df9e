"""Connections that break (F11), peers that fall silent (F12), and more connections than file descriptors (F30)."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.settings import DicomSettings
from protocols.dimse.commands import CommandField
from protocols.ul.sop_classes import STUDY_ROOT_GET
from tests.faults.images import CT_IMAGE, Image, new_uid
from tests.faults.judge import judge
from tests.faults.load import Ledger, Load, wait_until
from tests.faults.raw_peer import RawPeer, end_all
from tests.faults.rig import Rig
from tests.system.server import running

PATIENCE_S = 1.5
FREED_WITHIN_S = 15.0
SLOTS = 24
OPTIONS = (
    "--dicom.network-timeout-s", str(PATIENCE_S), "--dicom.idle-timeout-s", str(PATIENCE_S), "--dicom.artim-s", str(PATIENCE_S),
    "--dicom.max-associations", str(SLOTS),
)  # fmt: skip


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running(Rig(tmp_path_factory.mktemp("rig") / "data", options=OPTIONS)) as rig:
        assert isinstance(rig, Rig)
        yield rig


def connections(rig: Rig) -> int:
    return sum(len(worker["associations"]) for worker in rig.status()["workers"])


def half_sent(rig: Rig) -> tuple[list[RawPeer], list[Image]]:
    """Peers that have stopped at every kind of place, some in the middle of a PDU, and the images that they did not finish."""
    small = Image(new_uid(), new_uid(), 1, pixel_bytes=40_000)
    large = Image(new_uid(), new_uid(), 1, pixel_bytes=4_000_000)
    asking, commanding, sending, spilling = peers = [RawPeer(rig) for _ in range(4)]
    asking.sock.sendall(asking.association_request(CT_IMAGE)[:50])
    for peer in (commanding, sending, spilling):
        peer.associate(CT_IMAGE)
    command, _ = commanding.store_request(small)
    commanding.sock.sendall(command[:-20])
    command, data_set = sending.store_request(small)
    sending.sock.sendall(command + data_set[:25_001])
    command, data_set = spilling.store_request(large)
    spilling.sock.sendall(command + data_set[:3_000_001])
    wait_until(lambda: bool(rig.half_received()), 20, "the large image is being written")
    return peers, [small, large]


@pytest.mark.parametrize(
    "end", [RawPeer.reset, RawPeer.close, lambda peer: None], ids=["reset", "closed", "silent"]
)
def test_connection_that_breaks_in_the_middle_leaves_nothing(
    rig: Rig, end: Callable[[RawPeer], None]
) -> None:
    before = set(rig.objects())
    peers, images = half_sent(rig)
    for peer in peers:
        end(peer)
    wait_until(lambda: connections(rig) == 0, FREED_WITHIN_S, "the places are free again")
    wait_until(lambda: not rig.half_received(), 10, "no temporary file is left")
    assert set(rig.objects()) == before
    uids = ", ".join(f"'{image.uid}'" for image in images)
    assert rig.sql(f"SELECT count(*) FROM instances WHERE sop_instance_uid IN ({uids})") == ["0"]
    end_all(peers)


def test_image_that_was_sent_to_its_end_is_there_though_the_peer_did_not_wait(rig: Rig) -> None:
    """The control: the last byte makes the difference, or the tests above look in the wrong place."""
    image = Image(new_uid(), new_uid(), 1, pixel_bytes=4_000_000)
    peer = RawPeer(rig)
    peer.associate(CT_IMAGE)
    peer.sock.sendall(b"".join(peer.store_request(image)))
    assert peer.read_command().status == 0
    peer.reset()
    wait_until(lambda: connections(rig) == 0, FREED_WITHIN_S, "the place is free again")
    query = f"SELECT count(*) FROM instances WHERE sop_instance_uid = '{image.uid}'"
    wait_until(lambda: rig.sql(query) == ["1"], 10, "the image is indexed")


def test_places_of_broken_connections_can_be_taken_again(rig: Rig) -> None:
    """More than there are places, one after the other and all broken."""
    for _ in range(3):
        peers = [RawPeer(rig) for _ in range(SLOTS // 2)]
        for peer in peers:
            peer.associate(CT_IMAGE)
            peer.reset()
        wait_until(lambda: connections(rig) == 0, FREED_WITHIN_S, "the places are free again")


def test_silent_peers_lose_their_places(rig: Rig, ledger: Ledger) -> None:
    """One that says nothing at all, one that is idle, one that asks for a study and does not read; not one that goes on talking."""
    with Load(rig, ledger, senders=1, images=16, pixel_bytes=(2_500_000,)) as load:
        load.join(60)
    (study,) = ledger.studies
    mute, idle = RawPeer(rig), RawPeer(rig)
    deaf = RawPeer(rig, receive_buffer_bytes=8192)
    idle.associate(CT_IMAGE)
    deaf.associate(STUDY_ROOT_GET, CT_IMAGE)
    keys = {"StudyInstanceUID": study}
    deaf.sock.sendall(deaf.query(CommandField.C_GET_RQ, STUDY_ROOT_GET, keys, level="STUDY", message_id=1))
    with Load(rig, Ledger(), senders=1, pause_s=PATIENCE_S / 5, pixel_bytes=(2_000,)) as talking:
        wait_until(lambda: connections(rig) == 4, 10, "all are connected")
        wait_until(lambda: connections(rig) == 1, FREED_WITHIN_S, "the silent ones are not")
        talking.wait_acknowledged(3)
        assert not talking.ledger.interruptions
    end_all([mute, idle, deaf])


def test_silence_costs_a_place_for_a_minute_at_most() -> None:
    settings = DicomSettings()
    assert max(settings.artim_s, settings.idle_timeout_s, settings.network_timeout_s) <= 60


def test_end_of_file_descriptors_pauses_accepting_and_is_survived(tmp_path: Path, ledger: Ledger) -> None:
    with running(Rig(tmp_path / "data", workers=1)) as rig:
        assert isinstance(rig, Rig)
        (worker,) = rig.worker_pids()
        with Load(rig, ledger, senders=2, pixel_bytes=(8_000,), pause_s=0.05) as load:
            load.wait_acknowledged(5)
            limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
            used = len(os.listdir(f"/proc/{worker}/fd"))  # noqa: PTH208
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 8, limits[1]))
            crowd = [RawPeer(rig) for _ in range(30)]
            try:
                check_pausing(rig, worker)
            finally:
                end_all(crowd)
                resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
            load.wait_acknowledged(10)
        assert not rig.logged("actor_crashed")
        assert not rig.logged("worker_died")
        assert not rig.logged("object_store_read_only")
        assert set(ledger.refused) <= {0xA700}
        wait_until(lambda: rig.get("/readyz")[0] == 200, 10, "the node is ready again")
        wait_until(lambda: connections(rig) == 0, FREED_WITHIN_S, "all places are free")
        judge(rig, ledger)


def check_pausing(rig: Rig, worker: int) -> None:
    """Some pauses long, the worker does next to nothing about the connections that it cannot take."""
    wait_until(lambda: bool(rig.logged("accept_pauses")), 20, "accepting pauses")
    pauses, began, used_s = len(rig.logged("accept_pauses")), time.monotonic(), cpu_seconds(worker)
    wait_until(lambda: len(rig.logged("accept_pauses")) >= pauses + 4, 20, "it tries again now and then")
    elapsed_s = time.monotonic() - began
    assert elapsed_s > 1.0, "it tries again all the time"
    assert cpu_seconds(worker) - used_s < elapsed_s / 2


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
