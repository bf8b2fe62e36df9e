"""What the page that waits for a study is told of it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import trio

from pacs_actors.lifecycle.moves import ONLINE, Move
from pacs_actors.lifecycle.policy_book import StudyFacts
from pacs_actors.people.rights import Via
from web.api.study_storage import routes
from web.context import WebContext
from web.http.request import Request

STUDY = "1.2.3"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Recalled:
    """A study whose recall ends as soon as anybody has looked at either of the two."""

    def __init__(self) -> None:
        self.here = False

    async def is_seen(self, *_: object) -> bool:
        return True

    async def holds(self, _: str) -> list[Any]:
        return []

    async def facts(self, _: str) -> StudyFacts:
        was, self.here = self.here, True
        return StudyFacts("ONLINE" if was else "OFFLINE", 3, 3 if was else 0, [], None, None, [], "", "")

    async def listed(self, *_: object, **__: object) -> list[Move]:
        was, self.here = self.here, True
        return [
            Move(
                1, STUDY, "", ONLINE, "plain", "asked for", "", 10, "done" if was else "running", NOW, NOW,
                NOW if was else None, 1, 3, 3, 30, 30, "",
            )
        ]  # fmt: skip


def test_a_study_whose_recall_is_done_is_never_said_to_be_away() -> None:
    study = Recalled()
    lifecycle = SimpleNamespace(policies=study, moves=study, tiers={})
    archive = SimpleNamespace(audit=None, lifecycle=lifecycle)
    (route,) = (
        one
        for one in routes(cast(WebContext, SimpleNamespace(archive=archive)))
        if one.method == "GET" and one.path.endswith("/storage")
    )
    for via in (Via.SESSION, Via.SHARE):
        study.here = False
        request = SimpleNamespace(values={"study": STUDY}, who=SimpleNamespace(scope=None, via=via))
        answer = trio.run(route.handler, cast(Request, request))
        assert isinstance(answer.body, bytes)
        told = msgspec.json.decode(answer.body)
        assert (told["availability"], told["moves"][0]["state"]) == ("ONLINE", "running")
