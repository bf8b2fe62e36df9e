"""``queues``: what waits: in mailboxes, for the index, in the database, for the audit's receiver."""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from pacs_actors.archive.figures import Figures, Waiting
from pacs_actors.archive.scope import StudyScope
from pacs_actors.people.rights import Action
from protocols.errors import Unavailable
from protocols.messages.live import AuditQueue, QueuesState, Topic
from protocols.messages.status import NodeStatus
from web.changes import State
from web.status import StatusSource

_ASKED_EVERY_S: Final = 3.0
_WITHIN_S: Final = 1.0
_NOTHING: Final = Waiting({}, 0, 0, None)


class QueuesTopic:
    """The database is asked every few seconds only; while it is away its last answer stands."""

    name: Final = Topic.QUEUES
    action: Final = Action.SYSTEM_READ
    scoped: Final = False
    every_s: Final = 0.0

    def __init__(self, source: StatusSource, figures: Figures) -> None:
        self._source, self._figures = source, figures
        self._waiting, self._ask_at = _NOTHING, -float("inf")

    async def look(self, _: StudyScope) -> State:
        state: State = msgspec.to_builtins(await self.state())
        return state

    async def state(self) -> QueuesState:
        if self._ask_at <= trio.current_time():
            self._ask_at = trio.current_time() + _ASKED_EVERY_S
            with trio.move_on_after(_WITHIN_S):
                try:
                    self._waiting = await self._figures.waiting()
                except Unavailable:
                    pass
        return queues_state(self._source.node(), self._waiting)


def queues_state(node: NodeStatus, waiting: Waiting) -> QueuesState:
    """Pure."""
    audit = [box.depth for worker in node.workers for box in worker.mailboxes if box.name == "audit"]
    return QueuesState(
        mailboxes={str(one.slot): {box.name: box for box in one.mailboxes} for one in node.workers},
        backlog={str(one.slot): one.backlog for one in node.workers},
        commitments=waiting.commitments,
        deletions=waiting.deletions,
        quarantined=waiting.quarantined,
        audit=AuditQueue(
            sum(audit), max((one.counters.get("audit_syslog_lag", 0) for one in node.workers), default=0)
        ),
    )
