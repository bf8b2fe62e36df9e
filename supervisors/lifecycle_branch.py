"""The lifecycle's part of a worker's tree: tier stores, recaller, index messenger, tier movers, replicator, and in the first worker
scheduler, node keeper, store watch, copy scrubber and prefetcher."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

from config.settings import Settings
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.index_messenger import IndexMessenger
from pacs_actors.archive.metadata_files import FOLDER, MetadataFiles
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.database import Database
from pacs_actors.lifecycle.carrier import Carrier
from pacs_actors.lifecycle.copies import Copies
from pacs_actors.lifecycle.copy_checks import CopyChecks
from pacs_actors.lifecycle.copy_scrubber import CopyScrubber
from pacs_actors.lifecycle.desk import LifecycleDesk
from pacs_actors.lifecycle.integrity_book import IntegrityBook
from pacs_actors.lifecycle.lifecycle_scheduler import LifecycleScheduler
from pacs_actors.lifecycle.moves import Moves
from pacs_actors.lifecycle.node_cache import NodeCache
from pacs_actors.lifecycle.node_keeper import NodeKeeper
from pacs_actors.lifecycle.policies import Tier
from pacs_actors.lifecycle.policy_book import PolicyBook
from pacs_actors.lifecycle.prefetcher import Prefetcher
from pacs_actors.lifecycle.recaller import Recaller
from pacs_actors.lifecycle.recoding import Recoder
from pacs_actors.lifecycle.replicator import Replicator
from pacs_actors.lifecycle.replicator_book import ReplicatorBook
from pacs_actors.lifecycle.storage_figures import StorageFigures
from pacs_actors.lifecycle.store_watch import StoreWatch
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.lifecycle.stores.opening import make_store
from pacs_actors.lifecycle.stores.timed import TimedStore
from pacs_actors.lifecycle.tier_mover import TierMover
from pacs_actors.nodes import Nodes
from pacs_actors.operations.step_times import StepTimes
from protocols.messages.status import STORE_SILENT_S
from supervisors.orders import WorkerOrders
from supervisors.supervisor import Child


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Mapping[str, TierStore]]:
    """The tier stores of the settings: the quick ones first, which is the order in which they are asked."""
    async with AsyncExitStack() as stack:
        names = sorted(settings.stores, key=lambda name: settings.stores[name].tier != "nearline")
        yield {
            name: await stack.enter_async_context(make_store(name, settings.stores[name])) for name in names
        }


def _end_node() -> None:
    """Others serve what the node had: whoever is still connected here is served, and then it ends."""
    os.kill(os.getppid(), signal.SIGTERM)


class LifecycleBranch:
    """slots:   whose objects this worker sees to
    deleted: tells the deletion keeper that there is something to do"""

    def __init__(
        self,
        orders: WorkerOrders,
        database: Database,
        store: LocalObjectStore,
        stores: Mapping[str, TierStore],
        progress: IndexProgress,
        deletions: Deletions,
        transcoder: Transcoder,
        *,
        slots: Sequence[int],
        deleted: Callable[[], None],
        undo_s: Callable[[], float],
    ) -> None:
        settings = orders.settings.lifecycle
        self._slot, self._root = orders.slot, Path(orders.settings.server.data)
        self._replicates = bool(settings.replicate_to)
        self.stores = orders.settings.stores
        self._timed = {name: TimedStore(opened) for name, opened in stores.items()}
        self.watch = StoreWatch(stores)
        self.tiers = {name: cast(Tier, one.tier) for name, one in self.stores.items()}
        self.copies, self.moves, self.policies = Copies(database), Moves(database), PolicyBook(database)
        self.figures = StorageFigures(database, self._root, orders.settings.storage.reserve_bytes)
        self.nodes = Nodes(database)
        self.cache = NodeCache(self._root, settings.node_cache_bytes, store.threads, store.free_bytes)
        self.carrier = Carrier(
            store,
            self._timed,
            self.copies,
            progress,
            recoder=Recoder(transcoder, store.threads, self._root / "tmp"),
            scratch=self._root / "tmp",
            read_back=settings.read_back,
            cache=self.cache,
        )
        self.recaller = Recaller(
            store, self.carrier, self.copies, self.moves,
            slow_stores=[name for name, tier in self.tiers.items() if tier == "archive"],
            wait_s=settings.recall_wait_s, at_once=settings.recalls_at_once,
            nodes=self.nodes, replicates=bool(settings.replicate_to),
        )  # fmt: skip
        self.replication = ReplicatorBook(database)
        self.replicator = Replicator(
            self.carrier, self.copies, self.replication, progress, slots, settings.replicate_to,
            at_once=settings.replicas_at_once,
        )  # fmt: skip
        metadata = MetadataFiles(self._root / FOLDER, orders.settings.web.metadata_cache_bytes)
        self.keeper = NodeKeeper(store, database, self.cache, self.recaller, metadata, _end_node)
        self.copy_scrubber = CopyScrubber(
            orders.settings.integrity, self.carrier, self.copies, CopyChecks(database),
            IntegrityBook(database, store.node),
        )  # fmt: skip
        self.movers = [
            TierMover(
                store, self.carrier, self.copies, self.moves, self.tiers, at_once=settings.objects_at_once
            )
            for _ in range(settings.movers)
        ]
        self._messenger: IndexMessenger | None = None
        if orders.settings.database.url is not None:
            self._messenger = IndexMessenger(
                orders.dsn, orders.settings.database, database, progress, store.node, orders.slot
            )
            progress.others = self._messenger
        self._prefetcher = (
            Prefetcher(database, priors=settings.prefetch_priors) if settings.prefetch_priors else None
        )
        self.scheduler = LifecycleScheduler(
            database, deletions, self.tiers, free_percent=self.free_percent, look=self.look, deleted=deleted,
            undo_s=undo_s, every_s=settings.every_s, cache_bytes=settings.cache_bytes,
            most_jump_days=settings.most_clock_jump_days, history_days=settings.history_days,
        )  # fmt: skip

    @property
    def desk(self) -> LifecycleDesk:
        return LifecycleDesk(
            self.copies,
            self.moves,
            self.policies,
            self.scheduler,
            self.figures,
            self.tiers,
            self.carrier.stores,
            self.look,
            self.nodes,
            self.replication,
        )

    def children(self) -> list[Child]:
        found = [Child("recaller", self.recaller.run)]
        if self._messenger is not None:
            found.append(Child("index messenger", self._messenger.run))
        if self.tiers:
            found += [Child(f"tier mover {n}", mover.run) for n, mover in enumerate(self.movers)]
        if self._replicates:
            found.append(Child("replicator", self.replicator.run))
        if self._slot == 0:
            found.append(Child("node keeper", self.keeper.run))
            found.append(Child("lifecycle scheduler", self.scheduler.run))
            if self.tiers:
                found.append(Child("store watch", self.watch.run))
                found.append(Child("copy scrubber", self.copy_scrubber.run))
            if self.tiers and self._prefetcher is not None:
                found.append(Child("prefetcher", self._prefetcher.run))
        return found

    def look(self) -> None:
        """Something was ordered just now."""
        for mover in self.movers:
            mover.look()

    def free_percent(self) -> float:
        """Room that the online store has left."""
        disk = os.statvfs(self._root)
        return 100.0 * disk.f_bavail / disk.f_blocks if disk.f_blocks else 0.0

    def counters(self) -> dict[str, int]:
        """For the status."""
        return {
            "objects_recalled": self.recaller.brought,
            "objects_not_recalled": self.recaller.failed,
            "objects_moved": sum(mover.moved_objects for mover in self.movers),
            "bytes_moved": sum(mover.moved_bytes for mover in self.movers),
            "moves_failed": sum(mover.failures for mover in self.movers),
            "objects_fetched": self.recaller.fetched,
            "cached_objects_evicted": self.cache.evicted,
            **self.replicator.counters(),
            **self.copy_scrubber.counters(),
            **{f"{STORE_SILENT_S}{name}": silent_s for name, silent_s in self.watch.silent_s().items()},
        }

    def paths(self) -> dict[str, StepTimes]:
        """For the status."""
        found = {"recall": self.recaller.took}
        for timed in self._timed.values():
            found |= timed.paths
        return found
