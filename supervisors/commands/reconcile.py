"""``pacs-actors reconcile``: hold the objects against the index, both ways."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.options import Commands, add_json_option, add_settings_options, print_json, settings_from

if TYPE_CHECKING:
    from config.settings import Settings
    from pacs_actors.lifecycle.reconciling import Reconciliation, Trouble

_MOST_LISTED = 10_000
_MOST_SHOWN = 1000


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "reconcile",
        help="find objects without rows in the index, rows without objects, and what they say differently",
        description="Hold every object against its row in the index, and every row against its object; also quarantine, deletions, "
        "counts, files that are no objects, and the copies in the stores of the settings against what is noted of them. Works "
        "while the server runs and while it does not. With --fix what is safe to fix is fixed: what is not indexed is indexed, "
        "what is lost is brought back if the same bytes lie elsewhere, counts are counted anew; nothing is overwritten or "
        "dropped. Exit code 0: all agrees, or is fixed; 1: something is left; 2: it could not run, or not be finished. "
        "Checksums are compared by pacs-actors scrub. "
        "Example: pacs-actors reconcile --data pacs-data --fix",
    )
    parser.add_argument("--fix", action="store_true", help="fix what is safe to fix")
    add_json_option(parser)
    parser.later = add_settings_options
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    from functools import partial

    from supervisors.integrity_access import COULD_NOT_RUN, ran

    found = _Found()
    work = ran("reconcile", settings, partial(_reconcile, settings, arguments.fix, found))
    if work is None:
        return COULD_NOT_RUN
    (_print_json if arguments.json else _print)(work, found)
    for store, why in found.problems.items():
        print(f"pacs-actors: not all copies in {store} were compared: {why}", file=sys.stderr)
    if work.left:
        return 1
    return COULD_NOT_RUN if found.problems else 0


class _Found:
    """copies: in stores; None: there are no stores. problems: of stores that could not be looked through, by name"""

    def __init__(self) -> None:
        self.listed: list[Trouble] = []
        self.copies: int | None = None
        self.problems: dict[str, str] = {}


def _print(work: Reconciliation, told: _Found) -> None:
    listed = told.listed
    for one in listed[:_MOST_SHOWN]:
        uid = f" {one.sop_instance_uid}" if one.sop_instance_uid else ""
        print(f"{one.kind.value}{' (fixed)' if one.fixed else ''}{uid} {one.subject}: {one.detail}")
    more = work.found.total() - min(len(listed), _MOST_SHOWN)
    if more:
        print(f"... and {more:,} more")
    if work.found:
        print(f"\n{'what':<20}{'found':>12}{'fixed':>12}{'left':>12}")
        for kind, found in sorted(work.found.items(), key=lambda item: item[0].value):
            fixed = work.fixed[kind]
            print(f"{kind.value:<20}{found:>12,}{fixed:>12,}{found - fixed:>12,}")
        print()
    well = "what could be looked at agrees" if told.problems else "all agrees"
    what = f"{work.objects:,} objects" + (
        "" if told.copies is None else f" and {told.copies:,} copies in stores"
    )
    print(f"Compared {what} with the index: {f'{work.left:,} things are left' if work.left else well}.")


def _print_json(work: Reconciliation, told: _Found) -> None:
    import msgspec

    kinds = sorted(work.found, key=lambda kind: kind.value)
    print_json(
        {
            "objects": work.objects,
            **({} if told.copies is None else {"copies": told.copies, "problems": told.problems}),
            "found": {kind.value: work.found[kind] for kind in kinds},
            "fixed": {kind.value: work.fixed[kind] for kind in kinds},
            "left": work.left,
            "list": msgspec.to_builtins(told.listed),
        }
    )


async def _reconcile(settings: Settings, fix: bool, found: _Found) -> Reconciliation:
    import trio

    from pacs_actors.archive.catalogue import Catalogue
    from pacs_actors.archive.custom import custom_attributes
    from pacs_actors.archive.indexer import Indexer
    from pacs_actors.archive.objects.keys import MAX_SLOT
    from pacs_actors.archive.objects.local import LocalObjectStore
    from pacs_actors.archive.progress import IndexProgress
    from pacs_actors.lifecycle.integrity_fixing import Fixer
    from pacs_actors.lifecycle.integrity_rows import IntegrityRows
    from pacs_actors.lifecycle.reconciling import Reconciliation
    from pacs_actors.mail.mailbox import Mailbox
    from pacs_actors.node_page import NodePage
    from pacs_actors.threads import NativePool
    from protocols.messages.archive import IndexMessage
    from supervisors.integrity_access import index as index_of
    from supervisors.integrity_access import server_runs

    async def tell(trouble: Trouble) -> None:
        if len(found.listed) < _MOST_LISTED:
            found.listed.append(trouble)

    page = NodePage.create(1)
    page.slot = 0
    alone = not server_runs(settings)
    # A slot of its own, so that a running server's are left alone.
    async with (
        index_of(settings) as database,
        LocalObjectStore(
            Path(settings.server.data), MAX_SLOT, settings.storage, node=settings.server.node
        ) as store,
        NativePool(settings.storage.writer_threads, "reconcile") as pool,
        trio.open_nursery() as nursery,
    ):
        rows, custom = IntegrityRows(database), custom_attributes(settings.index.custom_attributes)
        fixer: Fixer | None = None
        if fix:
            progress = IndexProgress(page, store.current_batch)
            mailbox: Mailbox[IndexMessage] = Mailbox("index", settings.storage.backlog)
            catalogue = Catalogue(database, custom=custom)
            nursery.start_soon(Indexer(settings.index, catalogue, store, progress, mailbox).run)
            fixer = Fixer(store, rows, progress, mailbox, custom=custom)
        work = Reconciliation(store, rows, pool, fixer, tell, alone=alone)
        await work.run()
        if settings.stores:
            from supervisors.copy_search import compare_stores

            found.copies, found.problems = await compare_stores(settings, database, store, work, fix=fix)
        nursery.cancel_scope.cancel()
    return work
