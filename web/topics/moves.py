"""``moves``: studies on their way between stores: what runs, what is next, what ended last.

The table is asked once a second while somebody watches, for a bounded number of rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import structs

from pacs_actors.archive.scope import StudyScope
from pacs_actors.lifecycle.moves import Move
from pacs_actors.people.rights import Action
from protocols.messages.live import LiveMove, MovesState, Topic
from web.changes import State
from web.context import WebContext


class MovesTopic:
    name: Final = Topic.MOVES
    action: Final = Action.SYSTEM_READ
    scoped: Final = True
    every_s: Final = 1.0

    def __init__(self, context: WebContext) -> None:
        self._context = context

    async def look(self, scope: StudyScope) -> State:
        desk = self._context.archive.lifecycle
        watched = await desk.moves.watched()
        if not scope.everything:
            seen = await desk.policies.seen((one.study_instance_uid for one in watched), scope)
            watched = [one for one in watched if one.study_instance_uid in seen]
        found = {str(one.id): live_move(one) for one in watched}
        state: State = msgspec.to_builtins(MovesState(found, await desk.moves.counts()))
        return state


def live_move(move: Move) -> LiveMove:
    """Pure."""
    moments = {name: _moment(getattr(move, name)) for name in ("asked_at", "begun_at", "ended_at")}
    return LiveMove(**(structs.asdict(move) | moments))


def _moment(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
