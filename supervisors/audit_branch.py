"""The audit's part of a worker's tree: auditor, and in the first worker anchor keeper and syslog sender."""

from __future__ import annotations

import socket
from pathlib import Path

import trio

from pacs_actors.audit.anchor_keeper import AnchorKeeper
from pacs_actors.audit.audit import Audit, unrecorded
from pacs_actors.audit.auditor import Auditor
from pacs_actors.audit.dicom_xml import Source
from pacs_actors.audit.spool import Spool
from pacs_actors.audit.spool_replayer import SpoolReplayer
from pacs_actors.audit.syslog_sender import SyslogSender
from pacs_actors.audit.trail import Trail
from pacs_actors.database import Database
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.operations import logs
from protocols.errors import Unavailable
from protocols.messages.audit import AuditEvent
from supervisors.orders import WorkerOrders
from supervisors.supervisor import Child

_PLACES = 10_000
_LAST_ANCHOR_WITHIN_S = 5.0


class AuditBranch:
    """audit: through which everybody tells; mailbox: where they tell"""

    def __init__(self, orders: WorkerOrders, database: Database) -> None:
        settings = orders.settings
        self.slot = orders.slot
        self.mailbox: Mailbox[AuditEvent] = Mailbox("audit", _PLACES)
        data = Path(settings.server.data).resolve()
        self.spool = Spool(data / "audit" / "spool", self.slot, orders.workers)
        self.audit, self.trail = Audit(self.mailbox, self.spool), Trail(database)
        self.auditor = Auditor(self.trail, self.mailbox, self.spool)
        self.replayer = SpoolReplayer(self.trail, self.spool.left)
        self.keeper = AnchorKeeper(settings.audit, self.trail, self.audit, data)
        self.sender: SyslogSender | None = None
        if self.slot == 0 and settings.audit.syslog_host is not None:
            aet, host = settings.dicom.ae_title, socket.gethostname()
            source = Source(settings.audit.source_id or aet, aet, host)
            self.sender = SyslogSender(settings.audit, self.trail, source, f"{host}:{data}")

    def beside(self) -> list[Child]:
        """The children that stand beside the auditor: of keeper and sender one for a node is enough."""
        found = [Child("audit replayer", self.replayer.run)]
        if self.slot != 0:
            return found
        found.append(Child("anchor keeper", self.keeper.run))
        if self.sender is not None:
            found.append(Child("syslog sender", self.sender.run))
        return found

    def counters(self) -> dict[str, int]:
        """For the status: rows written, and how many the syslog receiver may lack."""
        found = {"audit_rows": self.auditor.written}
        if self.sender is not None:
            found |= {
                "audit_syslog_lag": self.sender.lag,
                "audit_syslog_connected": int(self.sender.connected),
            }
        return found

    def give_up(self) -> None:
        """There is no time left for what is not in the database: it goes to the log, and stays in the spool."""
        for event in self.auditor.unwritten():
            unrecorded(event)

    async def finish(self) -> None:
        """After the last row of this worker: note the end."""
        await self.spool.close()
        with trio.move_on_after(_LAST_ANCHOR_WITHIN_S):
            try:
                await self.keeper.anchor()
            except (Unavailable, OSError) as trouble:
                logs.warning("audit_not_anchored", why=str(trouble))
