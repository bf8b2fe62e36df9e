"""C-MOVE to a destination that dies, refuses or is frozen, and floods of C-CANCEL (F31): right counts, a final response always."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from pynetdicom import AE, evt

from pacs_actors.dicom.client import Arriving, Peer, RetrieveResult, Timeouts, for_get, for_move
from protocols.dimse.commands import CommandField
from protocols.dimse.status import StatusKind
from protocols.ul.sop_classes import STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from tests.acceptor import accepting
from tests.faults.images import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN
from tests.faults.judge import HashingReceiver, client
from tests.faults.load import Ledger, Load, wait_until
from tests.faults.raw_peer import RawPeer
from tests.faults.rig import Rig
from tests.system.server import free_port, running

IMAGES = 30
FLOOD = 500
_TIMEOUTS = Timeouts(response=30.0, cancel=30.0)


@pytest.fixture(scope="module")
def destination_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, destination_port: int) -> Iterator[Rig]:
    options = ("--dicom.network-timeout-s", "2")
    data = tmp_path_factory.mktemp("rig") / "data"
    with running(Rig(data, options=options, nodes=[f"DEST=127.0.0.1:{destination_port}"])) as rig:
        assert isinstance(rig, Rig)
        yield rig


@pytest.fixture(scope="module")
def study(rig: Rig) -> str:
    """A study of IMAGES images on the server."""
    ledger = Ledger()
    with Load(rig, ledger, senders=1, images=IMAGES, pixel_bytes=(40_000,)) as load:
        load.join(60)
    assert len(ledger.acknowledged) == IMAGES
    return ledger.studies.pop()


@contextmanager
def destination(port: int, *, dies_after: int = 1 << 30, fails_from: int = 1 << 30) -> Iterator[list[str]]:
    """A move destination; the UIDs that it has taken.

    dies_after:  images, then its association is aborted and it listens no more
    fails_from:  from this image on it answers A700H
    """
    taken: list[str] = []

    def store(event: Any) -> int:
        if len(taken) + 1 >= fails_from:
            return 0xA700
        taken.append(str(event.request.AffectedSOPInstanceUID))
        if len(taken) == dies_after:
            event.assoc.abort()
        return 0

    entity = AE("DEST")
    entity.add_supported_context(CT_IMAGE, [EXPLICIT_VR_LITTLE_ENDIAN])
    handlers: list[Any] = [(evt.EVT_C_STORE, store)]
    with accepting(entity, port, handlers):
        yield taken


@contextmanager
def frozen_destination(port: int) -> Iterator[None]:
    """It takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", port)):
        yield


def move(rig: Rig, study: str) -> RetrieveResult:
    async def run() -> RetrieveResult:
        async with client(rig, for_move(), timeouts=_TIMEOUTS) as peer:
            result: RetrieveResult = await peer.move({"StudyInstanceUID": study}, destination="DEST")
            return result

    return trio.run(run)


def check_counts(result: RetrieveResult, completed: int) -> None:
    counts = result.counts
    assert (counts.completed, counts.failed, counts.warning) == (completed, IMAGES - completed, 0)
    assert not counts.remaining
    assert len(result.failed_uids) == IMAGES - completed


def test_move_to_a_destination_that_takes_all_completes(rig: Rig, study: str, destination_port: int) -> None:
    """The control of those below: nothing fails by itself."""
    with destination(destination_port) as taken:
        result = move(rig, study)
    assert result.status == 0
    check_counts(result, IMAGES)
    assert len(set(taken)) == IMAGES


def test_move_to_a_destination_that_dies_counts_what_it_had_taken(
    rig: Rig, study: str, destination_port: int
) -> None:
    with destination(destination_port, dies_after=10) as taken:
        result = move(rig, study)
    # The tenth was taken, but its answer was lost with the association.
    assert result.counts.completed in (9, 10)
    check_counts(result, result.counts.completed)
    assert not set(taken[:9]) & set(result.failed_uids)
    assert result.kind in (StatusKind.WARNING, StatusKind.FAILURE)


def test_move_to_a_destination_that_refuses_images_counts_them(
    rig: Rig, study: str, destination_port: int
) -> None:
    with destination(destination_port, fails_from=21) as taken:
        result = move(rig, study)
    check_counts(result, 20)
    assert not set(taken) & set(result.failed_uids)
    assert result.status == 0xB000


def test_move_to_nobody_fails_with_all_counted(rig: Rig, study: str) -> None:
    result = move(rig, study)
    assert result.kind is StatusKind.FAILURE
    check_counts(result, 0)


@pytest.mark.slow
def test_move_to_a_frozen_destination_ends(rig: Rig, study: str, destination_port: int) -> None:
    with frozen_destination(destination_port):
        result = move(rig, study)
    assert result.kind is StatusKind.FAILURE
    check_counts(result, 0)


class Canceller(HashingReceiver):
    """Takes images, and with the third begins to send C-CANCELs, many at once."""

    peer: Peer

    async def receive(self, arriving: Arriving) -> None:
        await super().receive(arriving)
        if len(self.digests) == 3:
            for _ in range(FLOOD):
                await self.peer.cancel()


def test_flood_of_cancels_ends_a_get_in_good_order(rig: Rig, study: str) -> None:
    async def run() -> tuple[RetrieveResult, int, RetrieveResult]:
        receiver, again = Canceller(), HashingReceiver()
        async with client(rig, for_get(storage_classes=[CT_IMAGE]), timeouts=_TIMEOUTS) as peer:
            receiver.peer = peer
            first = await peer.get({"StudyInstanceUID": study}, into=receiver)
            second = await peer.get({"StudyInstanceUID": study}, into=again)
        return first, len(receiver.digests), second

    first, received, second = trio.run(run)
    assert first.kind is StatusKind.CANCEL
    assert first.counts.completed == received < IMAGES
    assert first.counts.remaining == IMAGES - received
    assert (second.status, second.counts.completed) == (0, IMAGES)


@pytest.mark.parametrize("about", ["it", "another"])
def test_flood_of_cancels_gets_one_final_answer_to_a_find(rig: Rig, study: str, about: str) -> None:
    """Whether the C-CANCELs come in time or too late, or are about a request that there never was: the association lives on."""
    with RawPeer(rig) as peer:
        peer.associate(STUDY_ROOT_FIND)
        for message_id in (1, 3, 5):
            query = peer.query(
                CommandField.C_FIND_RQ,
                STUDY_ROOT_FIND,
                {"StudyInstanceUID": study},
                level="STUDY",
                message_id=message_id,
            )
            cancelled = message_id if about == "it" else 99
            flood = peer.cancel(STUDY_ROOT_FIND, cancelled) * FLOOD
            sender = threading.Thread(target=peer.sock.sendall, args=(query + flood,))
            sender.start()
            final = peer.read_final()
            sender.join()
            assert final.message_id_responded_to == message_id
            assert final.status in ((0, 0xFE00) if about == "it" else (0,))


def test_cancel_of_another_request_does_not_stop_a_move(rig: Rig, study: str, destination_port: int) -> None:
    """PS3.7 9.3.2.3: a C-CANCEL is about one message."""
    with RawPeer(rig) as peer:
        peer.associate(STUDY_ROOT_MOVE)
        keys = {"StudyInstanceUID": study}
        asked = peer.query(
            CommandField.C_MOVE_RQ, STUDY_ROOT_MOVE, keys, level="STUDY", message_id=7, destination="DEST"
        )
        with destination(destination_port):
            peer.sock.sendall(asked + peer.cancel(STUDY_ROOT_MOVE, 99) * FLOOD)
            final = peer.read_final()
        assert (final.status, final.completed) == (0, IMAGES)


def test_cancel_stops_a_move_with_right_counts(rig: Rig, study: str, destination_port: int) -> None:
    with RawPeer(rig) as peer:
        peer.associate(STUDY_ROOT_MOVE)
        keys = {"StudyInstanceUID": study}
        asked = peer.query(
            CommandField.C_MOVE_RQ, STUDY_ROOT_MOVE, keys, level="STUDY", message_id=7, destination="DEST"
        )
        with destination(destination_port) as taken:
            peer.sock.sendall(asked + peer.cancel(STUDY_ROOT_MOVE, 7) * FLOOD)
            final = peer.read_final()
        assert final.status == 0xFE00
        assert final.completed == len(taken)
        assert final.remaining == IMAGES - len(taken)


def test_peer_that_vanishes_during_its_move_is_a_lost_peer_not_a_bug(
    rig: Rig, study: str, destination_port: int
) -> None:
    crashes = len(rig.logged("association_crashed"))
    with RawPeer(rig) as peer:
        peer.associate(STUDY_ROOT_MOVE)
        keys = {"StudyInstanceUID": study}
        with destination(destination_port) as taken:
            peer.sock.sendall(
                peer.query(
                    CommandField.C_MOVE_RQ,
                    STUDY_ROOT_MOVE,
                    keys,
                    level="STUDY",
                    message_id=7,
                    destination="DEST",
                )
            )
            wait_until(lambda: bool(taken), 20, "the move is under way")
            peer.reset()
            wait_until(
                lambda: not any(worker["associations"] for worker in rig.status()["workers"]),
                20,
                "it is over",
            )
        assert len(rig.logged("association_crashed")) == crashes
