"""Patients who have studies that the caller may see, and the studies of one."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from pacs_actors.archive.patient_list import SORTS, ListedPatient, PatientFilter, PatientList
from pacs_actors.archive.study_list import SORTS as STUDY_SORTS
from pacs_actors.archive.study_list import ListedStudy, StudyFilter, StudyList
from pacs_actors.people.rights import Action
from web.api.paging import csv_of_list, cursor_text, limit_of, page_query, place_of, sort_of, wants_csv
from web.api.studies import StudyPage, caught_up
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import NotFound, Request
from web.http.routes import Parameter, Route

_TEXTS: Final = {
    "patient_name": Parameter("Any component group, whatever case and accents"),
    "patient_id": Parameter("Patient ID"),
    "patient_birth_date": Parameter("Day or range: 19500101, 19500101-19591231"),
    "patient_sex": Parameter("M, F or O"),
}


class PatientPage(Struct, frozen=True):
    """next: cursor of the next page. total: at least so many, if not total_exact"""

    items: list[ListedPatient]
    next: str | None
    total: int
    total_exact: bool


class Patients:
    def __init__(self, context: WebContext) -> None:
        self.context = context
        database = context.archive.catalogue.database
        self.list, self.studies = PatientList(database), StudyList(database)

    async def search(self, request: Request) -> Answer:
        await caught_up(self.context)
        asked = _filter_of(request)
        keys: dict[str, str | int] = {
            "keys": ",".join(sorted({name for name, _ in request.query if name in _TEXTS}))
        }
        audit = self.context.archive.audit
        if wants_csv(request):
            return await csv_of_list(
                "patients", ListedPatient, self.list.page, asked,
                lambda rows: audit.queried(request.actor, "PATIENT", {**keys, "format": "csv"}, rows, "success"),
            )  # fmt: skip
        page = await self.list.page(asked)
        await audit.queried(request.actor, "PATIENT", keys, len(page.rows), "success")
        return json_answer(PatientPage(page.rows, cursor_text(page.after), page.total, page.total_exact))

    async def of_one(self, request: Request) -> Answer:
        number = request.values["patient"]
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise NotFound
        await caught_up(self.context)
        sort, descending = sort_of(request, STUDY_SORTS, "-received_at")
        asked = StudyFilter(
            patient=int(number), sort=sort, descending=descending, limit=limit_of(request),
            after=place_of(request, STUDY_SORTS[sort][1]), scope=request.who.scope,
        )  # fmt: skip
        audit = self.context.archive.audit

        async def counted(rows: int) -> None:
            if not rows:
                raise NotFound("There is no such patient.")
            await audit.queried(request.actor, "STUDY", {"keys": "patient", "format": "csv"}, rows, "success")

        if wants_csv(request):
            return await csv_of_list("studies", ListedStudy, self.studies.page, asked, counted)
        page = await self.studies.page(asked)
        if not page.total:
            raise NotFound("There is no such patient.")
        await audit.queried(request.actor, "STUDY", {"keys": "patient"}, len(page.rows), "success")
        return json_answer(StudyPage(page.rows, cursor_text(page.after), page.total, page.total_exact))


def _filter_of(request: Request) -> PatientFilter:
    """raises: BadRequest"""
    texts: dict[str, Any] = {
        name: value
        for name in _TEXTS
        if (value := request.parameter(name).replace("\0", "")) and len(value) <= 256
    }
    sort, descending = sort_of(request, SORTS, "-last_received_at")
    return PatientFilter(
        **texts, sort=sort, descending=descending, limit=limit_of(request),
        after=place_of(request, SORTS[sort][1]), scope=request.who.scope,
    )  # fmt: skip


def routes(context: WebContext) -> list[Route]:
    patients = Patients(context)
    return [
        Route(
            method="GET", path="/api/v1/patients", access=Action.SEARCH, handler=patients.search,
            summary="Patients, filtered and sorted", query={**_TEXTS, **page_query(SORTS)}, answer=PatientPage,
        ),
        Route(
            method="GET", path="/api/v1/patients/{patient}/studies", access=Action.SEARCH,
            handler=patients.of_one, summary="The studies of one patient",
            query=page_query(STUDY_SORTS), answer=StudyPage,
        ),
    ]  # fmt: skip
