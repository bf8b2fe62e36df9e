"""The integrity's part of a worker's tree: scrubber and reconciler. Each worker has them; leases in the database let one work."""

from __future__ import annotations

from config.settings import Settings
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.database import Database
from pacs_actors.lifecycle.integrity_damage import Healer
from pacs_actors.lifecycle.integrity_reconciler import Reconciler
from pacs_actors.lifecycle.scrubber import Scrubber
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.node_page import NodePage
from protocols.messages.archive import IndexMessage
from supervisors.supervisor import Child


class IntegrityBranch:
    """healer: who has other copies of objects; None: nobody"""

    def __init__(
        self,
        settings: Settings,
        page: NodePage,
        store: LocalObjectStore,
        database: Database,
        progress: IndexProgress,
        index: Mailbox[IndexMessage],
        *,
        custom: dict[int, str],
        healer: Healer | None = None,
    ) -> None:
        self.scrubber = Scrubber(settings.integrity, store, database, page)
        self.reconciler = Reconciler(store, database, progress, index, custom=custom)
        self.scrubber.healer = self.reconciler.healer = healer

    def children(self) -> list[Child]:
        return [Child("scrubber", self.scrubber.run), Child("reconciler", self.reconciler.run)]

    def counters(self) -> dict[str, int]:
        """For the status."""
        return {**self.scrubber.counters(), "reconcile_running": int(self.reconciler.working)}

    def use(self, settings: Settings) -> None:
        """Those in force have changed."""
        self.scrubber.use(settings.integrity)
