"""The integrity of what is stored: scrubs and reconciliations, under way and past, what they found, and having one begun now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from pacs_actors.lifecycle.integrity_book import Finding, IntegrityBook
from pacs_actors.lifecycle.integrity_runs import IntegrityRuns, Run
from pacs_actors.people.rights import Action
from web.api.paging import page_query
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import Request
from web.http.routes import Parameter, Route

_PATH: Final = "/api/v1/integrity"
_COLUMNS: Final = (
    "id",
    "found_at",
    "seen_at",
    "kind",
    "sop_instance_uid",
    "subject",
    "found_by",
    "settled_at",
    "settled",
)


class Runs(Struct, frozen=True):
    """running: the one under way; last: the last one that ended; next_at: when the next begins by itself"""

    running: Run | None
    last: Run | None
    next_at: datetime | None = None


class Integrity(Struct, frozen=True):
    """findings: what is not as it should be, by kind"""

    scrub: Runs
    reconcile: Runs
    findings: dict[str, int]


class FindingPage(Struct, frozen=True):
    items: list[Finding]
    next: str | None
    total: int
    total_exact: bool


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """fix: what is safe to fix"""

    fix: bool = False


class IntegrityDesk:
    def __init__(self, context: WebContext) -> None:
        self.context = context
        database, node = context.archive.catalogue.database, context.settings.server.node
        self.book, self.runs = IntegrityBook(database, node), IntegrityRuns(database, node)

    async def state(self, _: Request) -> Answer:
        scrub, reconcile = await self.runs.runs("scrub"), await self.runs.runs("reconcile")
        found = Integrity(Runs(*scrub, self._next_scrub(*scrub)), Runs(*reconcile), await self.book.counts())
        return json_answer(found)

    def _next_scrub(self, running: Run | None, last: Run | None) -> datetime | None:
        days = self.context.book.current.integrity.cycle_days
        if running is not None or last is None or days == 0:
            return None
        return max(last.began_at + timedelta(days=days), last.ended_at or last.began_at)

    async def findings(self, request: Request) -> Answer:
        settled = request.parameter("settled") == "true"
        found = await self.book.listed(request.who.scope, settled=settled)
        return whole_list(request, "integrity", found, _COLUMNS, "-id")

    async def scrub(self, request: Request) -> Answer:
        return json_answer(await self.runs.ask("scrub", request.actor), 202)

    async def reconcile(self, request: Request) -> Answer:
        wanted = await request.json(Wanted)
        return json_answer(await self.runs.ask("reconcile", request.actor, fix=wanted.fix), 202)


def routes(context: WebContext) -> list[Route]:
    desk = IntegrityDesk(context)
    return [
        Route(
            method="GET", path=_PATH, access=Action.SYSTEM_READ, handler=desk.state, tag="system",
            summary="Scrubs and reconciliations, under way and past", answer=Integrity,
        ),
        Route(
            method="GET", path=f"{_PATH}/findings", access=Action.SYSTEM_READ, handler=desk.findings, tag="system",
            summary="What is not as it should be, newest first", answer=FindingPage,
            query={"settled": Parameter("true: what was found and is settled instead"), **page_query(_COLUMNS)},
        ),
        Route(
            method="POST", path=f"{_PATH}/scrub", access=Action.STORAGE_WRITE, handler=desk.scrub, tag="system",
            summary="Have every object read and compared now; the scrub that is under way if there is one", answer=Run,
            status=202,
        ),
        Route(
            method="POST", path=f"{_PATH}/reconcile", access=Action.STORAGE_WRITE, handler=desk.reconcile, tag="system",
            summary="Have objects and index held against each other now, or told of the one under way", body=Wanted,
            answer=Run, status=202,
        ),
    ]  # fmt: skip
