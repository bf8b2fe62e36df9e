"""Settings: all to read, secrets hidden; those that may change while the server runs, to change."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct

from config.keys import keys
from config.live import LIVE, checked, value_of, with_overrides
from config.secrets import shown
from pacs_actors.people.rights import Action
from pacs_actors.settings_book import SettingsBook
from protocols.errors import ConfigError
from web.api.paging import page_query
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Route

_PATH: Final = "/api/v1/settings"
_COLUMNS: Final = ("key", "source", "live", "kind", "description")


class Setting(Struct, frozen=True):
    """value:      in force
    kind:       what may be given: "integer, 1 to 64", "list of text"…
    live:       can be changed while the server runs
    source:     default, the settings file, a variable, a flag, or "changed here", which only variables and flags win over
    fixed_by:   the variable or flag that a change cannot win over
    changed_by, changed_at:  who has changed it here
    """

    key: str
    value: Any
    default: Any
    description: str
    kind: str
    live: bool
    source: str
    fixed_by: str | None = None
    changed_by: str | None = None
    changed_at: datetime | None = None


class SettingPage(Struct, frozen=True):
    items: list[Setting]
    next: str | None
    total: int
    total_exact: bool


class NewValue(Struct, frozen=True, forbid_unknown_fields=True):
    value: bool | int | float | str | list[str] | None


def routes(context: WebContext) -> list[Route]:
    return [
        Route(
            method="GET", path=_PATH, access=Action.SETTINGS_READ, handler=partial(_list, context.book),
            summary="Every setting, its value and where that comes from", query=page_query(_COLUMNS),
            answer=SettingPage,
        ),
        Route(
            method="PUT", path=f"{_PATH}/{{key}}", access=Action.SETTINGS_WRITE, handler=partial(_change, context),
            summary="Change a setting, on all workers within seconds", body=NewValue, answer=Setting,
        ),
        Route(
            method="DELETE", path=f"{_PATH}/{{key}}", access=Action.SETTINGS_WRITE,
            handler=partial(_take_back, context), summary="Take a change of a setting back", answer=Setting,
        ),
    ]  # fmt: skip


async def _list(book: SettingsBook, request: Request) -> Answer:
    return whole_list(request, "settings", [_setting(book, key) for key in keys()], _COLUMNS)


async def _change(context: WebContext, request: Request) -> Answer:
    book, key = context.book, _known(request)
    if key not in LIVE:
        raise BadRequest(f"{key} is read at the start only: change it in the settings file.", 409)
    if (origin := book.fixed_by(key)) is not None:
        raise BadRequest(f"{key} is set by {origin}, which wins over a change here.", 409)
    raw = await request.json(NewValue)
    try:
        value = checked(key, raw.value)
        with_overrides(book.current, {key: value})  # also what must hold between settings
    except ConfigError as mistake:
        raise BadRequest(str(mistake).removesuffix(" (change)")) from None
    before = value_of(book.current, key)
    await book.put(key, value, request.who.name)
    await _tell(context, request, key, before)
    return json_answer(_setting(book, key))


async def _take_back(context: WebContext, request: Request) -> Answer:
    book, key = context.book, _known(request)
    before = value_of(book.current, key)
    if not await book.remove(key):
        raise NotFound("This setting was not changed here.")
    await _tell(context, request, key, before)
    return json_answer(_setting(book, key))


async def _tell(context: WebContext, request: Request, key: str, before: Any) -> None:
    after = value_of(context.book.current, key)
    await context.archive.audit.settings_changed(
        request.actor, key, before=_text(key, before), after=_text(key, after)
    )


def _known(request: Request) -> str:
    """raises: NotFound"""
    key = request.values["key"]
    if key not in keys():
        raise NotFound("There is no such setting.")
    return key


def _text(key: str, value: Any) -> str:
    return msgspec.json.encode(shown(key, value)).decode()[:256]


def _setting(book: SettingsBook, path: str) -> Setting:
    key, override = keys()[path], book.overrides.get(path)
    return Setting(
        path,
        shown(path, value_of(book.current, path)),
        shown(path, key.default),
        key.description,
        key.kind,
        path in LIVE,
        book.source(path),
        book.fixed_by(path),
        None if override is None else override.changed_by,
        None if override is None else override.changed_at,
    )
