"""The tree of a worker, on one page: who exists, who restarts whom, who starts first, who drains first.

    worker
    ├── ingest writers     one for one; serve one mailbox
    ├── edge               one for one: DICOM listener, DICOM TLS listener, web
    ├── status reporter
    ├── settings book
    ├── schema keeper      returns when the database has our schema; what stands below waits for it
    ├── auditor            beside it, in the first worker: anchor keeper, syslog sender
    ├── indexer
    ├── recovery reader    returns when all that earlier processes stored is indexed
    ├── query responders   one for one; serve one mailbox
    ├── people keeper
    ├── commitment agent
    ├── deletion keeper
    ├── recaller
    ├── index messenger    if other nodes may share the database
    ├── tier movers        if there are tier stores
    ├── replicator         if some get every object
    ├── node keeper, lifecycle scheduler, store watch, copy scrubber, prefetcher: in the first worker
    ├── scrubber
    └── reconciler

Images are accepted before PostgreSQL answers. Draining goes with the flow: listeners, web, writers, responders, indexer, auditor.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from config.settings import Settings
from pacs_actors import cores, migrations
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.commitment_book import CommitmentBook
from pacs_actors.archive.custom import custom_attributes
from pacs_actors.archive.deletion_keeper import DeletionKeeper
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.indexer import Indexer
from pacs_actors.archive.ingest_writer import IngestWriter
from pacs_actors.archive.ledger import Ledger
from pacs_actors.archive.metadata_files import FOLDER, MetadataFiles
from pacs_actors.archive.objects.buffers import BufferPool
from pacs_actors.archive.objects.keys import node_of
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.progress import IndexProgress
from pacs_actors.archive.query_responder import FindMatches, QueryResponder
from pacs_actors.archive.recovery_reader import MOST_WAITING, RecoveryReader
from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.database import Database
from pacs_actors.dicom.access_book import AccessBook
from pacs_actors.dicom.commitment_agent import CommitmentAgent
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.dicom.identity import Identities
from pacs_actors.dicom.listener import Listener
from pacs_actors.dicom.services import SERVICES
from pacs_actors.dicom.tls import renewed_server_context
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.mail import Ready
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.node_page import ACCEPTING, NodePage
from pacs_actors.nodes import Nodes
from pacs_actors.operations import logs
from pacs_actors.people import first_administrator
from pacs_actors.people.password_hasher import PasswordHasher
from pacs_actors.people.people_keeper import PeopleKeeper
from pacs_actors.people.reception import Reception
from pacs_actors.people.share_desk import ShareDesk
from pacs_actors.settings_book import SettingsBook
from protocols.errors import Unavailable
from protocols.messages.archive import IndexMessage, IngestMessage
from supervisors.audit_branch import AuditBranch
from supervisors.backup_branch import BackupBranch
from supervisors.integrity_branch import IntegrityBranch
from supervisors.lifecycle_branch import LifecycleBranch, open_stores
from supervisors.orders import WorkerOrders
from supervisors.status_board import StatusBoard
from supervisors.supervisor import Child, RestartLimit, one_for_one
from web import api, dicomweb
from web.app import create_app
from web.authenticator import PeopleAuthenticator
from web.context import WebContext
from web.live import LiveFanOut
from web.server import Server, Shutdown
from web.topics import topics

_WRITERS = 4  # one has many objects under way; the others go on while it is started again after a crash
_SEND_BUFFERS = 16
_SPARE_INDEX_PLACES = 2 * MOST_WAITING  # a recovery reader that crashed leaves what it has handed on
_RETRY_S = 0.1
_LAST_S = 3.0
_MIGRATE_WITHIN_S = 600.0


T = TypeVar("T")


class WorkerTree:
    """drained: set once the tree has drained because it was asked to."""

    def __init__(self, orders: WorkerOrders, page: NodePage) -> None:
        self.orders, self.settings, self.page = orders, orders.settings, page
        self.drained = False
        self._drain_asked = trio.Event()

    async def run(self) -> None:
        """Run until drained. Raises RestartsExhausted when actors crash too often."""
        settings, slot = self.settings, self.orders.slot
        debt = max(0, self.page.answered(slot) - self.page.indexed(slot))
        async with (
            LocalObjectStore(Path(settings.server.data), self.orders.object_slot, settings.storage) as store,
            open_stores(settings) as stores,
            Database(self.orders.dsn, settings.database) as database,
            self._transcoder() as transcoder,
            PasswordHasher() as hasher,
            trio.open_nursery() as nursery,
        ):
            self._plant(store, stores, database, transcoder, hasher, debt)
            nursery.start_soon(self._drain, nursery.cancel_scope)
            self.root.vitals.state, self.root.vitals.starts = "up", 1
            await self.root.run()
            nursery.cancel_scope.cancel()

    def _transcoder(self) -> Transcoder:
        """With the processes that all work on pixels is done in."""
        pixels, workers = self.settings.pixels, max(1, self.orders.workers)
        share = max(2, -(-len(cores.available()) // workers))
        return Transcoder(
            folder=Path(self.settings.server.data) / "tmp",
            processes=pixels.processes or share,
            queue=pixels.queue,
            memory_bytes=pixels.memory_mib * 1024**2,
        )

    def drain(self) -> None:
        self._drain_asked.set()

    def _plant(
        self,
        store: LocalObjectStore,
        stores: Mapping[str, TierStore],
        database: Database,
        transcoder: Transcoder,
        hasher: PasswordHasher,
        debt: int,
    ) -> None:
        settings, page = self.settings, self.page
        limit = RestartLimit(settings.server.restart_crashes, settings.server.restart_window_s)
        custom = custom_attributes(settings.index.custom_attributes)
        backlog = settings.storage.backlog
        self.ingest: Mailbox[IngestMessage] = Mailbox("ingest", 64)
        self.index: Mailbox[IndexMessage] = Mailbox("index", backlog + _SPARE_INDEX_PLACES)
        self.queries: Mailbox[FindMatches] = Mailbox("queries", 256)
        self.web_ends = Shutdown()

        catalogue = Catalogue(database, custom=custom)
        ledger = Ledger(database)
        progress = IndexProgress(page, store.current_batch)
        progress.unrecovered_from = 0
        self.auditing = AuditBranch(self.orders, database)
        audit = self.auditing.audit
        self.people = Reception(settings.people, database, hasher, audit)
        self.shares = ShareDesk(self.people, database)
        self.book = SettingsBook(settings, self.orders.origins, database)
        self.book.listen(self._use_settings)
        access = AccessBook(settings, ledger)
        facilities = Facilities(
            settings, page, store, catalogue, progress, audit, self.ingest, self.queries,
            access.policy, store.threads, BufferPool(_SEND_BUFFERS), transcoder,
            Identities(self.people, required=settings.dicom.require_user_identity),
        )  # fmt: skip
        self.facilities = facilities
        facilities.commitments = CommitmentAgent(facilities, CommitmentBook(database))
        deletions = Deletions(database)
        self.lifecycle = LifecycleBranch(
            self.orders, database, store, stores, progress, deletions, transcoder,
            slots=self._slots_of(store), deleted=self._look_for_deletions, undo_s=lambda: self.book.current.web.undo_s,
        )  # fmt: skip
        facilities.recaller, facilities.lifecycle = self.lifecycle.recaller, self.lifecycle.desk
        self.backups = BackupBranch(self.orders, database)
        self.integrity = IntegrityBranch(
            settings,
            page,
            store,
            database,
            progress,
            self.index,
            custom=custom,
            healer=self.lifecycle.recaller,
        )
        facilities.deletions = DeletionKeeper(
            deletions, store, progress, self.index,
            MetadataFiles(Path(settings.server.data) / FOLDER, settings.web.metadata_cache_bytes), self.lifecycle.carrier,
            backlog=backlog, custom=custom,
        )  # fmt: skip
        compared = self.lifecycle.recaller.compared
        indexer = Indexer(settings.index, catalogue, store, progress, self.index, compared)
        writers = [
            Child(
                f"ingest writer {n}",
                IngestWriter(store, progress, self.ingest, self.index, backlog=backlog, custom=custom).run,
            )
            for n in range(_WRITERS)
        ]
        responders = [
            Child(f"query responder {n}", QueryResponder(settings, catalogue, progress, self.queries).run)
            for n in range(settings.index.responders)
        ]
        recovery = RecoveryReader(
            self._slots_of(store), catalogue, store, progress, self.index,
            first_own_batch=store.current_batch(), debt=debt, custom=custom,
        )  # fmt: skip
        self.listeners = [Listener(socket.socket(fileno=self.orders.dicom_fd), facilities, SERVICES)]
        if self.orders.dicom_tls_fd is not None:
            sock = socket.socket(fileno=self.orders.dicom_tls_fd)
            self.listeners.append(
                Listener(sock, facilities, SERVICES, tls=renewed_server_context(settings.tls))
            )
        self.board = StatusBoard(
            settings, page, store, database, catalogue, progress, indexer, self.listeners,
            (self.ingest, self.index, self.queries, self.auditing.mailbox),
        )  # fmt: skip

        self.writers = one_for_one("ingest writers", limit, *writers)
        self.edge = one_for_one(
            "edge",
            limit,
            *(
                Child(name, one.run)
                for name, one in zip(("DICOM listener", "DICOM TLS listener"), self.listeners, strict=False)
            ),
            Child("accepting", self._say_accepting),
            Child("web", self._serve_web),
        )
        self.indexing = Child("indexer", indexer.run)
        self.auditor = Child("auditor", self.auditing.auditor.run)
        self.responding = one_for_one("query responders", limit, *responders)
        self.root = one_for_one(
            "worker",
            limit,
            self.writers,
            self.edge,
            Child("status reporter", self.board.run),
            Child("settings book", self.book.run),
            Child("schema keeper", self._keep_schema),
            self.auditor,
            *self.auditing.beside(),
            self.indexing,
            Child("recovery reader", recovery.run),
            Child("access book", access.run),
            self.responding,
            Child("people keeper", PeopleKeeper(self.people, self.shares).run),
            Child("commitment agent", facilities.commitments.run),
            Child("deletion keeper", facilities.deletions.run),
            *self.lifecycle.children(),
            *self.backups.children(),
            *self.integrity.children(),
        )
        self.board.root = self.root
        self.board.more_counters = lambda: (
            self.auditing.counters()
            | self.lifecycle.counters()
            | self.backups.counters()
            | self.integrity.counters()
        )
        self.board.more_paths = self.lifecycle.paths

    def _slots_of(self, store: LocalObjectStore) -> list[int]:
        """Our own slot, and for the first worker those of workers of this node that were there before there were fewer."""
        first = self.orders.object_slot - self.orders.slot
        left = [
            slot
            for slot in store.slots()
            if node_of(slot) == store.node and slot >= first + self.orders.workers
        ]
        return [store.slot] + (left if self.orders.slot == 0 else [])

    async def _say_accepting(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        if not self._drain_asked.is_set():
            self.page.set_state(ACCEPTING)
        task_status.started()

    def _look_for_deletions(self) -> None:
        self.facilities.deletions.look()

    def _use_settings(self, settings: Settings) -> None:
        """Hand on those in force to whoever does not look them up at the moment of their use."""
        logs.set_level(settings.server.log_level)
        self.facilities.settings = settings
        self.people.use(settings.people)
        self.integrity.use(settings)
        self.lifecycle.copy_scrubber.use(settings.integrity)

    async def _serve_web(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        self.facilities.transcoder.prepare()
        oidc = None
        if self.settings.people.oidc_issuer:
            # With an HTTP client, an eighth of a worker's start, which few servers need.
            from pacs_actors.people.oidc_desk import OidcDesk  # noqa: PLC0415

            oidc = OidcDesk(self.people)
        context = WebContext(
            self.settings, self.facilities, self.board, self.people, self.shares, self.book, oidc
        )
        heard, watch = topics(context)
        live = LiveFanOut(self.settings.web, heard, [watch.run])
        app = create_app(
            self.board, self.settings.web, PeopleAuthenticator(self.people, self.shares),
            hot=dicomweb.routes(context), api=api.routes(context), live=live,
            away=self.facilities.lifecycle.policies.offline,
        )  # fmt: skip
        await Server(app, self.orders.web_fd, self.settings.web, self.web_ends).run(task_status=task_status)

    async def _keep_schema(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Brings the database to our schema, as its owner, as soon as there is one, and tells the status reporter; returns."""
        dsn = self.orders.owner_dsn or self.orders.dsn
        async with Database(dsn, msgspec.structs.replace(self.settings.database, connections=1)) as database:
            await _patiently(partial(database.run, migrations.migrate, within_s=_MIGRATE_WITHIN_S))
            number, identity = self.settings.server.node, self.orders.identity
            await _patiently(partial(Nodes(database).claim, number, identity))
        ensure = partial(first_administrator.ensure, self.people.directory, self.orders.admin_password)
        shown = await _patiently(ensure)
        if shown is not None:  # on the terminal, once; never in the log
            name = first_administrator.USERNAME
            print(f"\n  First login: {name} with the password {shown} (not shown again)\n", flush=True)
        self.board.schema_stands = True
        await self.auditing.audit.started(self.orders.slot)
        task_status.started()

    async def _drain(self, everything: trio.CancelScope) -> None:
        await self._drain_asked.wait()
        logs.event("worker_drains", associations=sum(len(one.associations) for one in self.listeners))
        with trio.move_on_after(self.settings.server.grace_s) as grace:
            for listener in self.listeners:
                listener.drain()
            while any(listener.associations for listener in self.listeners):
                await trio.sleep(0.01)
            # Before the mailboxes that uploads under way still need; some time is left for what those hold.
            self.web_ends.set(max(0.0, grace.deadline - trio.current_time() - _reserve_s(self.settings)))
            await _until_drained(self.edge.children[-1])
            await self.auditing.audit.stopped(self.orders.slot)
            for mailbox, child in (
                (self.ingest, self.writers),
                (self.queries, self.responding),
                (self.index, self.indexing),
            ):
                mailbox.close()
                await _until_drained(child)
            await self.people.tell_throttled(all_of_them=True)
            await self.shares.tell_throttled(all_of_them=True)
            self.auditing.mailbox.close()  # the last: whoever was served until now is in the audit
            await _until_drained(self.auditor)
            if self.board.schema_stands:  # a worker may be told to drain before there is an audit
                await self.auditing.finish()
        if grace.cancelled_caught:
            left = [vitals.name for _, vitals in self.root.walk() if vitals.state == "up"]
            logs.warning("drain_cut_short", left=left)
            self.auditing.give_up()
        self.drained = True
        everything.cancel()


def _reserve_s(settings: Settings) -> float:
    """Of a drain, for what comes after the last request: index and audit."""
    return min(_LAST_S, settings.server.grace_s / 4)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What a call returns once the database answers it."""
    while True:
        try:
            return await call()
        except Unavailable:
            await trio.sleep(_RETRY_S)


async def _until_drained(child: Child) -> None:
    """Until an actor's run has returned, or a supervisor's children's have."""
    while any(
        vitals.state in ("up", "starting", "crashed")
        for depth, vitals in child.walk()
        if depth or not child.children
    ):
        await trio.sleep(0.005)
