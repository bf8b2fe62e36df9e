"""``pacs-actors objects``: the stored objects, looked at without database or server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from supervisors.options import Commands, add_json_option, print_json

if TYPE_CHECKING:
    from pacs_actors.archive.objects.inspection import Damage, Seen

T = TypeVar("T")
_DONE: Final = 0
_DAMAGED: Final = 1
_EVERY: Final = 200


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "objects",
        help="list, export or verify the stored objects without the database",
        description="Look at the objects under a data folder with nothing but that folder: no database, no server, though both may "
        "be running. For the day when nothing else is left. Objects in quarantine are plain files, and not among these.",
    )
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, parser_class=type(parser)
    )
    list_ = actions.add_parser(
        "list",
        help="print key, SOP Instance UID and size of each",
        description="Print a line for each object: key, SOP Instance UID, size in bytes; with --json a line of JSON each. "
        "Example: pacs-actors objects list --data pacs-data",
    )
    export = actions.add_parser(
        "export",
        help="write each as a DICOM file",
        description="Write each object as a Part 10 file into a folder, named after its SOP Instance UID, or after a hash of "
        "what is no UID. Nothing is overwritten: a second object of a UID gets a number. Exit code 1: some could not be "
        "read. Example: pacs-actors objects export --data pacs-data --to rescued",
    )
    export.add_argument(
        "--to", type=Path, metavar="DIR", required=True, help="folder for the files; made if need be"
    )
    verify = actions.add_parser(
        "verify",
        help="read each from the disk and compare it with its checksum",
        description="Read each object from the disk, not from memory, and compare it with the checksum that it was stored with. "
        "Prints a line for each that is damaged, and for what lies in a segment and belongs to no object; of a segment that a "
        "running server still fills only objects are looked at. Exit code 0: all is well; "
        "1: something is not. Example: pacs-actors objects verify --data pacs-data",
    )
    for action, run in ((list_, run_list), (export, run_export), (verify, run_verify)):
        action.add_argument(
            "--data", type=Path, metavar="DIR", required=True, help="the server's data folder"
        )
        add_json_option(action)
        action.set_defaults(run=run)


def run_list(arguments: argparse.Namespace) -> int:
    import msgspec

    for one in _seen(arguments):
        if arguments.json:
            print(msgspec.json.encode(one).decode())
        else:
            print(f"{one.key}\t{one.sop_instance_uid or '-'}\t{one.size_bytes}")
    return _DONE


def run_export(arguments: argparse.Namespace) -> int:
    from pacs_actors.archive.objects import inspection
    from pacs_actors.archive.objects.keys import ObjectMissing
    from pacs_actors.dicom.client_receiving import file_name
    from protocols.errors import ConfigError

    root, folder = arguments.data, arguments.to
    objects = _seen(arguments)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--to: cannot use {folder}: {error.strerror}") from None
    written, failed = 0, list[dict[str, str]]()
    for one in objects:
        try:
            inspection.export(root, one.key, folder, file_name(one.sop_instance_uid))
        except ObjectMissing:
            continue  # gone since it was listed
        except OSError as error:
            failed.append({"key": one.key, "why": error.strerror or str(error)})
            print(f"{one.key}: {failed[-1]['why']}", file=sys.stderr)
            continue
        written += 1
        _progress(written, "written")
    if arguments.json:
        print_json({"written": written, "failed": failed})
    else:
        print(f"{written:,} objects are in {folder}; {len(failed):,} could not be read.")
    return _DAMAGED if failed else _DONE


def run_verify(arguments: argparse.Namespace) -> int:
    import msgspec

    from pacs_actors.archive.objects import inspection

    root, objects, found = arguments.data, 0, list[inspection.Damage]()

    def tell(damages: Iterator[Damage]) -> None:
        for damage in damages:
            found.append(damage)
            if not arguments.json:
                print(f"{damage.sop_instance_uid or '-'} {damage.key}: {damage.why}", flush=True)

    for one in _seen(arguments):
        tell(inspection.damages(root, one))
        objects += 1
        _progress(objects, "verified")
    tell(_readable(inspection.scraps(root)))
    if arguments.json:
        print_json({"objects": objects, "damaged": [msgspec.structs.asdict(damage) for damage in found]})
    else:
        print(f"{objects:,} objects, {len(found):,} damaged.")
    return _DAMAGED if found else _DONE


def _seen(arguments: argparse.Namespace) -> Iterator[Seen]:
    """raises: ConfigError if there is no such folder; while iterating, Unavailable if a part of it cannot be listed"""
    from pacs_actors.archive.objects import inspection
    from supervisors.data_folder import with_objects

    with_objects(arguments.data, "--data")
    return _readable(inspection.seen(arguments.data))


def _readable(found: Iterator[T]) -> Iterator[T]:
    from protocols.errors import Unavailable

    try:
        yield from found
    except OSError as error:
        raise Unavailable(
            f"cannot look at all objects: {error.filename or ''}: {error.strerror or error}"
        ) from error


def _progress(count: int, done: str) -> None:
    if sys.stderr.isatty() and count % _EVERY == 0:
        print(f"\r{count:,} {done}", end="", file=sys.stderr, flush=True)
