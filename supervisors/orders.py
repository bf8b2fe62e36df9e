"""What processes are told at their start, as one JSON line on their standard input: workers by the parent, backups by a worker.

A worker's pipe stays open: its end tells the worker that the parent is gone.
"""

from __future__ import annotations

from msgspec import Struct, field

from config.settings import Settings
from pacs_actors.archive.objects.keys import SLOTS_OF_A_NODE
from pacs_actors.lifecycle.backup.manifest import Kind
from pacs_actors.nodes import EMBEDDED


class WorkerOrders(Struct, frozen=True):
    """Listening sockets and the shared page are inherited file descriptors.

    slot:            the worker's number on this node: its place in the shared page
    dsn:             the database, as the role that works in it
    owner_dsn:       the same as the role that owns the tables, to migrate them; "": that is the role of ``dsn``
    identity:        of the data folder, as ``pacs_actors.nodes`` has it
    origins:         where each setting was written, as ``config.load`` has it
    admin_password:  of the first administrator; None: one is generated. The repr shows none of these
    """

    settings: Settings
    slot: int
    workers: int
    page_fd: int
    dicom_fd: int
    dicom_tls_fd: int | None
    web_fd: int
    dsn: str
    owner_dsn: str = ""
    admin_password: str | None = None
    origins: dict[str, str] = field(default_factory=dict)
    identity: str = EMBEDDED

    @property
    def object_slot(self) -> int:
        """The worker's number among all of the archive: no other has it, on whatever node."""
        return self.settings.server.node * SLOTS_OF_A_NODE + self.slot

    def __repr__(self) -> str:
        return f"WorkerOrders(slot={self.slot})"


class BackupOrder(Struct, frozen=True):
    """number: of the row that asks for it"""

    settings: Settings
    number: int
    kind: Kind
