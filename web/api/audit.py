"""The audit: searched, verified, exported; and what happened to one study.

Who may not see every study reads what happened to those that they may see; that the chain is whole everybody may know.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.archive.study_list import StudyList
from pacs_actors.audit import anchors, events
from pacs_actors.audit.chain import Link, Verifier
from pacs_actors.audit.dicom_xml import Source
from pacs_actors.audit.export import FORMATS, Format, format_of
from pacs_actors.audit.matching import SORTS, Listing
from pacs_actors.audit.trail import Trail
from pacs_actors.people.rights import Action
from protocols.messages.audit import AuditQuery, AuditRow
from web.api.paging import csv_of_pages, cursor_text, limit_of, page_query, place_of, sort_of, wants_csv
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Parameter, Route

_PATH: Final = "/api/v1/audit"
_OUTCOMES: Final = ("success", "warning", "failure", "refused")
_MOMENT: Final = {"type": "string", "format": "date-time"}
_FILTERS: Final = {
    "from": Parameter("From this moment on (RFC 3339)", _MOMENT),
    "to": Parameter("Before this moment", _MOMENT),
    "event": Parameter(
        "What happened; may be repeated", {"type": "string", "enum": list(events.ALL)}, repeated=True
    ),
    "outcome": Parameter("May be repeated", {"type": "string", "enum": list(_OUTCOMES)}, repeated=True),
    "who": Parameter("User name or AE title"),
    "via": Parameter("What they were known by: ae, session, token, link, process, command"),
    "address": Parameter("Where they came from"),
    "patient_id": Parameter("Patient ID"),
    "uid": Parameter("Of a study, series or instance"),
    "q": Parameter("Anywhere in who, address, patient_id, event or details"),
}
_PAGE: Final = page_query(SORTS)
_MOST_TEXT: Final = 256
_BLOCK: Final = 1000
_OFFSET: Final = re.compile(r" (?=\d\d:\d\d$)")


class AuditList(Struct, frozen=True):
    """next: cursor of the next page. total: at least so many, if not total_exact"""

    items: list[AuditRow]
    next: str | None
    total: int
    total_exact: bool


class Damage(Struct, frozen=True):
    row: int
    what: str


class Verdict(Struct, frozen=True):
    """ok:       nothing was changed, removed, moved or cut off
    events:   rows that were looked at; anchors: notes outside of the database that they were held against
    first_bad, why:  the first finding; findings: the first 50
    """

    ok: bool
    events: int
    anchors: int
    first_bad: int | None
    why: str
    findings: list[Damage]


class AuditDesk:
    def __init__(self, context: WebContext) -> None:
        self.context, self.audit = context, context.archive.audit
        database = context.archive.catalogue.database
        self.trail, self.studies = Trail(database), StudyList(database)
        self._anchors = anchors.file_of(Path(context.settings.server.data))
        self._verifying = trio.Lock()

    async def search(self, request: Request) -> Answer:
        return await self._list(request, _query_of(request), "search")

    async def of_study(self, request: Request) -> Answer:
        study = request.values["study"]
        if await self.studies.study(study, request.who.scope) is None and not request.who.scope.everything:
            raise NotFound("There is no such study.")
        return await self._list(request, AuditQuery(uid=study[:64]), "search", study=study[:64])

    async def verify(self, request: Request) -> Answer:
        """The rows in blocks; a native thread computes their hashes."""
        if self._verifying.locked():
            raise BadRequest("The audit is being verified already.", 409)
        async with self._verifying:
            # Before the rows: an anchor that is younger than what we see of the rows would look like a cut.
            known, _ = await trio.to_thread.run_sync(anchors.read, self._anchors)
            verifier, end = Verifier(known), (await self.trail.head())[0]
            while verifier.last_id < end:
                block = await self.trail.links_after(verifier.last_id, _BLOCK)
                if not block:
                    break
                await trio.to_thread.run_sync(_feed, verifier, block)
            verifier.finish()
        await self.audit.audit_read(request.actor, "verify", rows=verifier.rows, findings=verifier.found)
        first = verifier.findings[0] if verifier.findings else None
        if first is not None:
            await self.audit.audit_damaged(f"row {first.row}: {first.what}")
        return json_answer(
            Verdict(
                first is None, verifier.rows, verifier.anchors, None if first is None else first.row,
                "" if first is None else first.what, [Damage(each.row, each.what) for each in verifier.findings],
            )
        )  # fmt: skip

    async def export(self, request: Request) -> Answer:
        name = request.parameter("format", "csv")
        if name not in FORMATS:
            raise BadRequest(f"format is one of {', '.join(FORMATS)}.")
        settings = self.context.settings
        asked = Listing(query=_query_of(request), scope=request.who.scope, descending=False)
        aet = settings.dicom.ae_title
        form = format_of(name, Source(settings.audit.source_id or aet, aet, socket.gethostname()))
        await self.audit.audit_read(request.actor, "export", format=name)
        headers = (
            ("content-type", form.media_type),
            ("content-disposition", f'attachment; filename="audit.{name}"'),
        )
        return Answer(200, headers, self._exported(form, asked))

    async def _exported(self, form: Format, asked: Listing) -> AsyncGenerator[bytes, None]:
        yield form.head
        async with aclosing(self.trail.pages(asked, _BLOCK)) as pages:
            async for rows in pages:
                yield await trio.to_thread.run_sync(_written, form, rows)
        yield form.tail

    async def _list(self, request: Request, query: AuditQuery, how: str, **details: str) -> Answer:
        """A page, or as CSV all of it."""
        sort, descending = sort_of(request, SORTS, "-id")
        after = place_of(request, SORTS[sort][1])
        asked = Listing(
            query=query, scope=request.who.scope, sort=sort, descending=descending, after=after
        )  # fmt: skip
        if wants_csv(request):
            await self.audit.audit_read(request.actor, how, format="csv", **details)
            return await csv_of_pages("audit", AuditRow, self.trail.pages(asked, _BLOCK))
        found = await self.trail.search(asked, limit=limit_of(request), count=after is None)
        await self.audit.audit_read(request.actor, how, rows=len(found.rows), **details)
        exact = not found.capped and after is None
        return json_answer(AuditList(list(found.rows), cursor_text(found.after), found.total, exact))


def _feed(verifier: Verifier, block: list[Link]) -> None:
    for link in block:
        verifier.feed(link)


def _written(form: Format, rows: Sequence[AuditRow]) -> bytes:
    return b"".join(map(form.row, rows))


def _query_of(request: Request) -> AuditQuery:
    """raises: BadRequest"""
    texts = {
        name: request.parameter(name).replace("\0", "")
        for name in ("who", "via", "address", "patient_id", "uid", "q")
    }
    if any(len(text) > _MOST_TEXT for text in texts.values()):
        raise BadRequest(f"A filter has at most {_MOST_TEXT} characters.")
    text = texts.pop("q")
    return AuditQuery(
        since=_moment(request, "from"),
        until=_moment(request, "to"),
        events=_listed(request, "event", events.ALL),
        outcomes=_listed(request, "outcome", _OUTCOMES),
        text=text,
        **texts,
    )


def _listed(request: Request, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    given = tuple(dict.fromkeys(value for key, value in request.query if key == name and value))
    if unknown := [value for value in given if value not in known]:
        raise BadRequest(f"{name} is one of {', '.join(known)}, not {unknown[0][:64]!r}.")
    return given


def _moment(request: Request, name: str) -> datetime | None:
    text = _OFFSET.sub("+", request.parameter(name))  # a + that was not encoded arrives as a space
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        utc = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"{name} is a moment as RFC 3339 writes it.") from None
    if moment.tzinfo is None:
        raise BadRequest(f"{name} needs a time zone, such as Z.")
    return utc


def routes(context: WebContext) -> list[Route]:
    desk = AuditDesk(context)
    export = {**_FILTERS, "format": Parameter("csv if not said", {"type": "string", "enum": list(FORMATS)})}
    return [
        Route(
            method="GET", path=_PATH, access=Action.AUDIT_READ, handler=desk.search,
            summary="The audit, newest first unless sorted; as CSV all of it", query={**_FILTERS, **_PAGE}, answer=AuditList,
        ),
        Route(
            method="GET", path=f"{_PATH}/verify", access=Action.AUDIT_READ, handler=desk.verify,
            summary="Whether anything in the audit was changed: every row is looked at", answer=Verdict,
        ),
        Route(
            method="GET", path=f"{_PATH}/export", access=Action.AUDIT_READ, handler=desk.export,
            summary="The audit as PS3.15 A.5 XML, JSON lines or CSV, oldest first", query=export,
            media=("application/xml", "application/jsonl", "text/csv"),
        ),
        Route(
            method="GET", path="/api/v1/studies/{study}/audit", access=Action.STUDY_AUDIT, handler=desk.of_study,
            summary="What happened to a study, newest first unless sorted", query=_PAGE, answer=AuditList, objects=True,
        ),
    ]  # fmt: skip
