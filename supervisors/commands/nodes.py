"""``pacs-actors nodes``: the nodes of an archive, and whose a number is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisors.options import (
    Commands,
    add_json_option,
    add_settings_options,
    print_json,
    settings_from,
    user_name,
)

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg


def register(commands: Commands) -> None:
    parser = commands.add_parser("nodes", help="the nodes that share the database")
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, parser_class=type(parser)
    )
    listed = actions.add_parser(
        "list", help="which there are, and when they were seen", description="List the nodes of the archive."
    )
    add_json_option(listed)
    listed.later = add_settings_options
    listed.set_defaults(run=run_list)
    adopt = actions.add_parser(
        "adopt",
        help="give this node's number to this data folder",
        description="Give server.node to server.data: after the folder was restored from a backup of the same node. Never for an "
        "empty folder: its objects would get the keys of those that are gone. Refused while the number's owner is alive.",
    )
    adopt.later = add_settings_options
    adopt.set_defaults(run=run_adopt)
    forget = actions.add_parser(
        "forget",
        help="go on without a node that is gone for good",
        description="Take a node out of the archive whose disk is lost: what has a copy in a store is served from there and "
        "brought back to the other nodes, what has none is listed (exit code 1) and marked as unavailable. Its number is never "
        "given again. Refused while it is alive.",
    )
    forget.add_argument("number", type=int, metavar="N", help="of the node")
    forget.add_argument(
        "--on-demand",
        action="store_true",
        help="bring studies back when somebody asks for them, not all at once",
    )
    add_json_option(forget)
    forget.later = add_settings_options
    forget.set_defaults(run=run_forget)


def run_list(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import trio

    from supervisors.data_folder import with_database
    from supervisors.database_access import on_connection

    async def unit(connection: asyncpg.Connection[Any]) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await connection.fetch(
            "SELECT node, folder, since, seen_at FROM archive_nodes WHERE forgotten_at IS NULL ORDER BY node"
        )
        return found

    with_database(settings)
    rows = trio.run(on_connection, settings, unit)
    if arguments.json:
        print_json(
            [
                {**row, "since": row["since"].isoformat(), "seen_at": row["seen_at"].isoformat()}
                for row in rows
            ]
        )
        return 0
    for row in rows:
        print(
            f"node {row['node']:2}  since {row['since']:%Y-%m-%d}  seen {row['seen_at']:%Y-%m-%d %H:%M:%S}  folder {row['folder']}"
        )
    return 0


def run_adopt(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import trio

    from pacs_actors.audit import events, trail
    from pacs_actors.audit.audit import made
    from pacs_actors.nodes import NumberTaken, adopt
    from protocols.errors import ConfigError
    from protocols.messages.audit import Actor, Details
    from supervisors.database_access import on_connection
    from supervisors.node import own_data_folder
    from supervisors.node_number import check_folder, folder_identity

    data, node = Path(settings.server.data).resolve(), settings.server.node
    if settings.database.url is None:
        raise ConfigError(
            "database.url: an embedded database has one node, whose number nobody else can have"
        )
    with own_data_folder(data):
        check_folder(data, node)
        identity = folder_identity(data)

        async def unit(connection: asyncpg.Connection[Any]) -> datetime | None:
            async with connection.transaction():
                owner_seen = await adopt(connection, node, identity)
                if owner_seen is None:
                    told: Details = {"what": "node_adopted", "node": node, "folder": identity}
                    by = Actor(user_name(), "command")
                    await trail.append(connection, made(events.STORAGE_ASKED, by, told))
                return owner_seen

        alive = trio.run(on_connection, settings, unit)
    if alive is not None:
        raise NumberTaken(node, alive)
    print(f"node {node} is {data} now")
    return 0


def run_forget(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import trio

    from pacs_actors.lifecycle import node_forgetting
    from protocols.errors import ConfigError
    from protocols.messages.audit import Actor
    from supervisors.database_access import on_connection

    if settings.database.url is None:
        raise ConfigError("database.url: an embedded database has one node")
    quick = [name for name, store in settings.stores.items() if store.tier == "nearline"]
    node: int = arguments.number
    lost: list[str] = []

    async def unit(connection: asyncpg.Connection[Any]) -> tuple[int, int, list[str]]:
        successor = await node_forgetting.begin(connection, node, Actor(user_name(), "command"))
        copied = 0
        async for some in node_forgetting.settle(connection, node, quick, rehome=not arguments.on_demand):
            copied += some.copied
            lost.extend(some.lost)
            if not arguments.json:
                for uid in some.lost:
                    print(f"lost  {uid}", flush=True)
        return successor, copied, await node_forgetting.lost_deletions(connection, node)

    successor, copied, undoable = trio.run(on_connection, settings, unit)
    if arguments.json:
        print_json(
            {"node": node, "successor": successor, "copied": copied, "lost": lost, "lost_deleted": undoable}
        )
    else:
        for uid in undoable:
            print(f"lost, and was deleted  {uid}")
        print(
            f"node {node} is forgotten: {copied} instances are had from copies, {len(lost)} are lost"
            + (f", {len(undoable)} that were deleted cannot be brought back" if undoable else "")
        )
    return 1 if lost or undoable else 0
