"""``alerts``: what somebody has to look at. Rules of the node's status, and who applies them whether anybody listens or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import trio

from config.settings import Settings
from pacs_actors.archive.figures import Figures, Waiting
from pacs_actors.archive.scope import StudyScope
from pacs_actors.lifecycle.storage_figures import Outlook
from pacs_actors.operations import logs
from pacs_actors.people.rights import Action
from protocols.errors import Unavailable
from protocols.messages.live import Alert, AlertsState, Severity, Topic
from protocols.messages.status import ActorStatus, NodeStatus, WorkerStatus
from web.changes import State
from web.context import WebContext
from web.topics.findings import Finding
from web.topics.storage_alerts import of_moves, of_room, of_stores

_EVERY_S: Final = 1.0
_ASKED_EVERY_S: Final = 5.0
_WITHIN_S: Final = 2.0
_OUTLOOK_WITHIN_S: Final = 15.0  # it is asked every ten minutes, and adds up a month of studies
_RESTARTED_FOR_S: Final = 600.0
_STARTED_TOGETHER_S: Final = 30.0
_STARTING_S: Final = 20.0  # PostgreSQL starts beside the workers
_DAMAGED_FOR: Final = timedelta(days=30)
_UNSENT_ROWS: Final = 10_000
_READ_ONLY: Final = "read-only"
_LATE: Final = 2  # times as long as there should be between two backups
_GRACE: Final = timedelta(hours=1)


def findings(
    node: NodeStatus,
    waiting: Waiting | None,
    settings: Settings,
    now: datetime,
    outlook: Outlook | None = None,
) -> Iterator[Finding]:
    """Every rule that is met. Pure. waiting, outlook: what the database said last; None: nothing yet"""
    oldest_s = max((worker.uptime_s for worker in node.workers), default=0.0)
    for worker in node.workers:
        yield from _of_worker(worker, settings, oldest_s)
    yield from _of_disk(node, settings)
    yield from _of_audit(node, settings)
    yield from of_stores(node)
    if outlook is not None:
        yield from of_room(outlook, settings, now)
    if waiting is None:
        return
    yield from of_moves(waiting)
    if waiting.quarantined:
        count = f"{waiting.quarantined} object{'' if waiting.quarantined == 1 else 's'}"
        detail = "Another object has the same SOP Instance UID, or it is damaged: see the quarantine."
        yield Finding("quarantine", Severity.WARNING, f"{count} went to quarantine within a day.", detail)
    if waiting.damaged_objects:
        count = f"{waiting.damaged_objects} object{' is' if waiting.damaged_objects == 1 else 's are'}"
        detail = "Corrupt, lost or unreadable, and not healed: see the findings of the integrity checks."
        yield Finding("damaged_objects", Severity.CRITICAL, f"{count} damaged.", detail)
    damaged = waiting.audit_damaged_at
    if damaged is not None and now - damaged < _DAMAGED_FOR:
        detail = f"Found {damaged.astimezone(UTC):%Y-%m-%d %H:%M} UTC: run pacs-actors audit verify."
        yield Finding("audit_damaged", Severity.CRITICAL, "The audit was changed.", detail)
    for number in sorted(set(waiting.nodes_down) - {settings.server.node}):
        detail = "Its objects are served as far as stores have copies; what only it has waits for it."
        yield Finding(
            f"node_down.{number}", Severity.CRITICAL, f"Node {number} of the archive is not there.", detail
        )
    yield from _of_backups(waiting, settings, now)


def _of_backups(waiting: Waiting, settings: Settings, now: datetime) -> Iterator[Finding]:
    if waiting.backup_problem:
        what = "The last backup failed or is incomplete."
        yield Finding("backup", Severity.CRITICAL, what, f"{waiting.backup_problem}.")
    backup, last = settings.backup, waiting.backed_up_at
    if backup.to is None or last is None:
        return
    if now - last > _LATE * timedelta(hours=backup.incremental_every_h) + _GRACE:
        since = f"The last one was made {last.astimezone(UTC):%Y-%m-%d %H:%M} UTC."
        yield Finding("backup_late", Severity.WARNING, "There has been no backup for too long.", since)


def _of_worker(worker: WorkerStatus, settings: Settings, oldest_s: float) -> Iterator[Finding]:
    slot, name = worker.slot, f"Worker {worker.slot}"
    if worker.state in ("down", "draining"):
        yield Finding(f"worker_down.{slot}", Severity.CRITICAL, f"{name} is {worker.state}.", "", slot)
        return
    if worker.why_not.startswith(_READ_ONLY):
        detail = f"{worker.why_not}. Repair the disk, then restart."
        yield Finding(
            f"read_only.{slot}", Severity.CRITICAL, f"{name} cannot write and takes no images.", detail, slot
        )
    if not worker.indexing and worker.state == "accepting" and worker.uptime_s > _STARTING_S:
        detail = "Images are kept on disk and indexed later; queries fail until then."
        yield Finding(
            f"database.{slot}", Severity.CRITICAL, f"{name} cannot reach the database.", detail, slot
        )
    limit = settings.storage.backlog
    if worker.backlog * 2 >= limit:
        full = worker.backlog >= limit
        severity = Severity.CRITICAL if full else Severity.WARNING
        detail = f"{worker.backlog} of {limit} instances wait for the index; then images are refused."
        yield Finding(f"index_lag.{slot}", severity, f"The index is behind on worker {slot}.", detail, slot)
    behind_s = worker.counters.get("replication_oldest_s", 0)
    if behind_s > settings.lifecycle.replication_alert_s:
        count = worker.counters.get("replication_waiting", 0)
        detail = f"{count} instances wait for a copy in a store that gets everything, one since {behind_s // 60} minutes."
        yield Finding(
            f"replication.{slot}", Severity.WARNING, f"Worker {slot} replicates too slowly.", detail, slot
        )
    if worker.recovery:
        what = f"{name}: {worker.recovery}."
        yield Finding(f"recovery.{slot}", Severity.WARNING, what, "Everything else can be found.", slot)
    if oldest_s - worker.uptime_s > _STARTED_TOGETHER_S and worker.uptime_s < _RESTARTED_FOR_S:
        yield Finding(
            f"worker_restarted.{slot}",
            Severity.WARNING,
            f"{name} was restarted.",
            "Look at the server's log.",
            slot,
        )
    for actor in worker.actors:
        yield from _of_actor(actor, worker)


def _of_actor(actor: ActorStatus, worker: WorkerStatus) -> Iterator[Finding]:
    if actor.state == "crashed" or (actor.state == "down" and actor.crashes):
        key = f"actor.{worker.slot}.{actor.name.replace(' ', '_')}"
        detail = (
            f"{actor.crashes} crashes, {actor.restarts} restarts; the last: {actor.last_crash or 'unknown'}."
        )
        yield Finding(key, Severity.CRITICAL, f"{actor.name} is {actor.state}.", detail, worker.slot)


def _of_disk(node: NodeStatus, settings: Settings) -> Iterator[Finding]:
    """Workers share a disk."""
    known = [worker.free_bytes for worker in node.workers if worker.state == "accepting"]
    free, reserve = min(known, default=None), settings.storage.reserve_bytes
    if free is None or free >= 2 * reserve:
        return
    detail = f"{free / 1e9:.1f} GB are free, {reserve / 1e9:.1f} GB of them are kept in reserve."
    if free <= reserve:
        yield Finding("low_space", Severity.CRITICAL, "The disk is full: images are refused.", detail)
    else:
        yield Finding("low_space", Severity.WARNING, "The disk is nearly full.", detail)


def _of_audit(node: NodeStatus, settings: Settings) -> Iterator[Finding]:
    for worker in node.workers:
        for box in worker.mailboxes:
            if box.name == "audit" and box.depth * 2 >= box.capacity:
                detail = f"{box.depth} of {box.capacity} events wait for the database."
                yield Finding(
                    f"audit_spool.{worker.slot}",
                    Severity.CRITICAL,
                    "The audit is not written.",
                    detail,
                    worker.slot,
                )
        counters = worker.counters
        if settings.audit.syslog_host and not counters.get("audit_syslog_connected", 1):
            detail = f"{counters.get('audit_syslog_lag', 0)} rows wait for {settings.audit.syslog_host}."
            yield Finding("syslog", Severity.WARNING, "The audit's syslog receiver does not answer.", detail)
        elif counters.get("audit_syslog_lag", 0) >= _UNSENT_ROWS:
            detail = f"{counters['audit_syslog_lag']} rows are not sent yet."
            yield Finding("syslog", Severity.WARNING, "The audit's syslog receiver is behind.", detail)


class AlertWatch:
    """Alert watch: applies the rules to the node every second, keeps when each was met first, and logs the news.

    Receives and sends nothing; one in each worker, because any may be the one that is left. The first logs.
    alerts: those that are raised now, by name
    """

    def __init__(self, context: WebContext, figures: Figures) -> None:
        self._context, self._figures = context, figures
        self._waiting: Waiting | None = None
        self._outlook: Outlook | None = None
        self.alerts: dict[str, Alert] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask)
            while True:
                self.look(datetime.now(UTC))
                await trio.sleep(_EVERY_S)

    def look(self, now: datetime) -> None:
        """Apply the rules once."""
        archive = self._context.archive
        found = {
            one.name: one
            for one in findings(
                self._context.status.node(), self._waiting, archive.settings, now, self._outlook
            )
        }
        since = now.isoformat(timespec="seconds").replace("+00:00", "Z")
        before, loud = self.alerts, archive.page.slot == 0
        self.alerts = {
            name: Alert(
                one.severity,
                one.what,
                one.detail,
                before[name].since if name in before else since,
                one.worker,
            )
            for name, one in found.items()
        }
        for name in self.alerts.keys() - before.keys():
            if loud:
                logs.warning(
                    "alert_raised", alert=name, severity=found[name].severity.value, what=found[name].what
                )
        for name in before.keys() - self.alerts.keys():
            if loud:
                logs.event("alert_cleared", alert=name, since=before[name].since)

    async def _ask(self) -> None:
        """That the database is away is an alert of its own."""
        while True:
            with trio.move_on_after(_WITHIN_S), suppress(Unavailable):
                self._waiting = await self._figures.waiting()
            if self._waiting is not None:  # else there may be no tables yet
                with trio.move_on_after(_OUTLOOK_WITHIN_S), suppress(Unavailable):
                    self._outlook = await self._context.archive.lifecycle.figures.outlook()
            await trio.sleep(_ASKED_EVERY_S)


class AlertsTopic:
    name: Final = Topic.ALERTS
    action: Final = Action.SYSTEM_READ
    scoped: Final = False
    every_s: Final = 0.0

    def __init__(self, watch: AlertWatch) -> None:
        self._watch = watch

    async def look(self, _: StudyScope) -> State:
        state: State = msgspec.to_builtins(AlertsState(self._watch.alerts))
        return state
