"""What the live websocket tells: a file of this folder a topic. Each looks at the state as it is now; ``web.live`` tells the rest.

A topic whose state depends on who asks is looked at once for each scope, the others once for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pacs_actors.archive.figures import Figures
from pacs_actors.archive.scope import StudyScope
from pacs_actors.people.rights import Action
from protocols.messages.live import Topic
from web.changes import State
from web.context import WebContext
from web.status import StatusSource
from web.topics.alerts import AlertsTopic, AlertWatch
from web.topics.associations import AssociationsTopic
from web.topics.moves import MovesTopic
from web.topics.queues import QueuesTopic
from web.topics.studies import StudiesTopic
from web.topics.system import SystemTopic

__all__ = ["LiveTopic", "node_topics", "topics"]


class LiveTopic(Protocol):
    """action: what a client needs to hear it. scoped: the state depends on the client's scope. every_s: 0: at each tick"""

    @property
    def name(self) -> Topic: ...
    @property
    def action(self) -> Action: ...
    @property
    def scoped(self) -> bool: ...
    @property
    def every_s(self) -> float: ...

    async def look(self, scope: StudyScope) -> State:
        """The state as it is now, as JSON objects without nulls. raises: Unavailable"""
        ...


def topics(context: WebContext) -> tuple[list[LiveTopic], AlertWatch]:
    """Every topic, and who watches for alerts."""
    figures = Figures(context.archive.catalogue.database)
    watch = AlertWatch(context, figures)
    shared = node_topics(context.status, figures)
    return [*shared, StudiesTopic(context), AlertsTopic(watch), MovesTopic(context)], watch


def node_topics(source: StatusSource, figures: Figures) -> Sequence[LiveTopic]:
    """Those that need no more than the node's status and figures."""
    return [SystemTopic(source), AssociationsTopic(source), QueuesTopic(source, figures)]
