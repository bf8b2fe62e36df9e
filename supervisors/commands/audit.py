"""``pacs-actors audit``: verify the chain of the audit, search in it, write it to a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from supervisors.options import (
    CommandParser,
    Commands,
    add_json_option,
    add_settings_options,
    print_json,
    settings_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import asyncpg

    from config.settings import Settings
    from pacs_actors.audit.chain import Verifier
    from protocols.messages.audit import AuditQuery, AuditRow

    Unit = Callable[[asyncpg.Connection[Any]], Awaitable[Any]]

_SHOWN = 50


def register(commands: Commands) -> None:
    parser = commands.add_parser("audit", help="verify, search or export the audit")
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, parser_class=type(parser)
    )
    verify = actions.add_parser(
        "verify",
        help="find out whether anything in the audit was changed",
        description="Compute the hash of every row again, and hold the chain against its anchors (DATA/audit/anchors.jsonl): finds "
        "what was changed, removed, moved, put in between or cut off. Exit code 1 if anything was.",
    )
    search = actions.add_parser("search", help="show rows, newest first")
    search.add_argument("-n", "--most", type=int, default=_SHOWN, metavar="N", help="how many (default: 50)")
    export = actions.add_parser("export", help="write rows to a file, oldest first")
    export.add_argument("--format", choices=("xml", "jsonl", "csv"), default="xml", help="xml: PS3.15 A.5")
    export.add_argument("-o", "--output", default="-", metavar="FILE", help="default: standard output")
    for action in (search, export):
        _add_filters(action)
    for action, run in ((verify, run_verify), (search, run_search), (export, run_export)):
        if action is not export:
            add_json_option(action)
        action.later = add_settings_options
        action.set_defaults(run=run)


def run_verify(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    from pacs_actors.audit import anchors
    from pacs_actors.audit.chain import Verifier
    from pacs_actors.audit.trail import links
    from protocols.errors import Unavailable

    # Before the rows: an anchor that is younger than what we see of the rows would look like a cut.
    file = anchors.file_of(Path(settings.server.data))
    try:
        known, unreadable = anchors.read(file)
    except OSError as error:
        raise Unavailable(f"cannot read {file}: {error.strerror}") from error
    verifier = Verifier(known)

    async def unit(connection: asyncpg.Connection[Any]) -> None:
        async for link in links(connection):
            verifier.feed(link)
        verifier.finish()

    _with_connection(settings, unit)
    if arguments.json:
        print_json(_facts(verifier, unreadable))
    else:
        _tell(verifier, unreadable)
    return 1 if verifier.found else 0


def run_search(arguments: argparse.Namespace) -> int:
    settings, query = settings_from(arguments), _query(arguments)
    found: list[AuditRow] = []

    async def unit(connection: asyncpg.Connection[Any]) -> None:
        from pacs_actors.audit.trail import rows

        await _note(connection, "search")
        async for row in rows(connection, query, newest=max(1, arguments.most)):
            found.append(row)

    _with_connection(settings, unit)
    if arguments.json:
        from msgspec import to_builtins

        print_json([to_builtins(row) for row in found])
    else:
        for row in found:
            print(_line(row))
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    settings, query = settings_from(arguments), _query(arguments)
    import socket

    from pacs_actors.audit.dicom_xml import Source
    from pacs_actors.audit.export import format_of

    aet = settings.dicom.ae_title
    wanted = format_of(arguments.format, Source(settings.audit.source_id or aet, aet, socket.gethostname()))
    written = 0

    async def unit(connection: asyncpg.Connection[Any]) -> None:
        nonlocal written
        from pacs_actors.audit.trail import rows

        await _note(connection, "export")
        with _output(arguments.output) as file:
            file.write(wanted.head)
            async for row in rows(connection, query):
                file.write(wanted.row(row))
                written += 1
            file.write(wanted.tail)

    _with_connection(settings, unit)
    print(f"{written:,} rows", file=sys.stderr)
    return 0


def _add_filters(parser: CommandParser) -> None:
    filters = parser.add_argument_group("which rows")
    filters.add_argument("--from", dest="since", metavar="TIME", help="ISO 8601; without offset: UTC")
    filters.add_argument("--to", dest="until", metavar="TIME", help="before this time")
    filters.add_argument(
        "--event", action="append", default=[], help="login, store, viewed…; repeat for more"
    )
    filters.add_argument(
        "--outcome", action="append", default=[], choices=("success", "warning", "failure", "refused")
    )
    filters.add_argument("--who", default="", help="user or AE title")
    filters.add_argument("--address", default="", help="where they came from")
    filters.add_argument("--patient-id", default="", metavar="ID")
    filters.add_argument("--uid", default="", help="of a study, series or instance")
    filters.add_argument("--text", default="", help="anywhere in the row")


def _query(arguments: argparse.Namespace) -> AuditQuery:
    from protocols.messages.audit import AuditQuery

    return AuditQuery(
        since=_moment("--from", arguments.since),
        until=_moment("--to", arguments.until),
        events=tuple(arguments.event),
        outcomes=tuple(arguments.outcome),
        who=arguments.who,
        address=arguments.address,
        patient_id=arguments.patient_id,
        uid=arguments.uid,
        text=arguments.text,
    )


def _moment(option: str, text: str | None) -> datetime | None:
    from datetime import UTC, datetime

    from protocols.errors import ConfigError

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option}: expected a time like 2026-01-31T08:00, not {text!r}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


async def _note(connection: asyncpg.Connection[Any], how: str) -> None:
    """Who reads the audit is in the audit."""
    import getpass

    from pacs_actors.audit import events, trail
    from pacs_actors.audit.audit import made
    from protocols.messages.audit import Actor

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = "unknown"
    await trail.append(connection, made(events.AUDIT_READ, Actor(user, "command"), {"how": how}))


def _with_connection(settings: Settings, unit: Unit) -> None:
    import trio

    from pacs_actors.operations import logs
    from supervisors.data_folder import with_database
    from supervisors.database_access import on_connection

    logs.configure("error", "audit")
    with_database(settings)
    trio.run(on_connection, settings, unit)


@contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    """The file is there whole or not at all."""
    from protocols.errors import Unavailable

    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = Path(f"{name}.part")
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(name)
    except OSError as error:
        raise Unavailable(f"cannot write {name}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _facts(verifier: Verifier, unreadable: list[int]) -> dict[str, Any]:
    return {
        "whole": not verifier.found,
        "rows": verifier.rows,
        "anchors": verifier.anchors,
        "last": {"row": verifier.last_id, "hash": verifier.last_hash.hex()},
        "found": verifier.found,
        "findings": [{"row": each.row, "what": each.what} for each in verifier.findings],
        "unreadable_anchor_lines": unreadable,
    }


def _tell(verifier: Verifier, unreadable: list[int]) -> None:
    for each in verifier.findings:
        print(f"row {each.row}: {each.what}")
    if verifier.found > len(verifier.findings):
        print(f"and {verifier.found - len(verifier.findings):,} more")
    if unreadable:
        print(f"{len(unreadable)} lines of anchors.jsonl cannot be read, the first is line {unreadable[0]}")
    if not verifier.anchors:
        print("there are no anchors: rows that were cut off at the end would not be missed")
    state = f"{verifier.found:,} findings" if verifier.found else "nothing was changed"
    print(f"{verifier.rows:,} rows, {verifier.anchors:,} anchors: {state}")


def _line(row: AuditRow) -> str:
    details = " ".join(f"{key}={value}" for key, value in row.details.items())
    facts = (row.address, row.patient_id and f"patient={row.patient_id}", *row.uids[:3], details)
    text = " ".join(
        (
            f"{row.id:>8} {row.at:%Y-%m-%d %H:%M:%S} {row.event:16} {row.outcome:8} {row.who:16}",
            *filter(None, facts),
        )
    )
    # A peer chose part of this: no control character of it reaches the terminal.
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
