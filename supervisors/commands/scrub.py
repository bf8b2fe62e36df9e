"""``pacs-actors scrub``: read every object and compare it with its checksum."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisors.options import Commands, add_json_option, add_settings_options, print_json, settings_from

if TYPE_CHECKING:
    from config.settings import Settings
    from pacs_actors.lifecycle.copy_checks import Due
    from pacs_actors.lifecycle.integrity_damage import DamageKeeper
    from pacs_actors.lifecycle.scrubbing import Damage, Portion
    from supervisors.copy_scrub import CopiesRead

_MOST_LISTED = 10_000
_MB = 1_000_000
_READERS = 3  # at least: while one waits for the disk the others hash


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "scrub",
        help="read every object and compare it with its checksum",
        description="Read every object under the data folder from the disk, not from memory, and compare it with the checksum that "
        "it was stored with; look also for instances of the index whose object is gone. Then do the same with every copy in the "
        "stores of the settings. Works while the server runs and while it "
        "does not. Prints a line for each object that is not good, its SOP Instance UID first. Exit code 0: all is well; "
        "1: something is not; 2: it could not run, or not be finished. The server does the same by itself, once in "
        "integrity.cycle_days, and with copies in integrity.copies_cycle_days. "
        "Example: pacs-actors scrub --data pacs-data --rate 200",
    )
    parser.add_argument("--rate", type=_rate, metavar="MB_S", help="read so much at most, MB a second")
    parser.add_argument(
        "--quarantine",
        action="store_true",
        help="move what is corrupt to quarantine, so that nobody is sent it, and note it as the server would",
    )
    parser.add_argument(
        "--without-copies",
        action="store_true",
        help="leave out the copies in the stores: reading them may cost",
    )
    add_json_option(parser)
    parser.later = add_settings_options
    parser.set_defaults(run=run)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1_000_000:
        raise argparse.ArgumentTypeError("expected MB a second, more than 0")
    return rate


class _Report:
    """Tells what is found as it is found; as JSON in the end."""

    def __init__(self, *, as_json: bool, indexed: bool) -> None:
        self.as_json, self.indexed = as_json, indexed
        self.objects = self.size_bytes = self.damaged = 0
        self.listed: list[dict[str, str]] = []
        self.copies: CopiesRead | None = None

    def add(self, portion: Portion) -> None:
        self.objects += portion.objects + len(portion.damages)
        self.size_bytes += portion.size_bytes
        for damage in portion.damages:
            self._tell(damage)
        if sys.stderr.isatty():
            print(
                f"\r{self.objects:,} objects, {self.size_bytes / _MB:,.0f} MB", end="", file=sys.stderr, flush=True
            )  # fmt: skip

    def add_copy(self, store: str, copy: Due, wrong: str) -> None:
        from pacs_actors.lifecycle.copy_scrubber import condition_of

        self._list(copy.sop_instance_uid, condition_of(wrong), f"{store} {copy.stored.key}", wrong)

    def _tell(self, damage: Damage) -> None:
        self._list(damage.sop_instance_uid, damage.condition.value, damage.key, damage.why)

    def _list(self, uid: str, condition: str, key: str, why: str) -> None:
        self.damaged += 1
        if not self.as_json:
            print(f"{uid or '-'} {condition} {key}: {why}", flush=True)
        elif len(self.listed) < _MOST_LISTED:
            self.listed.append({"sop_instance_uid": uid, "condition": condition, "key": key, "why": why})

    def finish(self) -> None:
        if self.as_json:
            facts: dict[str, Any] = {
                "objects": self.objects,
                "size_bytes": self.size_bytes,
                "damaged": self.damaged,
            }
            if self.copies is not None:
                facts["copies"], facts["copies_bytes"] = self.copies.copies, self.copies.size_bytes
                facts["problems"] = self.copies.problems
            print_json({**facts, "index_asked": self.indexed, "list": self.listed})
            return
        read = f"{self.objects:,} objects, {self.size_bytes / _MB:,.1f} MB"
        if self.copies is not None:
            read += f", and {self.copies.copies:,} copies, {self.copies.size_bytes / _MB:,.1f} MB"
        whole = self.copies is None or not self.copies.problems
        what = (
            f"{self.damaged:,} are not good"
            if self.damaged
            else "all are good"
            if whole
            else "those are good"
        )
        print(f"Read {read}: {what}.")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    from functools import partial

    from supervisors.integrity_access import COULD_NOT_RUN, ran

    report = ran("scrub", settings, partial(_scrub, settings, arguments))
    if report is None:
        return COULD_NOT_RUN
    report.finish()
    problems = report.copies.problems if report.copies is not None else {}
    for store, why in problems.items():
        print(f"pacs-actors: not all copies in {store} were read: {why}", file=sys.stderr)
    if report.damaged:
        return 1
    return COULD_NOT_RUN if problems else 0


async def _scrub(settings: Settings, arguments: argparse.Namespace) -> _Report:
    from pacs_actors.archive.objects.keys import MAX_SLOT
    from pacs_actors.archive.objects.local import LocalObjectStore
    from pacs_actors.lifecycle.integrity_book import IntegrityBook
    from pacs_actors.lifecycle.integrity_damage import DamageKeeper
    from pacs_actors.lifecycle.integrity_reading import Pace
    from pacs_actors.lifecycle.integrity_rows import IntegrityRows
    from pacs_actors.lifecycle.integrity_walk import Cursor
    from pacs_actors.lifecycle.scrubbing import scrub
    from pacs_actors.threads import NativePool
    from supervisors.integrity_access import index_if_any

    rate = None if arguments.rate is None else arguments.rate * _MB
    # A slot of its own, so that a running server's are left alone; nothing is stored in it.
    async with (
        LocalObjectStore(
            Path(settings.server.data), MAX_SLOT, settings.storage, node=settings.server.node
        ) as store,
        index_if_any(settings) as database,
        NativePool(max(settings.integrity.threads, _READERS) + 1, "scrub") as pool,
    ):
        report = _Report(as_json=arguments.json, indexed=database is not None)
        keeper = None if database is None else DamageKeeper(store, IntegrityBook(database, store.node))

        async def tell(portion: Portion) -> None:
            report.add(portion)
            if arguments.quarantine:
                await _put_aside(store, keeper, portion)

        rows = None if database is None else IntegrityRows(database)
        await scrub(store, rows, pool, Pace(rate), Cursor(), tell)
        if database is not None and settings.stores and not arguments.without_copies:
            from supervisors.copy_scrub import read_copies

            report.copies = await read_copies(settings, database, arguments.rate, report.add_copy)
    return report


async def _put_aside(store: Any, keeper: DamageKeeper | None, portion: Portion) -> None:
    from contextlib import suppress

    from pacs_actors.archive.objects.keys import ObjectMissing
    from pacs_actors.lifecycle.integrity_reading import Condition

    for damage in portion.damages:
        if keeper is not None:
            await keeper.keep(damage, "scrub", quarantine=True)
        elif damage.condition is Condition.CORRUPT:
            with suppress(ObjectMissing):
                await store.quarantine(damage.key, "damaged")
