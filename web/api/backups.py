"""Backups: those that were made, and having one made now."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final, Literal

from msgspec import Struct

from pacs_actors.audit.trail import Restore, Trail
from pacs_actors.lifecycle.backup import book
from pacs_actors.lifecycle.backup.book import Backup
from pacs_actors.people.rights import Action
from protocols.errors import Refusal
from web.api.paging import page_query
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import Request
from web.http.routes import Route

_PATH: Final = "/api/v1/backups"
_COLUMNS: Final = Backup.__struct_fields__


class NewBackup(Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["full", "incremental", "differential"] = "incremental"


class BackupPage(Struct, frozen=True):
    items: list[Backup]
    next: str | None
    total: int
    total_exact: bool


class Schedule(Struct, frozen=True):
    """When backups are made by themselves.

    place:  where; None: they are not made, and nothing else here means anything
    next_at, next_kind: of the next one; a moment that has passed: it is about to be made
    keep_full: so many full ones stay, with what builds on them; 0: all
    restored: when this archive was made out of a backup; None: it never was
    """

    place: str | None
    full_every_days: float
    incremental_every_h: float
    keep_full: int
    encrypted: bool
    next_at: datetime | None
    next_kind: Literal["full", "incremental"] | None
    restored: Restore | None


class NoPlace(Refusal):
    """409: the server does not know where to."""

    def __init__(self) -> None:
        super().__init__(
            "There is no place for backups: set backup.to.", dimse_status=0x0110, http_status=409
        )


def routes(context: WebContext) -> list[Route]:
    return [
        Route(
            method="GET", path=_PATH, access=Action.SYSTEM_READ, handler=partial(_list, context),
            summary="Backups that were made, are being made or wait, newest first", query=page_query(_COLUMNS),
            answer=BackupPage, tag="system",
        ),
        Route(
            method="GET", path=f"{_PATH}/schedule", access=Action.SYSTEM_READ, handler=partial(_schedule, context),
            summary="When backups are made by themselves", answer=Schedule, tag="system",
        ),
        Route(
            method="POST", path=_PATH, access=Action.STORAGE_WRITE, handler=partial(_ask, context),
            summary="Have a backup made now; a full one if there is none to build on", body=NewBackup, answer=Backup,
            status=202, tag="system",
        ),
    ]  # fmt: skip


async def _list(context: WebContext, request: Request) -> Answer:
    rows = await context.archive.catalogue.database.run(book.listed)
    return whole_list(request, "backups", rows, _COLUMNS, "-id")


async def _schedule(context: WebContext, _: Request) -> Answer:
    of = context.settings.backup
    due = await context.archive.catalogue.database.run(
        partial(book.next_due, full_every_days=of.full_every_days, incremental_every_h=of.incremental_every_h)
    )
    kind, at = due if of.to is not None else (None, None)
    return json_answer(
        Schedule(
            of.to, of.full_every_days, of.incremental_every_h, of.keep_full, of.key_file is not None, at, kind,
            await Trail(context.archive.catalogue.database).last_restore(),
        )
    )  # fmt: skip


async def _ask(context: WebContext, request: Request) -> Answer:
    wanted = await request.json(NewBackup)
    if context.settings.backup.to is None:
        raise NoPlace
    asked = await context.archive.catalogue.database.run(
        partial(book.ask, kind=wanted.kind, by=request.who.name)
    )
    await context.archive.audit.exported(request.actor, (), what="backup", kind=asked.kind, backup=asked.id)
    return json_answer(asked, 202)
