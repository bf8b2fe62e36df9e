"""Status reporter: puts this worker's status on the shared page, and reads all workers' for the web front end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from config.settings import Settings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.indexer import Indexer
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.database import Database
from pacs_actors.dicom.listener import Listener
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.node_page import ACCEPTING, DOWN, DRAINING, STARTING, NodePage
from pacs_actors.operations.step_times import StepTimes, told
from protocols.errors import Unavailable
from protocols.messages.status import ActorStatus, NodeStatus, StudySummary, WorkerStatus
from supervisors.supervisor import Child

_STATES = {DOWN: "down", STARTING: "starting", ACCEPTING: "accepting", DRAINING: "draining"}
_MOST_ASSOCIATIONS_SHOWN = 128
_STUDIES_SHOWN = 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_DECODE = msgspec.json.Decoder(WorkerStatus).decode


class StatusBoard:
    """root: the worker's tree, set once it is drawn.

    schema_stands: the database has our tables; set by the schema keeper
    more_counters: gives further counters of this worker; more_paths: further steps of storage
    """

    root: Child

    def __init__(
        self,
        settings: Settings,
        page: NodePage,
        store: LocalObjectStore,
        database: Database,
        catalogue: Catalogue,
        progress: IndexProgress,
        indexer: Indexer,
        listeners: Sequence[Listener],
        mailboxes: Sequence[Mailbox[Any]],
    ) -> None:
        self.settings, self.page, self.store, self.database, self.catalogue = (
            settings,
            page,
            store,
            database,
            catalogue,
        )
        self.progress, self.indexer, self.listeners, self.mailboxes = progress, indexer, listeners, mailboxes
        self.began = trio.current_time()
        self.indexing = self.schema_stands = False
        self.more_counters: Callable[[], dict[str, int]] = dict
        self.more_paths: Callable[[], dict[str, StepTimes]] = dict
        self._lag_ms = 0.0
        self._memory = _Memory()
        self._last_seen: dict[int, bytes] = {}

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        self.page.publish(self._own())
        task_status.started()
        while True:
            wanted = trio.current_time() + self.settings.web.live_interval_s
            await trio.sleep_until(wanted)
            self._lag_ms = round((trio.current_time() - wanted) * 1e3, 1)
            self.indexing = self._indexes()
            self.page.publish(self._own())

    # -- what the web asks ----------------------------------------------------------------------------------------------------
    def node(self) -> NodeStatus:
        workers = []
        for slot in range(self.page.workers):
            data = self.page.snapshot(slot) or self._last_seen.get(slot)  # none while it is being written
            if data is not None:
                self._last_seen[slot] = data
                workers.append(
                    msgspec.structs.replace(_DECODE(data), state=_STATES.get(self.page.state(slot), "down"))
                )
        dicom = self.settings.dicom
        return NodeStatus(time.time(), dicom.ae_title, f"{dicom.host}:{dicom.port}", tuple(workers), ())

    def ready(self) -> tuple[bool, str]:
        """Whether images are accepted on this node and PostgreSQL answers, so that they can be found; and why not,
        or what is missing although they can.
        """
        why_not = self._why_not()
        if not why_not and not self._indexes():
            why_not = "the database does not answer; images are accepted up to the backlog"
        if why_not:
            return False, why_not
        # Ready all the same: what can be read is found, and taking the node away brings nothing back.
        return True, "; ".join(worker.recovery for worker in self.node().workers if worker.recovery)

    async def last_studies(self) -> tuple[StudySummary, ...]:
        if not self.schema_stands:
            raise Unavailable("the database has no tables yet")
        studies = await self.catalogue.recent_studies(_STUDIES_SHOWN)
        return tuple(
            StudySummary(
                study.study_instance_uid,
                study.study_date,
                study.modalities,
                study.number_of_series,
                study.number_of_instances,
                study.received_at.isoformat(timespec="seconds"),
                study.source,
            )
            for study in studies
        )

    # -- what the page gets ---------------------------------------------------------------------------------------------------
    def _why_not(self) -> str:
        state = self.page.state(self.page.slot or 0)
        if state != ACCEPTING:
            return _STATES[state]
        health = self.store.health
        if not health.healthy:
            return f"read-only: {health.failure}"
        if not health.has_room:
            return "no space left for images"
        if self.progress.backlog >= self.settings.storage.backlog:
            return "the index is too far behind"
        return ""

    def _recovery(self) -> str:
        progress = self.progress
        if progress.unrecovered:
            return (
                f"recovery is incomplete: {progress.unrecovered} objects cannot be read; they are tried again"
            )
        return "" if progress.unrecovered_from is None else "recovery is under way"

    def _indexes(self) -> bool:
        return self.schema_stands and self.database.down_because is None

    def _own(self) -> WorkerStatus:
        health = self.store.health
        why_not = self._why_not()
        associations = [
            association.status() for listener in self.listeners for association in listener.associations
        ]
        slot = self.page.slot or 0
        return WorkerStatus(
            slot=slot,
            pid=os.getpid(),
            state=_STATES.get(self.page.state(slot), "down"),
            uptime_s=round(trio.current_time() - self.began, 1),
            accepting=not why_not,
            why_not=why_not,
            indexing=self._indexes(),
            memory_bytes=self._memory.resident_bytes(),
            stored_instances=self.progress.stored_instances,
            stored_bytes=self.progress.stored_bytes,
            indexed_instances=self.indexer.instances,
            duplicates=self.indexer.duplicates,
            conflicts=self.indexer.conflicts,
            backlog=self.progress.backlog,
            free_bytes=health.free_bytes,
            loop_lag_ms=self._lag_ms,
            counters={
                "connections": sum(listener.accepted for listener in self.listeners),
                "turned_away": sum(listener.turned_away for listener in self.listeners),
                "index_batches": self.indexer.batches,
                "objects_healed": self.indexer.healed,
                "buffers_free": health.buffers.free,
                "native_threads_busy": health.threads.busy,
                "database_connects": self.database.connects,
                **self.more_counters(),
            },
            associations=tuple(associations[:_MOST_ASSOCIATIONS_SHOWN]),
            actors=tuple(
                ActorStatus(
                    depth, vitals.name, vitals.state, vitals.restarts, vitals.crashes, vitals.last_crash
                )
                for depth, vitals in self.root.walk()
            ),
            mailboxes=tuple(mailbox.statistics() for mailbox in self.mailboxes),
            recovery=self._recovery(),
            paths=told(self._paths(), time.monotonic()),
        )

    def _paths(self) -> dict[str, StepTimes]:
        own = {"commit": self.store.commits, "open": self.store.opens, "index batch": self.indexer.took}
        return own | self.more_paths()


class _Memory:
    """What this process holds. Its file stays open: at the end of file descriptors the status is still told."""

    def __init__(self) -> None:
        self._file = Path("/proc/self/statm").open("rb", buffering=0)  # noqa: SIM115

    def resident_bytes(self) -> int:
        """Without what is shared."""
        self._file.seek(0)
        fields = self._file.read().split()
        return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
