"""Where studies are kept: tier stores, policies, moves, legal holds, labels; how storage grows."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import trio
from msgspec import Meta, Struct

from pacs_actors.lifecycle import store_watch
from pacs_actors.lifecycle.copies import Form
from pacs_actors.lifecycle.desk import LifecycleDesk
from pacs_actors.lifecycle.moves import ONLINE, OPEN, RECALL_PRIORITY, Move, Order
from pacs_actors.lifecycle.policies import Rule, problems
from pacs_actors.lifecycle.policy_book import Hold, Policy, Preview, Run
from pacs_actors.lifecycle.replicator_book import Lag
from pacs_actors.lifecycle.storage_figures import Figures
from pacs_actors.nodes import ArchiveNode
from pacs_actors.operations.step_times import slowest
from pacs_actors.people.rights import Action
from protocols.errors import PacsError
from protocols.messages.status import PathFigures
from web.api.paging import cursor_of, cursor_text, limit_of
from web.context import WebContext
from web.dicomweb.paths import is_uid
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Parameter, Route

_TAG: Final = "storage"
STATES: Final = ("waiting", "running", "done", "failed", "cancelled")
_ASK_WITHIN_S: Final = 3.0
_SOME: Final = 100
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
StoreName = Annotated[str, Meta(max_length=32, pattern=r"^[a-z0-9-]*$")]


class StoreState(Struct, frozen=True):
    """A tier store. free_bytes: None where it does not say; problem: why it cannot be used now, or nothing"""

    name: str
    tier: str
    kind: str
    free_bytes: int | None
    problem: str


class Storage(Struct, frozen=True):
    """nodes: that share the database; replication: what lacks a copy in a store that gets everything, by slot: 100 times the number
    of the node, and the worker

    paths: how long the steps of storage take on this node, the slowest first

    now: by the clock of this node; clock_doubted_since: then policies do nothing until somebody confirms the clock"""

    stores: list[StoreState]
    figures: Figures
    moves: dict[str, int]
    nodes: list[ArchiveNode]
    replication: list[Lag]
    paths: list[PathFigures]
    now: datetime
    clock_doubted_since: datetime | None


class PolicyText(Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    rule: Rule
    enabled: bool = False
    priority: Annotated[int, Meta(ge=1, le=1000)] = 100


class MovePage(Struct, frozen=True):
    items: list[Move]
    next: str | None


class NewMove(Struct, frozen=True, forbid_unknown_fields=True):
    """As a policy's action: with both stores it moves, with ``to_store`` only it copies or recalls, with ``from_store`` only
    it removes what is elsewhere too. ``online`` is the online store.
    """

    study_instance_uid: Annotated[str, Meta(max_length=64)]
    from_store: StoreName = ""
    to_store: StoreName = ""
    form: Form = "plain"


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context)

    def route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
        access = Action.SYSTEM_READ if method == "GET" else Action.STORAGE_WRITE
        return Route(
            method=method, path=f"/api/v1/storage{path}", access=access, handler=handler, summary=summary, tag=_TAG, **more
        )  # fmt: skip

    page = {
        "state": Parameter("States, separated by commas; those under way if not said"),
        "limit": Parameter("Rows of a page"), "cursor": Parameter("`next` of the page before"),
    }  # fmt: skip
    policy = "/policies/{policy}"
    return [
        route("GET", "", desk.storage, "Stores, capacity, growth, forecast", answer=Storage),
        route("GET", "/policies", desk.policies, "Policies, in the order in which they are asked", answer=list[Policy]),
        route("POST", "/policies", desk.add, "Add a policy", body=PolicyText, answer=Policy, status=201),
        route("PUT", policy, desk.replace, "Change a policy", body=PolicyText, answer=Policy),
        route("DELETE", policy, desk.remove, "Remove a policy", status=204),
        route("GET", f"{policy}/runs", desk.runs, "What a policy has done", answer=list[Run]),
        route("POST", "/preview", desk.preview, "Dry run: what a rule would do now", body=Rule, answer=Preview),
        route("POST", "/run", desk.run, "Ask every policy now", status=202),
        route("POST", "/clock", desk.confirm_clock, "Confirm that the wall clock is right", status=204),
        route("GET", "/moves", desk.moves, "Moves and recalls, the newest first", answer=MovePage, query=page),
        route("POST", "/moves", desk.move, "Move, copy, recall or release a study", body=NewMove, answer=Move, status=202),
        route("DELETE", "/moves/{move}", desk.cancel, "Cancel a move that is not done", answer=Move),
        route("GET", "/holds", desk.holds, "Legal holds in force", answer=list[Hold]),
    ]  # fmt: skip


class _Desk:
    def __init__(self, context: WebContext) -> None:
        self._context, self._audit = context, context.archive.audit
        self._stores = context.settings.stores

    @property
    def _desk(self) -> LifecycleDesk:
        return self._context.archive.lifecycle

    # -- stores -----------------------------------------------------------------------------------------------------------------
    async def storage(self, _: Request) -> Answer:
        desk = self._desk
        states: dict[str, StoreState] = {}

        async def ask(name: str) -> None:
            free: int | None = None
            problem = "it does not answer in time"
            with trio.move_on_after(_ASK_WITHIN_S):
                try:
                    free = await desk.stores[name].free_bytes()
                    await store_watch.ask(
                        desk.stores[name]
                    )  # not every store asks anybody how much room there is
                    problem = ""
                except PacsError as failure:
                    problem = str(failure)
            states[name] = StoreState(name, desk.tiers[name], self._stores[name].kind, free, problem)

        async with trio.open_nursery() as nursery:
            for name in desk.stores:
                nursery.start_soon(ask, name)
        return json_answer(
            Storage(
                [states[name] for name in desk.stores],
                await desk.figures.read(),
                await desk.moves.counts(),
                await desk.nodes.listed(),
                await desk.replication.lags(),
                slowest(worker.paths for worker in self._context.status.node().workers),
                desk.scheduler.now,
                await desk.scheduler.doubted_since(),
            )
        )

    # -- policies ---------------------------------------------------------------------------------------------------------------
    async def policies(self, _: Request) -> Answer:
        return json_answer(await self._desk.policies.policies())

    async def add(self, request: Request) -> Answer:
        return json_answer(await self._write(request, None), 201)

    async def replace(self, request: Request) -> Answer:
        return json_answer(await self._write(request, _number(request, "policy")))

    async def _write(self, request: Request, number: int | None) -> Policy:
        asked = await request.json(PolicyText)
        self._check(asked.rule)
        policy = await self._desk.policies.write(
            number, name=asked.name, enabled=asked.enabled, priority=asked.priority, rule=asked.rule,
            by=request.actor.who,
        )  # fmt: skip
        if policy is None:
            raise NotFound
        change = "created" if number is None else "changed"
        await self._audit.settings_changed(
            request.actor, "lifecycle policy", name=policy.name, change=change, enabled=int(policy.enabled),
            action=policy.rule.action,
        )  # fmt: skip
        return policy

    async def remove(self, request: Request) -> Answer:
        policy = await self._desk.policies.remove(_number(request, "policy"))
        if policy is None:
            raise NotFound
        await self._audit.settings_changed(
            request.actor, "lifecycle policy", name=policy.name, change="deleted"
        )
        return Answer(204)

    async def runs(self, request: Request) -> Answer:
        return json_answer(await self._desk.policies.runs(_number(request, "policy")))

    async def preview(self, request: Request) -> Answer:
        rule = await request.json(Rule)
        self._check(rule)
        desk = self._desk
        return json_answer(await desk.policies.preview(rule, desk.scheduler.now, _SOME, request.who.scope))

    async def run(self, request: Request) -> Answer:
        await self._audit.settings_changed(request.actor, "lifecycle policies", change="asked")
        await self._desk.scheduler.run_once()
        return Answer(202)

    async def confirm_clock(self, request: Request) -> Answer:
        await self._audit.settings_changed(
            request.actor, "clock", change="confirmed", at=datetime.now(UTC).isoformat()
        )
        await self._desk.scheduler.believe()
        return Answer(204)

    def _check(self, rule: Rule) -> None:
        if found := problems(rule, self._desk.tiers):
            raise BadRequest(f"The rule cannot be had: {'; '.join(found)}.", 422)

    # -- moves ------------------------------------------------------------------------------------------------------------------
    async def moves(self, request: Request) -> Answer:
        text = request.parameter("state")
        states = text.split(",") if text else OPEN
        if unknown := set(states) - set(STATES):
            raise BadRequest(f"There is no state {sorted(unknown)[0]!r:.70}.")
        limit = limit_of(request)
        found = await self._desk.moves.listed(states, before=cursor_of(request, int), most=limit)
        more = found[-1].id if len(found) == limit else None
        seen = await self._seen(request, (one.study_instance_uid for one in found))
        shown = [one for one in found if one.study_instance_uid in seen]
        return json_answer(MovePage(shown, cursor_text(more)))

    async def _seen(self, request: Request, studies: Iterable[str]) -> Container[str]:
        """Who does not see every study is told of those that they see."""
        asked = set(studies)
        scope = request.who.scope
        return asked if scope.everything else await self._desk.policies.seen(asked, scope)

    async def move(self, request: Request) -> Answer:
        asked = await request.json(NewMove)
        places = {"", ONLINE, *self._desk.tiers}
        for store in (asked.from_store, asked.to_store):
            if store not in places:
                raise BadRequest(f"There is no store {store}.", 422)
        if asked.from_store == asked.to_store:
            raise BadRequest("From where, or to where?", 422)
        if asked.to_store == ONLINE and asked.from_store:
            raise BadRequest("A recall leaves the copies where they are: it has no from_store.", 422)
        if not is_uid(asked.study_instance_uid):
            raise BadRequest("That is no Study Instance UID.", 422)
        if not await self._desk.policies.is_seen(asked.study_instance_uid, request.who.scope):
            raise NotFound
        return await order(
            self._context,
            request,
            Order(
                asked.study_instance_uid, asked.from_store, asked.to_store, "asked for", asked.form,
                request.actor.who, RECALL_PRIORITY,
            ),
        )  # fmt: skip

    async def holds(self, request: Request) -> Answer:
        found = await self._desk.policies.holds()
        seen = await self._seen(request, (one.study_instance_uid for one in found))
        return json_answer([one for one in found if one.study_instance_uid in seen])

    async def cancel(self, request: Request) -> Answer:
        move = await self._desk.moves.cancel(_number(request, "move"))
        if move is None:
            raise NotFound
        await self._audit.storage_asked(request.actor, "cancel", move.study_instance_uid)
        return json_answer(move)


async def order(context: WebContext, request: Request, wanted: Order) -> Answer:
    """Have a study moved, and say so to the audit. raises: NotFound"""
    desk, study = context.archive.lifecycle, wanted.study_instance_uid
    if not (await desk.copies.sizes(study))[0]:
        raise NotFound
    await desk.moves.order([wanted])
    desk.look()
    await context.archive.audit.storage_asked(
        request.actor, "move", study, from_store=wanted.from_store, to_store=wanted.to_store
    )
    return json_answer((await desk.moves.listed(STATES, before=None, most=1, study=study))[0], 202)


def _number(request: Request, name: str) -> int:
    text = request.values[name]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound
    return int(text)
