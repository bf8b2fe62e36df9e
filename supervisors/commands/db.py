"""``pacs-actors db``: bring the index database to this program's schema, or say how far it is."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from supervisors.options import Commands, add_json_option, add_settings_options, print_json, settings_from

if TYPE_CHECKING:
    import asyncpg

    from pacs_actors.migrations import MigrationStatus

    Unit = Callable[[asyncpg.Connection[Any]], Awaitable[list[MigrationStatus]]]


def register(commands: Commands) -> None:
    parser = commands.add_parser("db", help="migrate the index database")
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, parser_class=type(parser)
    )
    migrate = actions.add_parser("migrate", help="apply the migrations that are missing (serve does it, too)")
    status = actions.add_parser("status", help="list the migrations")
    for action, run in ((migrate, run_migrate), (status, run_status)):
        add_json_option(action)
        action.later = add_settings_options
        action.set_defaults(run=run)


def run_migrate(arguments: argparse.Namespace) -> int:
    from pacs_actors.migrations import migrate

    applied = _with_connection(arguments, migrate)
    if arguments.json:
        print_json({"applied": [_facts(each) for each in applied]})
    else:
        print("\n".join(f"applied {each.version:04} {each.name}" for each in applied) or "Nothing to do.")
    return 0


def run_status(arguments: argparse.Namespace) -> int:
    from pacs_actors.migrations import status

    known = _with_connection(arguments, status)
    if arguments.json:
        print_json({"migrations": [_facts(each) for each in known]})
    else:
        for each in known:
            when = f"{each.applied_at:%Y-%m-%d %H:%M:%S} UTC" if each.applied_at is not None else "pending"
            print(f"{each.version:04} {each.name:30} {when}")
    return 0


def _with_connection(arguments: argparse.Namespace, unit: Unit) -> list[MigrationStatus]:
    settings = settings_from(arguments)
    import trio

    from pacs_actors.operations import logs
    from supervisors.database_access import on_connection

    logs.configure("error", "db")
    return trio.run(on_connection, settings, unit)


def _facts(each: MigrationStatus) -> dict[str, Any]:
    return {"version": each.version, "name": each.name, "applied_at": each.applied_at}
