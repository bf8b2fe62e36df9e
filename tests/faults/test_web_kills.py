"""kill -9 while objects are stored over DICOMweb, and while they are deleted, brought back and erased."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException

import pytest

from tests.faults.rig import Rig
from tests.faults.test_memory import resident_bytes, rig_with
from tests.system import peers, stow
from tests.system.test_delete import study_of

WITHIN_S = 40.0
MIB = 1 << 20


def wait_until(condition: Callable[[], bool], what: str) -> None:
    peers.wait_until(condition, what, within_s=WITHIN_S)


def store_until_told(rig: Rig, acknowledged: list[peers.Instance], stop: threading.Event) -> None:
    """Requests of five instances each, one after the other; what is answered is noted."""
    while not stop.is_set():
        instances = [*study_of("CT"), *study_of("MR"), peers.make()]
        try:
            told = set(stow.store(rig, *instances).stored)
        except (OSError, AssertionError, ValueError, HTTPException):
            time.sleep(0.02)  # it is being killed
            continue
        acknowledged += [one for one in instances if one.uid in told]


def test_kill_in_the_middle_of_requests_loses_nothing_that_was_answered(rig: Rig) -> None:
    token = rig.token
    acknowledged: list[peers.Instance] = []
    stop = threading.Event()
    senders = [threading.Thread(target=store_until_told, args=(rig, acknowledged, stop)) for _ in range(4)]
    for sender in senders:
        sender.start()
    try:
        wanted = random.randint(60, 120)
        wait_until(lambda: len(acknowledged) >= wanted, "instances stored")
        rig.kill()
        rig.start()
        wait_until(lambda: len(acknowledged) >= wanted + 20, "more of them after the kill")
    finally:
        stop.set()
        for sender in senders:
            sender.join(WITHIN_S)
    assert token and len(acknowledged) > 60
    known = set(rig.sql("SELECT sop_instance_uid FROM instances"))
    missing = [one.uid for one in acknowledged if one.uid not in known]
    if missing:  # what was answered and not indexed is so once the index has caught up
        wait_until(
            lambda: (
                not {one.uid for one in acknowledged} - set(rig.sql("SELECT sop_instance_uid FROM instances"))
            ),
            "everything that was answered",
        )
    objects = set(rig.sql("SELECT object_key FROM instances"))
    on_disk = {one.key for one in rig.objects()}
    assert objects <= on_disk


def ask(rig: Rig, method: str, path: str) -> tuple[int, dict[str, object]]:
    status, body = rig.ask(method, path, token=rig.token, within_s=WITHIN_S)
    return status, json.loads(body) if body else {}


@pytest.mark.parametrize(
    "wait_s", [0.05, *(pytest.param(wait_s, marks=pytest.mark.slow) for wait_s in (0.0, 0.02, 0.1, 0.3))]
)
def test_kill_while_deleted_objects_move_neither_loses_nor_resurrects_any(rig: Rig, wait_s: float) -> None:
    """Three studies: one stays deleted, one is brought back, one is erased; the kill comes while their objects move."""
    studies = [study_of("CT", "MR") for _ in range(3)]
    for study in studies:
        assert stow.store(rig, *study).status == 200
    gone, back, erased = (study[0].study for study in studies)
    numbers = {}
    for uid in (gone, back, erased):
        status, answer = ask(rig, "DELETE", f"/api/v1/studies/{uid}")
        assert status == 200
        numbers[uid] = answer["deletion"]
    rig.sql(f"UPDATE deletions SET undo_until = now() WHERE id = {numbers[erased]}")
    undo = threading.Thread(
        target=lambda: rig.ask(
            "POST", f"/api/v1/deletions/{numbers[back]}/undo", token=rig.token, within_s=WITHIN_S
        )
    )
    undo.start()
    undo.join(wait_s)  # to hit another moment each time
    rig.kill()
    undo.join(WITHIN_S)
    rig.start()
    asked = rig.sql(f"SELECT state IN ('undoing', 'undone') FROM deletions WHERE id = {numbers[back]}") == [
        "t"
    ]
    if not asked:
        wait_until(
            lambda: undone(rig, numbers[back]), "the second try, when every worker has its database again"
        )

    def states() -> list[str]:
        ids = ", ".join(str(numbers[uid]) for uid in (gone, back, erased))
        return rig.sql(
            f"SELECT state FROM deletions WHERE id IN ({ids}) AND (state <> 'deleted' OR aside) ORDER BY id"
        )

    wait_until(lambda: states() == ["deleted", "undone", "erased"], "all to be settled")
    wait_until(lambda: shown(rig, back) == 4, "the study that was brought back")
    assert (shown(rig, gone), shown(rig, erased)) == (0, 0)
    aside = len(list((rig.data / "quarantine" / "deleted").glob("*.dcm")))
    assert aside == int(rig.sql("SELECT count(*) FROM deleted_instances")[0])
    wait_until(lambda: undone(rig, numbers[gone]), "the other one back")
    assert shown(rig, gone) == 4


def undone(rig: Rig, number: object) -> bool:
    return ask(rig, "POST", f"/api/v1/deletions/{number}/undo")[0] == 200


def shown(rig: Rig, study: str) -> int:
    status, body = rig.ask("GET", f"/dicom-web/studies/{study}/instances", token=rig.token, within_s=WITHIN_S)
    assert status == 200
    return len(json.loads(body))


@pytest.mark.slow
def test_an_object_of_600_mb_is_stored_with_flat_memory(tmp_path_factory: pytest.TempPathFactory) -> None:
    pixel_bytes = 600_000_000
    instance = peers.make()
    header = b"\xe0\x7f\x10\0OW\0\0" + pixel_bytes.to_bytes(4, "little")
    piece = bytes(1_000_000)

    def body() -> Iterator[bytes]:
        yield stow.files(stow.part10(instance)).removesuffix(f"\r\n--{stow.BOUNDARY}--\r\n".encode()) + header
        for _ in range(pixel_bytes // len(piece)):
            yield piece
        yield f"\r\n--{stow.BOUNDARY}--\r\n".encode()

    with rig_with(tmp_path_factory.mktemp("large"), 8) as rig:
        (worker,) = rig.worker_pids()
        assert stow.store(rig, peers.make()).status == 200
        before = peak = resident_bytes(worker)
        replies: list[stow.Reply] = []
        sender = threading.Thread(target=lambda: replies.append(stow.post(rig, body())))
        sender.start()
        while sender.is_alive():
            peak = max(peak, resident_bytes(worker))
            time.sleep(0.01)
        assert replies[0].stored == [instance.uid]
        assert peak - before < 64 * MIB
        assert max(one.size_bytes for one in rig.objects()) > pixel_bytes
