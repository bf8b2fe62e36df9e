"""``associations``: those that are open now, on all workers."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import structs

from pacs_actors.archive.scope import StudyScope
from pacs_actors.people.rights import Action
from protocols.messages.live import AssociationsState, OpenAssociation, Topic
from protocols.messages.status import NodeStatus
from web.changes import State
from web.status import StatusSource


class AssociationsTopic:
    name: Final = Topic.ASSOCIATIONS
    action: Final = Action.SYSTEM_READ
    scoped: Final = False
    every_s: Final = 0.0

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    async def look(self, _: StudyScope) -> State:
        found = {f"{one.slot}.{one.place}": one for one in open_associations(self._source.node())}
        state: State = msgspec.to_builtins(AssociationsState(found))
        return state


def open_associations(node: NodeStatus) -> list[OpenAssociation]:
    """Of all workers. Pure."""
    return [
        OpenAssociation(**structs.asdict(one), slot=worker.slot)
        for worker in node.workers
        for one in worker.associations
    ]
