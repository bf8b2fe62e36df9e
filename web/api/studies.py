"""Studies as people look at them: the list, one study with its series, a series' instances."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct, structs

from pacs_actors.archive.progress import wait_until_indexed
from pacs_actors.archive.study_contents import SeriesRow, StudyContents
from pacs_actors.archive.study_list import SORTS, ListedStudy, StudyFilter, StudyList
from pacs_actors.people.rights import Action
from protocols.errors import Unavailable
from protocols.uid_names import name_of
from web.api.paging import (
    PAGE_QUERY,
    csv_of_list,
    cursor_of,
    cursor_text,
    limit_of,
    page_query,
    place_of,
    sort_of,
    wants_csv,
)
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Parameter, Route

_TEXTS: Final = {
    "patient_name": "Any component group, whatever case and accents",
    "patient_id": "Patient ID",
    "accession_number": "Accession number",
    "study_description": "Study description",
    "referring_physician_name": "Referring physician",
    "institution": "Institution of one of its series",
    "source": "AE title or user that sent it",
    "patient_sex": "M, F or O",
    "study_date": "Day or range: 20240101, 20240101-20240131, 20240101-",
    "patient_birth_date": "Day or range",
    "study_instance_uid": "Exactly this study",
}
_FILTERS: Final[Mapping[str, str | Parameter]] = {
    **_TEXTS,
    "modality": Parameter("One of the study's modalities; may be repeated", example="CT", repeated=True),
    "availability": Parameter(
        "How quickly it can be had; may be repeated", example="NEARLINE", repeated=True
    ),
    "received": "When it began to arrive: from/to, either may be left out",
    "q": "Anywhere in name, Patient ID, accession number or description",
}
_MOST_OFFSET: Final = 10_000_000
_MOST_VALUES: Final = 64


class StudyPage(Struct, frozen=True):
    """next: cursor of the next page. total: at least so many, if not total_exact"""

    items: list[ListedStudy]
    next: str | None
    total: int
    total_exact: bool


class Study(ListedStudy, frozen=True):
    series: list[SeriesRow]


class Instance(Struct, frozen=True):
    """size_bytes: of the Part 10 file"""

    sop_instance_uid: str
    sop_class_uid: str
    sop_class_name: str
    transfer_syntax_uid: str
    transfer_syntax_name: str
    instance_number: str
    rows: str
    columns: str
    number_of_frames: str
    size_bytes: int
    received_at: datetime
    source: str


class InstancePage(Struct, frozen=True):
    items: list[Instance]
    next: str | None
    total: int
    total_exact: bool


class Studies:
    def __init__(self, context: WebContext) -> None:
        self.context = context
        database = context.archive.catalogue.database
        self.list, self.contents = StudyList(database), StudyContents(database)

    async def search(self, request: Request) -> Answer:
        await caught_up(self.context)
        asked = _filter_of(request)
        keys: dict[str, str | int] = {
            "keys": ",".join(sorted({name for name, _ in request.query if name in _FILTERS}))
        }
        audit = self.context.archive.audit
        if wants_csv(request):
            return await csv_of_list(
                "studies", ListedStudy, self.list.page, asked,
                lambda rows: audit.queried(request.actor, "STUDY", {**keys, "format": "csv"}, rows, "success"),
            )  # fmt: skip
        page = await self.list.page(asked)
        await audit.queried(request.actor, "STUDY", keys, len(page.rows), "success")
        return json_answer(StudyPage(page.rows, cursor_text(page.after), page.total, page.total_exact))

    async def one(self, request: Request) -> Answer:
        await caught_up(self.context)
        uid, scope = request.values["study"], request.who.scope
        study = await self.list.study(uid, scope)
        if study is None:
            raise NotFound("There is no such study.")
        series = await self.contents.series(uid, scope)
        return json_answer(Study(**structs.asdict(study), series=series))

    async def instances(self, request: Request) -> Answer:
        limit = limit_of(request)
        offset: int = cursor_of(request, int) or 0
        if not 0 <= offset <= _MOST_OFFSET:
            raise BadRequest("The cursor is none of ours.")
        page = await self.contents.instances(
            request.values["study"], request.values["series"], request.who.scope, offset=offset, limit=limit
        )
        if page is None:
            raise NotFound("There is no such series.")
        items = [
            Instance(
                **structs.asdict(row),
                sop_class_name=name_of(row.sop_class_uid),
                transfer_syntax_name=name_of(row.transfer_syntax_uid),
            )
            for row in page.rows
        ]
        following = offset + len(items)
        after = following if items and following < page.total else None
        return json_answer(InstancePage(items, cursor_text(after), page.total, total_exact=True))


async def caught_up(context: WebContext) -> None:
    """What was stored before it was asked for is in the answer. raises: Unavailable"""
    if not await wait_until_indexed(context.archive.progress, within_s=context.settings.index.catch_up_s):
        raise Unavailable("The index has not caught up.")


def _filter_of(request: Request) -> StudyFilter:
    """raises: BadRequest"""
    texts: dict[str, Any] = {
        field: value
        for name, field in _FIELDS.items()
        if (value := request.parameter(name).replace("\0", "")) and len(value) <= 256
    }
    sort, descending = sort_of(request, SORTS, "-received_at")
    return StudyFilter(
        **texts,
        modalities=_all_of(request, "modality"),
        availabilities=_all_of(request, "availability"),
        received=_moments(request.parameter("received")),
        sort=sort,
        descending=descending,
        limit=limit_of(request),
        after=place_of(request, SORTS[sort][1]),
        scope=request.who.scope,
    )


def _all_of(request: Request, name: str) -> tuple[str, ...]:
    """What was said of a parameter that may be repeated, without NULs, which PostgreSQL does not take."""
    values = (value.replace("\0", "") for each, value in request.query if each == name)
    return tuple(value for value in values if value)[:_MOST_VALUES]


_FIELDS: Final = {**{name: name for name in _TEXTS}, "q": "anything"}


def _moments(text: str) -> tuple[datetime | None, datetime | None]:
    if not text:
        return None, None
    begin, _, end = text.partition("/")
    try:
        first, last = (datetime.fromisoformat(each) if each else None for each in (begin, end))
        for each in (first, last):
            if each is not None:
                each.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest("received is two moments as RFC 3339 writes them, with / between.") from None
    if any(each is not None and each.tzinfo is None for each in (first, last)):
        raise BadRequest("received needs a time zone, such as Z.")
    return first, last


def routes(context: WebContext) -> list[Route]:
    studies = Studies(context)
    return [
        Route(
            method="GET", path="/api/v1/studies", access=Action.SEARCH, handler=studies.search,
            summary="Studies, filtered and sorted", query={**_FILTERS, **page_query(SORTS)}, answer=StudyPage,
        ),
        Route(
            method="GET", path="/api/v1/studies/{study}", access=Action.SEARCH, handler=studies.one,
            summary="One study with its series", answer=Study, objects=True,
        ),
        Route(
            method="GET", path="/api/v1/studies/{study}/series/{series}/instances", access=Action.SEARCH,
            handler=studies.instances, summary="The instances of a series by their number",
            query={name: PAGE_QUERY[name] for name in ("limit", "cursor")}, answer=InstancePage, objects=True,
        ),
    ]  # fmt: skip
