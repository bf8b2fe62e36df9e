"""The system as lists: associations, queues, storage, quarantine, commitment requests. The node as a whole is ``status``."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct, structs

from pacs_actors.archive.figures import Commitment, Figures, Holdings, Quarantined
from pacs_actors.people.rights import Action
from protocols.messages.live import OpenAssociation, QueuesState
from web.api.paging import page_query
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import Request
from web.http.routes import Handler, Route
from web.topics.associations import open_associations
from web.topics.queues import QueuesTopic

_ASSOCIATIONS: Final = (
    "since_s", "slot", "calling_ae", "called_ae", "address", "requests", "stored", "received_bytes", "sent_bytes", "doing",
)  # fmt: skip
_QUARANTINE: Final = (
    "id",
    "quarantined_at",
    "sop_instance_uid",
    "why",
    "source",
    "address",
    "size_bytes",
    "first_key",
)
_COMMITMENTS: Final = (
    "id",
    "received_at",
    "transaction_uid",
    "requester",
    "state",
    "attempts",
    "next_attempt_at",
)


class AssociationPage(Struct, frozen=True):
    items: list[OpenAssociation]
    next: str | None
    total: int
    total_exact: bool


class QuarantinePage(Struct, frozen=True):
    items: list[Quarantined]
    next: str | None
    total: int
    total_exact: bool


class CommitmentPage(Struct, frozen=True):
    items: list[Commitment]
    next: str | None
    total: int
    total_exact: bool


class Storage(Holdings, frozen=True, kw_only=True):
    """free_bytes: on the disk of the objects; reserve_bytes: below it images are refused; why_not: "" while they are accepted"""

    free_bytes: int
    reserve_bytes: int
    accepting: bool
    why_not: str


class System:
    def __init__(self, context: WebContext) -> None:
        self.context = context
        self.figures = Figures(context.archive.catalogue.database)
        self._queues = QueuesTopic(context.status, self.figures)

    async def associations(self, request: Request) -> Answer:
        rows = open_associations(self.context.status.node())
        return whole_list(request, "associations", rows, _ASSOCIATIONS)

    async def queues(self, request: Request) -> Answer:
        return json_answer(await self._queues.state())

    async def storage(self, request: Request) -> Answer:
        held = await self.figures.holdings(request.who.scope)
        workers = self.context.status.node().workers
        return json_answer(
            Storage(
                **structs.asdict(held),
                free_bytes=min((worker.free_bytes for worker in workers), default=0),
                reserve_bytes=self.context.settings.storage.reserve_bytes,
                accepting=any(worker.accepting for worker in workers),
                why_not="; ".join(dict.fromkeys(worker.why_not for worker in workers if worker.why_not)),
            )
        )

    async def quarantine(self, request: Request) -> Answer:
        return whole_list(
            request, "quarantine", await self.figures.quarantined(request.who.scope), _QUARANTINE, "-id"
        )

    async def commitments(self, request: Request) -> Answer:
        return whole_list(request, "commitments", await self.figures.commitments(), _COMMITMENTS, "-id")


def routes(context: WebContext) -> list[Route]:
    system = System(context)

    def route(path: str, handler: Handler, summary: str, **more: Any) -> Route:
        return Route(
            method="GET", path=f"/api/v1{path}", access=Action.SYSTEM_READ, handler=handler, summary=summary,
            tag="system", **more,
        )  # fmt: skip

    return [
        route("/associations", system.associations, "Associations that are open now",
              query=page_query(_ASSOCIATIONS), answer=AssociationPage),
        route("/queues", system.queues, "What waits: mailboxes, index, commitment, deletions, audit", answer=QueuesState),
        route("/system/storage", system.storage, "What is stored of the studies that one may see, and the room that is left",
              answer=Storage),
        route("/quarantine", system.quarantine, "Objects that are kept aside, newest first",
              query=page_query(_QUARANTINE), answer=QuarantinePage),
        route("/commitments", system.commitments, "Storage commitment requests that wait or were given up",
              query=page_query(_COMMITMENTS), answer=CommitmentPage),
    ]  # fmt: skip
