"""Ingest writer: makes received objects durable, then hands them to the indexer.

Receives StoreObject; sends IndexInstance. Several writers serve one mailbox, each with many objects under way: the store's
threads make durable together what waits, and what ends is handed on and answered at once, without a task for each that would
have to be woken. The answer to StoreObject means: the object and its directory entry survive a power cut, and a query asked from
now on will see it.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import outcome
import trio

from pacs_actors.archive.objects.interface import Committed, ObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Answer, Mailbox
from protocols.dataset.record import IndexEntry, ScannedInstance
from protocols.dataset.scan import scan
from protocols.errors import DataSetMismatch, OutOfResources
from protocols.messages.archive import IndexInstance, IndexMessage, IngestMessage, Stored, StoreObject

PATIENT_ID: Final = 0x00100020
MOST_UNDER_WAY: Final = 64


class IngestWriter:
    """backlog: instances that may wait for the index; beyond it StoreObject is refused with A700H."""

    def __init__(
        self,
        store: ObjectStore,
        progress: IndexProgress,
        mailbox: Mailbox[IngestMessage],
        index: Mailbox[IndexMessage],
        *,
        backlog: int,
        custom: dict[int, str],
    ) -> None:
        self.store, self.progress, self.mailbox, self.index = store, progress, mailbox, index
        self.backlog, self.custom = backlog, custom

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self.mailbox.serve_many(self.begin, MOST_UNDER_WAY)

    def begin(self, order: StoreObject, answer: Answer) -> None:
        if self.progress.backlog >= self.backlog:
            raise OutOfResources("the index is too far behind")
        floor = self.progress.begin_writing()
        try:
            check = partial(check_instance, order, self.custom)
            self.store.start_commit(order.staged, check, partial(self._end, order, answer, floor))
        except BaseException:
            self.progress.end_writing(floor)
            raise

    def _end(
        self,
        order: StoreObject,
        answer: Answer,
        floor: int,
        committed: outcome.Outcome[Committed[ScannedInstance]],
    ) -> None:
        """Whatever goes wrong here is the outcome, too: who calls us is the store."""
        try:
            answer(outcome.capture(self._hand_on, order, committed))
        finally:
            self.progress.end_writing(floor)

    def _hand_on(self, order: StoreObject, committed: outcome.Outcome[Committed[ScannedInstance]]) -> Stored:
        stored, scanned = committed.unwrap()
        self.progress.stored(stored.key, stored.size_bytes)
        self.progress.page.count_answered()
        # Without waiting: what is durable must be handed on. The mailbox is larger than the backlog.
        self.index.tell_nowait(IndexInstance(IndexEntry(scanned, stored), order.address))
        return Stored(
            scanned.sop_instance_uid,
            scanned.study_instance_uid,
            scanned.values.get(PATIENT_ID, ""),
            stored.digest,
            scanned.series_instance_uid,
        )


def check_instance(
    order: StoreObject, custom: dict[int, str], head: memoryview, complete: bool
) -> ScannedInstance:
    """Scan the data set's head and hold it against the command set (PS3.4 B.2.3: A900H if they disagree).

    Runs in a native thread.
    """
    scanned = scan(head, order.transfer_syntax_uid, custom=custom, complete=complete)
    if scanned.sop_instance_uid != order.sop_instance_uid:
        raise DataSetMismatch("the data set has another SOP Instance UID than the command")
    if scanned.sop_class_uid != order.sop_class_uid:
        raise DataSetMismatch("the data set has another SOP Class UID than the command")
    if order.study_instance_uid not in ("", scanned.study_instance_uid):
        raise DataSetMismatch("the instance is not of the study that it was sent to")
    return scanned
