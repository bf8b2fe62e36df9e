"""``pacs-actors index``: make the index again from the objects."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.options import Commands, add_json_option, add_settings_options, print_json, settings_from

if TYPE_CHECKING:
    from pacs_actors.lifecycle.copy_finding import Searched


def register(commands: Commands) -> None:
    parser = commands.add_parser("index", help="make the index again from the objects")
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, parser_class=type(parser)
    )
    rebuild = actions.add_parser(
        "rebuild",
        help="index every stored object that is not in the index",
        description="Read every object under the data folder, verify it, and index what the index does not know. Works while the "
        "server runs and while it does not; with the server stopped also when the database folder is gone: it is made anew. "
        "After that the stores of the settings are looked through, too: what is only there is found again without being brought "
        "back. What nobody but the database knew is gone with it: users, deletions, policies, legal holds, labels. "
        "It can be interrupted and run again. "
        "Example: pacs-actors index rebuild --data pacs-data",
    )
    rebuild.add_argument(
        "--from-scratch", action="store_true", help="empty the index first (the server must not run)"
    )
    add_json_option(rebuild)
    rebuild.later = add_settings_options
    rebuild.set_defaults(run=run_rebuild)


def run_rebuild(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import msgspec
    import trio

    from pacs_actors.archive.rebuild import Rebuilt, rebuild
    from pacs_actors.operations import logs
    from protocols.errors import ConfigError
    from supervisors.data_folder import with_objects
    from supervisors.database_access import reachable
    from supervisors.node import FolderInUse

    logs.configure("warning", "index rebuild")
    # A disk that is lost as a whole may have had copies of everything in stores.
    data = Path(settings.server.data).absolute() if settings.stores else with_objects(settings.server.data)

    def tell(indexed: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{indexed:,} indexed", end="", file=sys.stderr, flush=True)

    async def work() -> tuple[Rebuilt, list[Searched]]:
        async with reachable(settings, alone=arguments.from_scratch) as dsn:
            done = await rebuild(settings, dsn, from_scratch=arguments.from_scratch, tell=tell)
            if not settings.stores:
                return done, []
            from supervisors.copy_search import search_stores

            return done, await search_stores(settings, dsn, tell)

    try:
        done, searched = trio.run(work)
    except* FolderInUse:
        raise ConfigError(
            f"server.data: a server runs on {data}; {_way_out(arguments.from_scratch)}"
        ) from None
    if arguments.json:
        stores = {"stores": [msgspec.to_builtins(one) for one in searched]} if searched else {}
        print_json(msgspec.structs.asdict(done) | stores)
    else:
        print(
            f"Indexed {done.indexed:,} objects: {done.duplicates:,} were copies and {done.conflicts:,} conflicts, set aside. "
            f"{done.damaged:,} damaged objects are in quarantine; {done.unreadable:,} could not be read."
        )
        for one in searched:
            _tell(one)
    bad = any(one.unusable or one.problem for one in searched)
    return 1 if done.damaged or done.unreadable or bad else 0


def _tell(one: Searched) -> None:
    print(
        f"Store {one.store}: {one.copies:,} copies that the index did not know, "
        f"{one.instances:,} of instances that are nowhere else."
    )
    for key, why in one.unusable.items():
        print(f"{one.store} {key}: {why}")
    if one.problem:
        print(f"Not all of {one.store} could be looked through: {one.problem}")


def _way_out(from_scratch: bool) -> str:
    if from_scratch:
        return "stop it first, or leave out --from-scratch to index what is missing while it runs"
    return "its database does not answer: stop it, then run this again"
