"""``system``: the node, its workers, their actors and counters."""

from __future__ import annotations

from typing import Final

import msgspec

from pacs_actors.archive.scope import StudyScope
from pacs_actors.people.rights import Action
from protocols.messages.live import SystemState, Topic
from protocols.messages.status import NodeStatus, WorkerFacts, WorkerStatus
from web.changes import State
from web.status import StatusSource

_FACTS: Final = WorkerFacts.__struct_fields__


class SystemTopic:
    name: Final = Topic.SYSTEM
    action: Final = Action.SYSTEM_READ
    scoped: Final = False
    every_s: Final = 0.0

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    async def look(self, _: StudyScope) -> State:
        state: State = msgspec.to_builtins(system_state(self._source.node()))
        return state


def system_state(node: NodeStatus) -> SystemState:
    """Pure."""
    return SystemState(
        node.at, node.ae_title, node.dicom, {str(one.slot): _facts(one) for one in node.workers}
    )


def _facts(worker: WorkerStatus) -> WorkerFacts:
    return WorkerFacts(**{name: getattr(worker, name) for name in _FACTS})
