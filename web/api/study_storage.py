"""Where one study is kept: its copies, recall, legal hold, labels."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from pacs_actors.lifecycle.copies import Availability
from pacs_actors.lifecycle.desk import LifecycleDesk
from pacs_actors.lifecycle.moves import ONLINE, RECALL_PRIORITY, Move, Order
from pacs_actors.lifecycle.policy_book import MOST_LABELS, Hold
from pacs_actors.people.rights import Action, Via
from web.api.lifecycle import STATES, order
from web.context import WebContext
from web.dicomweb.paths import is_uid
from web.http.answer import Answer, json_answer
from web.http.request import NotFound, Request
from web.http.routes import Route

Label = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]


class CopiesThere(Struct, frozen=True):
    """How much of a study is in a store."""

    store: str
    tier: str
    instances: int
    size_bytes: int


class StudyStorage(Struct, frozen=True):
    """Where a study is. online: of its instances are in the online store"""

    availability: Availability
    instances: int
    online: int
    copies: list[CopiesThere]
    accessed_at: datetime | None
    recalled_at: datetime | None
    labels: list[str]
    workflow_state: str
    patient_class: str
    hold: Hold | None
    moves: list[Move]


class NewHold(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


Word = Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Labels(Struct, frozen=True, forbid_unknown_fields=True):
    labels: Annotated[tuple[Label, ...], Meta(max_length=MOST_LABELS)] = ()
    workflow_state: Word = ""
    patient_class: Word = ""


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context)

    def route(method: str, path: str, access: Action, handler: Any, summary: str, **more: Any) -> Route:
        return Route(
            method=method, path=f"/api/v1/studies/{{study}}/{path}", access=access, handler=handler, summary=summary,
            objects=True, tag="storage", **more,
        )  # fmt: skip

    write = Action.STORAGE_WRITE
    return [
        route("GET", "storage", Action.SEARCH, desk.of_study, "Where a study is kept", answer=StudyStorage),
        route(
            "POST", "recall", Action.VIEW, desk.recall, "Bring a study back online", answer=Move, status=202
        ),
        route("PUT", "hold", write, desk.hold, "Keep a study from being removed", body=NewHold, answer=Hold),
        route("DELETE", "hold", write, desk.lift, "Lift a legal hold", answer=Hold),
        route("PUT", "labels", write, desk.label, "Set what policies choose by", body=Labels, status=204),
    ]


class _Desk:
    def __init__(self, context: WebContext) -> None:
        self._context, self._audit = context, context.archive.audit

    @property
    def _desk(self) -> LifecycleDesk:
        return self._context.archive.lifecycle

    async def recall(self, request: Request) -> Answer:
        study = await self._seen(request)
        who = request.actor.who
        return await order(
            self._context,
            request,
            Order(study, "", ONLINE, "asked for", asked_by=who, priority=RECALL_PRIORITY),
        )

    async def of_study(self, request: Request) -> Answer:
        study = await self._seen(request)
        desk = self._desk
        # Before where it is: a recall that ends in between is under way and the study here, never done and the study away.
        moves = await desk.moves.listed(STATES, before=None, most=20, study=study)
        facts = await desk.policies.facts(study)
        if facts is None:
            raise NotFound
        holds = [hold for hold in await desk.policies.holds(study) if hold.lifted_at is None]
        if (
            request.who.via is Via.SHARE
        ):  # how far a recall is; who runs the archive, and why they keep what, is not theirs
            recalls = [
                replace(one, asked_by="", why="", problem="")
                for one in moves
                if one.from_store == "" and one.to_store == ONLINE
            ]
            return json_answer(
                StudyStorage(
                    facts.availability, facts.instances, facts.online, [], facts.accessed_at, facts.recalled_at, [], "", "", None,
                    recalls,
                )
            )  # fmt: skip
        return json_answer(
            StudyStorage(
                facts.availability, facts.instances, facts.online,
                [CopiesThere(one[0], desk.tiers.get(one[0], "gone"), one[1], one[2]) for one in facts.copies],
                facts.accessed_at, facts.recalled_at, facts.labels, facts.workflow_state,
                facts.patient_class,
                holds[0] if holds else None,
                moves,
            )
        )  # fmt: skip

    async def hold(self, request: Request) -> Answer:
        study, asked = await self._seen(request), await request.json(NewHold)
        hold = await self._desk.policies.hold(study, asked.reason, request.actor.who)
        if hold is None:
            raise NotFound
        await self._audit.storage_asked(request.actor, "hold", study, reason=asked.reason)
        return json_answer(hold)

    async def lift(self, request: Request) -> Answer:
        study = await self._seen(request)
        hold = await self._desk.policies.lift(study, request.actor.who)
        if hold is None:
            raise NotFound
        await self._audit.storage_asked(request.actor, "lift", study)
        return json_answer(hold)

    async def label(self, request: Request) -> Answer:
        study, asked = await self._seen(request), await request.json(Labels)
        if not await self._desk.policies.label(
            study, asked.labels, asked.workflow_state, asked.patient_class
        ):
            raise NotFound
        await self._audit.storage_asked(
            request.actor,
            "label",
            study,
            labels=" ".join(asked.labels),
            workflow_state=asked.workflow_state,
            patient_class=asked.patient_class,
        )
        return Answer(204)

    async def _seen(self, request: Request) -> str:
        """The study of the path, if the caller may see it. raises: NotFound"""
        study = request.values["study"]
        if not is_uid(study) or not await self._desk.policies.is_seen(study, request.who.scope):
            raise NotFound
        return study
