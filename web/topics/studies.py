"""``studies``: those that something came for most recently, within the client's scope.

The index is asked now and then while somebody watches: nothing is added to what an image costs that comes in. Looked at are
the studies of the newest series, so the question costs the same however large the archive and however narrow the scope.
"""

from __future__ import annotations

from datetime import UTC
from typing import Final

import msgspec
from msgspec import structs

from pacs_actors.archive.recent_studies import recent_studies
from pacs_actors.archive.scope import StudyScope
from pacs_actors.archive.study_list import ListedStudy
from pacs_actors.people.rights import Action
from protocols.messages.live import LiveStudy, StudiesState, Topic
from web.changes import State
from web.context import WebContext


class StudiesTopic:
    name: Final = Topic.STUDIES
    action: Final = Action.SEARCH
    scoped: Final = True
    every_s: Final = 1.0

    def __init__(self, context: WebContext) -> None:
        self._database = context.archive.catalogue.database

    async def look(self, scope: StudyScope) -> State:
        found = await recent_studies(self._database, scope)
        state: State = msgspec.to_builtins(
            StudiesState({one.study_instance_uid: live_study(one) for one in found})
        )
        return state


def live_study(study: ListedStudy) -> LiveStudy:
    """Pure."""
    received = study.received_at
    moment = (
        ""
        if received is None
        else received.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )
    return LiveStudy(**(structs.asdict(study) | {"received_at": moment}))
