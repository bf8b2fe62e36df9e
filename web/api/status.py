"""The node's status: workers, associations, queues, actors."""

from __future__ import annotations

import msgspec

from pacs_actors.people.rights import Action
from protocols.messages.status import NodeStatus
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import Request
from web.http.routes import Route
from web.status import StatusSource
from web.studies import RecentStudies


def routes(context: WebContext) -> list[Route]:
    return status_routes(context.status)


def status_routes(source: StatusSource) -> list[Route]:
    studies = RecentStudies(source)

    async def status(request: Request) -> Answer:
        node = source.node()
        if request.who.scope.everything:  # the last studies are those of everybody
            await studies.refresh()
            node = msgspec.structs.replace(node, last_studies=studies.rows, studies_as_of=studies.as_of)
        return json_answer(node)

    return [
        Route(
            method="GET", path="/api/v1/status", access=Action.SYSTEM_READ, handler=status, tag="system",
            summary="The whole node at this moment; its last studies for who sees every study", answer=NodeStatus,
        )
    ]  # fmt: skip
