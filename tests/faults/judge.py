"""What a server has kept, held against what its senders know: the promise P0, as an assertion.

Everything acknowledged comes back by C-GET with equal bytes; what was not acknowledged is absent or complete; index, object
files and counts agree; nothing temporary is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import trio

from pacs_actors.dicom.client import (
    Answers,
    Arriving,
    Peer,
    Timeouts,
    associate,
    for_find,
    for_get,
)
from tests.faults.images import CT_IMAGE
from tests.faults.load import CALLING, Ledger
from tests.faults.rig import Rig


class Broken(AssertionError):
    """The promise does not hold."""


class HashingReceiver:
    """Takes the objects of a C-GET and keeps a SHA-256 of each data set, by SOP Instance UID."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.view = memoryview(bytearray(1 << 20))
        self.position = 0

    async def receive(self, arriving: Arriving) -> None:
        self._hash, self.position = sha256(), 0
        await arriving.take(self)
        await self.spill()
        self.digests[arriving.sop_instance_uid] = self._hash.hexdigest()

    async def spill(self) -> None:
        self._hash.update(self.view[: self.position])
        self.position = 0

    async def park(self) -> None:
        """The buffer is our own."""

    async def resume(self) -> None:
        """As ``park``."""


def judge(server: Rig, ledger: Ledger) -> Counter[str]:
    """How many images were acknowledged, found, and found without having been acknowledged.

    raises: Broken
    """
    found = retrieve(server, ledger.studies)
    lost = ledger.acknowledged.keys() - found.keys()
    strangers = found.keys() - ledger.sent.keys()
    torn = [uid for uid, digest in found.items() if uid in ledger.sent and ledger.sent[uid].digest != digest]
    _hold(not lost, f"{len(lost)} of {len(ledger.acknowledged)} acknowledged images are lost: {_some(lost)}")
    _hold(not torn, f"{len(torn)} images came back with other bytes: {_some(torn)}")
    _hold(not strangers, f"images that nobody sent: {_some(strangers)}")
    _judge_counts(server, ledger, found)
    _judge_files(server)
    return Counter(
        acknowledged=len(ledger.acknowledged),
        found=len(found),
        unasked=len(found.keys() - ledger.acknowledged.keys()),
    )


def _judge_counts(server: Rig, ledger: Ledger, found: dict[str, str]) -> None:
    """The counts that C-FIND gives, and the rows, are those of what there is."""
    there: Counter[str] = Counter(ledger.sent[uid].study_uid for uid in found)
    told = {
        study: int(answers[0]["NumberOfStudyRelatedInstances"]) if answers else 0
        for study, answers in find_studies(server, ledger.studies).items()
    }
    wrong = {study: (told[study], there[study]) for study in ledger.studies if told[study] != there[study]}
    _hold(not wrong, f"counts of studies (told, there): {wrong}")
    rows = [
        line.split("|") for line in server.sql("SELECT sop_instance_uid, count(*) FROM instances GROUP BY 1")
    ]
    twice = [uid for uid, count in rows if count != "1"]
    _hold(not twice, f"indexed more than once: {_some(twice)}")


def _judge_files(server: Rig) -> None:
    """A row for each file, a file for each row, each whole; nothing temporary."""
    stored = server.objects()
    files = {one.key for one in stored}
    keys = set(server.sql("SELECT object_key FROM instances"))
    _hold(keys <= files, f"rows without an object: {_some(keys - files)}")
    _hold(files <= keys, f"objects without a row: {_some(files - keys)}")
    damaged = [one.key for one in stored if not one.is_whole]
    _hold(not damaged, f"damaged objects: {_some(damaged)}")
    _hold(not server.half_received(), f"temporary files: {_some(map(str, server.half_received()))}")


def retrieve(server: Rig, studies: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the data set of every instance that C-GET gives, by SOP Instance UID. raises: Broken"""

    async def run() -> dict[str, str]:
        receiver = HashingReceiver()
        async with client(server, for_get(storage_classes=[CT_IMAGE])) as peer:
            for study in sorted(studies):
                result = await peer.get({"StudyInstanceUID": study}, into=receiver)
                _hold(result.status == 0, f"C-GET of a study: {result.words}, {result.counts}")
        return receiver.digests

    return trio.run(run)


def find_studies(server: Rig, studies: Iterable[str]) -> dict[str, list[Any]]:
    """What C-FIND answers for each study."""

    async def run() -> dict[str, list[Any]]:
        async with client(server, for_find()) as peer:
            return {study: [one async for one in _answers(peer, study)] for study in studies}

    return trio.run(run)


def _answers(peer: Peer, study: str) -> Answers:
    return peer.find({"StudyInstanceUID": study, "NumberOfStudyRelatedInstances": ""})


def client(server: Rig, contexts: Iterable[Any], *, timeouts: Timeouts | None = None) -> Any:
    """An association with the server, as an async context manager."""
    return associate(
        "127.0.0.1",
        server.dicom_port,
        called=server.aet,
        calling=CALLING,
        contexts=contexts,
        timeouts=timeouts or Timeouts(),
    )


def _hold(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


def _some(things: Iterable[str]) -> str:
    listed = sorted(things)
    return f"{', '.join(listed[:5])}{' …' if len(listed) > 5 else ''}"
