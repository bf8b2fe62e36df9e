"""The send job: many files over several associations, whatever the peer does meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pynetdicom import evt

from pacs_actors.dicom import client_send_job
from pacs_actors.dicom.client import Peer, PeerGone, Proposal, associate
from pacs_actors.dicom.client_send_job import Fate, Outcome, SendJob
from pacs_actors.threads import NativePool
from protocols.dimse.commands import Command, CommandField, decode_command, encode_command, respond
from protocols.ul.model import AssociateReject
from protocols.ul.pdata import encode_message, pdvs
from protocols.ul.pdu import PduType, ReleaseReply
from tests.pacs_actors.dicom.client_peers import Script, pynetdicom_peer, scripted_peer
from tests.system.server import free_port

CT = Path(get_testdata_file("CT_small.dcm"))


@pytest.fixture
async def pool() -> AsyncIterator[NativePool]:
    async with NativePool(2, "files") as pool:
        yield pool


def instances(folder: Path, count: int, sop_class: str = "1.2.840.10008.5.1.4.1.1.2") -> list[str]:
    """Small files with UIDs of their own; the UIDs. ``{}`` in the SOP class is the file's number, three digits."""
    dataset = dcmread(CT)
    dataset.PixelData = bytes(64)
    dataset.Rows = dataset.Columns = 8
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.999999"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class.format("999")
    buffer = DicomBytesIO()
    dataset.save_as(buffer)
    uids = []
    for number in range(count):
        uids.append(f"1.2.3.{100_000 + number}")
        data = buffer.getvalue().replace(b"1.2.3.999999", uids[-1].encode())
        data = data.replace(sop_class.format("999").encode(), sop_class.format(100 + number).encode())
        sub = folder / f"{number % 7}"
        sub.mkdir(exist_ok=True)
        (sub / f"{number}.dcm").write_bytes(data)
    return uids


class Run:
    """One job and its outcomes."""

    def __init__(self, port: int, pool: NativePool, jobs: int = 1) -> None:
        self.port = port
        self.opened = 0
        self.outcomes: list[Outcome] = []
        self.job = SendJob(self.connect, pool, jobs=jobs, report=self.outcomes.append)

    def connect(self, contexts: Sequence[Proposal]) -> AbstractAsyncContextManager[Peer]:
        self.opened += 1
        return associate("127.0.0.1", self.port, called="PEER", calling="TEST", contexts=contexts)

    @property
    def fates(self) -> Counter[Fate]:
        return Counter(outcome.fate for outcome in self.outcomes)


@pytest.mark.parametrize("jobs", [1, 3])
async def test_every_file_is_sent_once(jobs: int, tmp_path: Path, pool: NativePool) -> None:
    uids = instances(tmp_path, 100)
    (tmp_path / "notes.txt").write_text("no DICOM")
    received: list[str] = []

    def take(event: Any) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        return 0

    with pynetdicom_peer([(evt.EVT_C_STORE, take)]) as port:
        run = Run(port, pool, jobs)
        await run.job.run([tmp_path])
    assert sorted(received) == sorted(uids)
    assert run.fates == {Fate.STORED: 100, Fate.SKIPPED: 1}
    assert run.job.found == 100
    assert run.job.scanned
    assert run.opened == jobs


async def test_more_kinds_than_an_association_has_room_for(tmp_path: Path, pool: NativePool) -> None:
    # 150 private SOP classes: none is taken, and each gets its answer by negotiation.
    instances(tmp_path, 150, "1.2.826.0.1.3680043.9.9999.{}")
    sent = tmp_path / "7"
    sent.mkdir()
    (sent / "ct.dcm").write_bytes(CT.read_bytes())
    with pynetdicom_peer([(evt.EVT_C_STORE, lambda event: 0)]) as port:
        run = Run(port, pool)
        await run.job.run([tmp_path])
    assert run.fates == {Fate.STORED: 1, Fate.FAILED: 150}
    assert run.opened >= 2
    assert all("does not take" in outcome.words for outcome in run.outcomes if outcome.fate is Fate.FAILED)


async def test_statuses_become_fates(tmp_path: Path, pool: NativePool) -> None:
    instances(tmp_path, 4)
    statuses = iter([0x0000, 0x0111, 0xB007, 0xA700])
    with pynetdicom_peer([(evt.EVT_C_STORE, lambda event: next(statuses))]) as port:
        run = Run(port, pool)
        await run.job.run([tmp_path])
    assert run.fates == {Fate.STORED: 1, Fate.WARNING: 2, Fate.FAILED: 1}


async def test_nobody_there_raises_before_anything_is_sent(tmp_path: Path, pool: NativePool) -> None:
    instances(tmp_path, 300)
    run = Run(free_port(), pool, jobs=3)
    with pytest.raises(PeerGone):
        await run.job.run([tmp_path])


async def test_nothing_to_send_opens_nothing(tmp_path: Path, pool: NativePool) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    run = Run(free_port(), pool)
    await run.job.run([tmp_path, tmp_path / "missing"])
    assert run.opened == 0
    assert run.fates == {Fate.SKIPPED: 1, Fate.FAILED: 1}


async def answer_store(script: Script) -> Command | None:
    """Receive a C-STORE-RQ with its data set; None at the end of the association."""
    kind, body = await script.receive()
    if kind == PduType.RELEASE_REQUEST:
        await script.send(ReleaseReply())
    if kind != PduType.DATA:
        return None
    command = decode_command(pdvs(body)[0].data)
    while pdvs(body)[-1].is_command or not pdvs(body)[-1].is_last:
        _, body = await script.receive()
    return command


async def test_an_instance_under_way_is_sent_again_once(tmp_path: Path, pool: NativePool) -> None:
    instances(tmp_path, 20)
    seen: Counter[str] = Counter()
    unlucky, fatal = "1.2.3.100003", "1.2.3.100005"

    async def play(script: Script) -> None:
        await script.accept()
        while (command := await answer_store(script)) is not None:
            uid = command.affected_sop_instance_uid or ""
            seen[uid] += 1
            if uid == fatal or (uid == unlucky and seen[uid] == 1):
                return  # close the connection
            response = encode_command(respond(command, 0))
            await script.send(encode_message(1, response, command=True, max_pdu_bytes=16384))

    async with scripted_peer(play) as port:
        run = Run(port, pool)
        await run.job.run([tmp_path])
    assert run.fates == {Fate.STORED: 19, Fate.FAILED: 1}
    (failed,) = (outcome for outcome in run.outcomes if outcome.fate is Fate.FAILED)
    assert failed.sop_instance_uid == fatal
    assert "twice" in failed.words
    assert seen == {**{f"1.2.3.{100_000 + n}": 1 for n in range(20)}, unlucky: 2, fatal: 2}
    assert run.opened == 4


async def test_a_peer_that_takes_one_association_only_gets_everything_on_it(
    tmp_path: Path, pool: NativePool
) -> None:
    instances(tmp_path, 60)
    accepted = 0

    async def play(script: Script) -> None:
        nonlocal accepted
        if accepted:
            await script.receive()
            await script.send(AssociateReject(2, 3, 2))
            return
        accepted += 1
        await script.accept()
        while (command := await answer_store(script)) is not None:
            assert command.command_field == CommandField.C_STORE_RQ
            response = encode_command(respond(command, 0))
            await script.send(encode_message(1, response, command=True, max_pdu_bytes=16384))

    async with scripted_peer(play) as port:
        run = Run(port, pool, jobs=4)
        await run.job.run([tmp_path])
    assert run.fates == {Fate.STORED: 60}
    assert (accepted, run.opened) == (1, 4)


async def test_a_peer_that_goes_for_good_leaves_the_rest_as_failed(
    tmp_path: Path, pool: NativePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_send_job, "_RECONNECT_AFTER_S", (0.01, 0.02, 0.04))
    instances(tmp_path, 400)
    served = 0

    async def play(script: Script) -> None:
        nonlocal served
        if served:
            return
        await script.accept()
        while (command := await answer_store(script)) is not None:
            if served == 10:
                return
            served += 1
            response = encode_command(respond(command, 0))
            await script.send(encode_message(1, response, command=True, max_pdu_bytes=16384))

    async with scripted_peer(play) as port:
        run = Run(port, pool)
        with trio.fail_after(30):
            await run.job.run([tmp_path])
    assert run.fates[Fate.STORED] == 10
    assert run.job.gave_up is not None
    assert run.fates[Fate.FAILED] >= 128
    assert len({outcome.path for outcome in run.outcomes}) == len(run.outcomes)
