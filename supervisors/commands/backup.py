"""``pacs-actors backup``: copies of index and objects somewhere else, and the way back."""

from __future__ import annotations

import argparse
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from supervisors.options import Commands, add_json_option, add_settings_options, print_json, settings_from

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pacs_actors.lifecycle.backup.manifest import Kind, Manifest
    from pacs_actors.lifecycle.backup.verifying import Finding

_TELL_EVERY_S: Final = 0.2
_KEY_HELP: Final = "file of the key it is encrypted with (default: the setting backup.key_file)"


def register(commands: Commands) -> None:
    parser = commands.add_parser("backup", help="back up index and objects, verify, restore")
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, parser_class=type(parser)
    )
    create = actions.add_parser(
        "create",
        help="make a backup",
        description="Copy index and objects to another place, while the server runs or while it does not. Everything that was "
        "answered before is in it. A full backup begins a chain; an incremental one has what is new since the newest backup, a "
        "differential one what is new since the full one. What was written is read back and compared. A folder without "
        "manifest is what was left of a backup that was interrupted: it is none, and the next one removes it. "
        "Example: pacs-actors backup create --data pacs-data --to /mnt/backup --full",
    )
    create.add_argument(
        "--to",
        metavar="DIR|s3://BUCKET/PREFIX",
        help="where to (default: the setting backup.to); a bucket is reached as its [stores.NAME] table says",
    )
    kind = create.add_mutually_exclusive_group(required=True)
    for name, help_ in (
        ("full", "everything"),
        ("incremental", "what is new since the newest backup there"),
        ("differential", "what is new since the newest full backup there"),
    ):
        kind.add_argument(f"--{name}", dest="kind", action="store_const", const=name, help=help_)
    create.add_argument("--key-file", metavar="FILE", help="encrypt (AES-256-GCM) with the key in this file")
    create.add_argument("--no-verify", action="store_true", help="do not read back what was written")

    listing = actions.add_parser("list", help="list the backups of a place")
    verify = actions.add_parser(
        "verify",
        help="read a backup and all it builds on, and compare every byte",
        description="Read every container of the chain up to the newest backup, or to another one, and compare everything with "
        "what was written. Exit code 1, and what is broken, with SOP Instance UIDs, if something is. "
        "Example: pacs-actors backup verify --from /mnt/backup",
    )
    verify.add_argument("--all", action="store_true", help="verify every chain there is")
    restore = actions.add_parser(
        "restore",
        help="make a server's folder from a backup",
        description="Restore the newest backup, or another one, into a new folder; then start a server on it. Users, audit, "
        "settings and what was deleted and may still be undone are as they were. Everything is verified on the way: a damaged "
        "backup is refused, and nothing is left. The configuration file is not in a backup. "
        "Example: pacs-actors backup restore --from /mnt/backup --data pacs-data, then: pacs-actors serve --data pacs-data",
    )
    prune = actions.add_parser(
        "prune",
        help="remove old chains",
        description="Remove the oldest full backups and what builds on them, so that some stay. The newest full backup that "
        "was verified stays in any case.",
    )
    prune.add_argument(
        "--keep-full", type=_positive, required=True, metavar="N", help="how many full ones stay"
    )
    for action in (listing, verify, restore, prune):
        action.add_argument(
            "--from", dest="from_", metavar="DIR|s3://…", required=True, help="where the backups are"
        )
    for action in (verify, restore):
        action.add_argument(
            "--at", metavar="ID|TIME", help="which one, or the newest of a time (UTC; default: the newest)"
        )
        action.add_argument("--key-file", metavar="FILE", help=_KEY_HELP)
    for action, run in (
        (create, run_create), (listing, run_list), (verify, run_verify), (restore, run_restore), (prune, run_prune),
    ):  # fmt: skip
        add_json_option(action)
        action.set_defaults(run=run)
        action.later = add_settings_options


def run_create(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import msgspec
    import trio

    from pacs_actors.operations import logs
    from protocols.errors import ConfigError
    from supervisors.backup_work import back_up
    from supervisors.node import FolderInUse

    logs.configure("warning", "backup")
    to = arguments.to or settings.backup.to
    if to is None:
        raise ConfigError("backup.to: say where to: --to DIR")
    kind: Kind = arguments.kind

    async def work() -> Any:
        return await back_up(
            settings, kind, to, arguments.key_file or settings.backup.key_file, _user(),
            verifying=not arguments.no_verify, tell=_progress(),
        )  # fmt: skip

    try:
        made = trio.run(work)
    except* FolderInUse:
        raise ConfigError(
            f"server.data: a server runs on {settings.server.data}, but its database does not answer: try again"
        ) from None
    _end_progress()
    manifest, findings = made.manifest, made.findings or []
    if arguments.json:
        facts = _facts(manifest) | {"verified": made.findings == [], "damaged": list(manifest.damaged)}
        print_json(facts | {"findings": [msgspec.structs.asdict(one) for one in findings]})
    else:
        state = (
            "not verified"
            if made.findings is None
            else "verified"
            if not findings
            else "NOT as it was written"
        )
        print(
            f"{manifest.id}: {manifest.objects:,} objects, {_size(manifest.size_bytes)} of images in "
            f"{_size(manifest.stored_bytes)}; {state}."
        )
        _tell_findings(findings)
        for uid in manifest.damaged:
            print(f"damaged before it was copied: {uid}")
        _tell_lacking(manifest.missing, manifest.lacking)
    return 1 if findings or manifest.damaged or manifest.missing else 0


def run_list(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import trio

    from pacs_actors.lifecycle.backup.chain import orphans
    from pacs_actors.operations import logs
    from supervisors.backup_work import look

    logs.configure("error", "backup")
    found, verified = trio.run(look, arguments.from_, settings)
    broken = found.broken | orphans(found.backups)
    if arguments.json:
        backups = [_facts(one) | {"verified_at": verified[one.id] or None} for one in found.backups]
        print_json({"backups": backups, "broken": broken, "unfinished": found.unfinished})
        return 1 if broken else 0
    for one in found.backups:
        builds = f" on {one.parent}" if one.parent else ""
        lock = " encrypted" if one.key_check else ""
        seen = f"verified {verified[one.id][:16]}" if verified[one.id] else "not verified"
        print(f"{one.id:32} {one.objects:>10,} objects {_size(one.stored_bytes):>10}{lock}  {seen}{builds}")
    for why in broken.values():
        print(why)
    for left in found.unfinished:
        print(f"{left:32} is being made, or was interrupted")
    if not (found.backups or broken or found.unfinished):
        print("There is no backup.")
    return 1 if broken else 0


def run_verify(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import msgspec
    import trio

    from pacs_actors.operations import logs
    from supervisors.backup_work import check

    logs.configure("error", "backup")
    key_file = arguments.key_file or settings.backup.key_file

    async def work() -> tuple[list[Manifest], list[Finding]]:
        return await check(
            arguments.from_, settings, key_file, arguments.at, everything=arguments.all, tell=_progress()
        )

    looked, findings = trio.run(work)
    _end_progress()
    if arguments.json:
        told = [msgspec.structs.asdict(one) for one in findings]
        print_json({"backups": [one.id for one in looked], "whole": not findings, "findings": told})
    else:
        _tell_findings(findings)
        objects = sum(one.objects for one in looked)
        print(
            f"{len(looked)} backups, {objects:,} objects: {'everything is as it was written' if not findings else 'NOT whole'}."
        )
    return 1 if findings else 0


def run_restore(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import msgspec
    import trio

    from pacs_actors.operations import logs
    from supervisors.backup_work import bring_back

    logs.configure("error", "backup")
    key_file, folder = arguments.key_file or settings.backup.key_file, settings.server.data

    async def work() -> Any:
        return await bring_back(
            arguments.from_, key_file, arguments.at, folder, settings, _user(), _progress()
        )

    done = trio.run(work)
    _end_progress()
    if arguments.json:
        print_json(msgspec.structs.asdict(done) | {"data": folder})
    else:
        node = f" --server.node {done.node}" if done.node else ""
        _tell_lacking(done.missing, done.lacking)
        print(
            f"Restored {done.backup}: {done.objects:,} objects, {_size(done.size_bytes)}; the index has {done.instances:,} "
            f"instances.\nNow run: pacs-actors serve --data {folder}{node}"
        )
    return 1 if done.missing else 0


def _tell_lacking(missing: int, named: Sequence[str]) -> None:
    for uid in named:
        print(f"not in the backup, it lies on another node, and no store gave a copy: {uid}")
    if missing:
        print(f"INCOMPLETE: {missing:,} objects are lacking.")


def run_prune(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    import trio

    from pacs_actors.operations import logs
    from supervisors.backup_work import prune_in

    logs.configure("error", "backup")
    gone = trio.run(prune_in, arguments.from_, settings, arguments.keep_full)
    if arguments.json:
        print_json({"removed": gone})
    else:
        print("\n".join(f"removed {one}" for one in gone) or "Nothing to remove.")
    return 0


def _facts(one: Manifest) -> dict[str, Any]:
    return {
        "id": one.id, "kind": one.kind, "parent": one.parent, "began": one.began, "finished": one.finished,
        "objects": one.objects, "size_bytes": one.size_bytes, "stored_bytes": one.stored_bytes,
        "missing": one.missing, "lacking": list(one.lacking),
        "encrypted": bool(one.key_check), "index": "whole" if one.index.onto is None else "changes",
    }  # fmt: skip


def _tell_findings(findings: list[Finding]) -> None:
    for one in findings:
        print(f"{one.backup}: {one.what}")


def _progress() -> Callable[[str, int, int], None]:
    """On a terminal, a line that is written over."""
    shown = [0.0]

    def tell(phase: str, objects: int, size: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - shown[0] > _TELL_EVERY_S:
            shown[0] = now
            print(f"\r{phase}: {objects:,} objects, {_size(size)}\x1b[K", end="", file=sys.stderr, flush=True)

    return tell


def _end_progress() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.4g} TB"


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) or int(text) < 1:
        raise argparse.ArgumentTypeError("expected a number, at least 1")
    return int(text)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return "unknown"
