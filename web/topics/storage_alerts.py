"""Alerts of where studies are kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from config.settings import Settings
from pacs_actors.archive.figures import Waiting
from pacs_actors.lifecycle.storage_figures import Outlook
from protocols.messages.live import Severity
from protocols.messages.status import STORE_SILENT_S, NodeStatus
from web.topics.findings import Finding

_SILENT_S: Final = 60
_LITTLE_ROOM: Final = 0.1


def of_stores(node: NodeStatus) -> Iterator[Finding]:
    """A node asks its stores from one worker."""
    for worker in node.workers:
        if worker.state != "accepting":
            continue  # what a worker said before it went is not asked any more
        for name, silent_s in worker.counters.items():
            if name.startswith(STORE_SILENT_S) and silent_s >= _SILENT_S:
                store = name.removeprefix(STORE_SILENT_S)
                detail = f"{store} is away or refuses us. Moves wait, and what is only there cannot be had until then."
                yield Finding(
                    f"store_silent.{store}", Severity.CRITICAL, f"The store {store} does not answer.", detail
                )


def of_moves(waiting: Waiting) -> Iterator[Finding]:
    if waiting.moves_failed:
        count = "1 study" if waiting.moves_failed == 1 else f"{waiting.moves_failed} studies"
        detail = "Every attempt has failed; they stay where they were. See the failed moves."
        yield Finding(
            "moves_failed", Severity.WARNING, f"{count} could not be moved on the last day.", detail
        )
    if waiting.clock_doubted_since is not None:
        since = f"{waiting.clock_doubted_since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        detail = f"Found {since}. Policies do nothing until somebody confirms that it is right."
        yield Finding("clock_doubted", Severity.WARNING, "The wall clock has jumped.", detail)


def of_room(outlook: Outlook, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Long before ``low_space``."""
    days = settings.storage.full_warning_days
    if days and outlook.full_on is not None and outlook.full_on <= (now + timedelta(days=days)).date():
        detail = f"At the pace of the last thirty days it has no room left on {outlook.full_on:%Y-%m-%d}."
        yield Finding("full_soon", Severity.WARNING, "The online store will be full soon.", detail)
    if outlook.free_bytes < _LITTLE_ROOM * outlook.total_bytes:
        detail = f"{outlook.free_bytes / 1e9:.1f} of {outlook.total_bytes / 1e9:.1f} GB are free."
        yield Finding("little_room", Severity.WARNING, "The online store has little room left.", detail)
