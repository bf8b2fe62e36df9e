"""Ingest writer: makes received objects durable, then hands them to the indexer.

Receives StoreObject; sends IndexInstance. Several writers serve one mailbox. The answer to StoreObject means: the object and
its directory entry survive a power cut, and a query asked from now on will see it.
"""

from __future__ import annotations

from functools import partial

import trio

from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Mailbox
from protocols.dataset.record import IndexEntry, ScannedInstance
from protocols.dataset.scan import scan
from protocols.errors import DataSetMismatch, OutOfResources
from protocols.messages.archive import IndexInstance, IndexMessage, IngestMessage, Stored, StoreObject

PATIENT_ID = 0x00100020


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
        await self.mailbox.serve(self.handle)

    async def handle(self, order: StoreObject) -> Stored:
        if self.progress.backlog >= self.backlog:
            raise OutOfResources("the index is too far behind")
        with self.progress.writing():
            check = partial(check_instance, order, self.custom)
            stored, scanned = await self.store.commit(order.staged, check)
            self.progress.stored(stored.key, stored.size_bytes)
            self.progress.page.count_answered()
            # Without waiting: a cancelled caller must still hand on what is durable. The mailbox is larger than the backlog.
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
