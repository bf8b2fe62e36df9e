"""Live topics of a node that a test can change, without a database."""

from __future__ import annotations

from typing import Any

import msgspec

from config.settings import WebSettings
from pacs_actors.archive.figures import Waiting
from pacs_actors.people.rights import Action
from protocols.errors import Unavailable
from protocols.messages.live import LiveStudy, StudiesState, Topic
from tests.fakes.node_status import FakeStatus
from web.live import LiveFanOut
from web.topics.associations import AssociationsTopic
from web.topics.queues import QueuesTopic
from web.topics.system import SystemTopic


class FakeFigures:
    """What the database would say; None: it is away."""

    waiting_now: Waiting | None = Waiting({"received": 2}, 1, 0, None)

    async def waiting(self) -> Waiting:
        if self.waiting_now is None:
            raise Unavailable("The database does not answer.")
        return self.waiting_now


class FakeStudies:
    """The fake node's studies; each scope sees those that it names, and what sees everything sees all."""

    name, action, scoped, every_s = Topic.STUDIES, Action.SEARCH, True, 0.0

    def __init__(self, source: FakeStatus) -> None:
        self.source = source
        self.looks: list[Any] = []

    async def look(self, scope: Any) -> dict[str, Any]:
        self.looks.append(scope)
        if self.source.studies is None:
            raise Unavailable("The index does not answer.")
        seen = None if scope.everything else {uid for rule in scope.rules for uid in rule.studies}
        return msgspec.to_builtins(
            StudiesState(
                {
                    one.study_instance_uid: LiveStudy(
                        **dict.fromkeys(LiveStudy.__struct_fields__, "")
                        | {
                            "study_instance_uid": one.study_instance_uid,
                            "study_date": one.study_date,
                            "modalities": one.modalities.split("\\"),
                            "number_of_series": one.series,
                            "number_of_instances": one.instances,
                            "size_bytes": 0,
                            "received_at": one.received_at,
                            "source": one.source,
                        }
                    )
                    for one in self.source.studies
                    if seen is None or one.study_instance_uid in seen
                }
            )
        )


def fake_live(source: FakeStatus, settings: WebSettings, *more: Any) -> LiveFanOut:
    topics = (SystemTopic(source), AssociationsTopic(source), QueuesTopic(source, FakeFigures()))  # type: ignore[arg-type]
    return LiveFanOut(settings, [*topics, FakeStudies(source), *more])
