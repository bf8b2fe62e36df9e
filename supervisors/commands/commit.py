"""``pacs-actors commit``: ask a peer to answer for the safekeeping of instances that it was sent."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from supervisors.options import Commands
from supervisors.peer_options import (
    DONE,
    FAILED,
    add_peer_options,
    connected,
    print_line,
    run_client,
    timeouts,
)

if TYPE_CHECKING:
    from pacs_actors.dicom.client import CommitmentResult, Reference

_AT_ONCE: Final = 1000


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "commit",
        help="ask a peer to answer for instances it was sent (Storage Commitment)",
        description="Ask for the safekeeping of the instances in these files, and wait for the report. Many peers bring it on an "
        "association of their own: give the port on which they call our AE title with --listen.",
        epilog="Example: pacs-actors commit 127.0.0.1:11112 --listen 11113 exam/",
    )
    add_peer_options(parser)
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="file or folder")
    parser.add_argument("--listen", metavar="PORT", type=_port, help="take reports on this port, too")
    parser.add_argument(
        "--listen-on", metavar="HOST", default="127.0.0.1", help="address for --listen (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    return run_client(_commit, arguments)


async def _commit(arguments: argparse.Namespace) -> int:
    import trio

    from pacs_actors.dicom.client import COMMITMENT, listen_for_reports

    output = _Output(arguments.json)
    references = _references(arguments.paths, output)
    async with AsyncExitStack() as stack:
        reports = None
        if arguments.listen is not None:
            listening = listen_for_reports(
                ae_title=arguments.calling,
                host=arguments.listen_on,
                port=arguments.listen,
                timeouts=timeouts(arguments),
            )
            reports = (await stack.enter_async_context(listening)).reports
        while batch := await trio.to_thread.run_sync(_take, references):
            async with connected(arguments, COMMITMENT) as peer:
                output.add(await peer.commit(batch, reports=reports, within_s=arguments.timeout))
    return output.end()


def _references(paths: list[Path], output: _Output) -> Iterator[Reference]:
    """What the files hold, lazily. Blocks: run it on a native thread."""
    from pacs_actors.dicom.client import Reference
    from pacs_actors.dicom.client_walk import Skipped, walk

    for found in walk(paths):
        if isinstance(found, Skipped):
            output.skip(found)
        else:
            yield Reference(found.sop_class_uid, found.sop_instance_uid)


def _take(references: Iterator[Reference]) -> list[Reference]:
    """The next thousand different ones."""
    taken: dict[Reference, None] = {}
    for reference in references:
        taken[reference] = None
        if len(taken) == _AT_ONCE:
            break
    return list(taken)


class _Output:
    def __init__(self, json: bool) -> None:
        self._json = json
        self._committed = self._failed = self._skipped = self._unreadable = 0
        self._failures: list[dict[str, str]] = []

    def skip(self, found: object) -> None:
        from pacs_actors.dicom.client_walk import Skipped

        assert isinstance(found, Skipped)
        if found.is_error:
            self._unreadable += 1
            print(f"failed: {found.why}", file=sys.stderr)
        else:
            self._skipped += 1

    def add(self, result: CommitmentResult) -> None:
        from pacs_actors.dicom.client_commitment import FAILURE_REASONS

        self._committed += len(result.committed)
        self._failed += len(result.failed)
        for uid, reason in result.failed.items():
            why = f"{FAILURE_REASONS.get(reason, 'failure')} ({reason:04X}H)"
            if len(self._failures) < _AT_ONCE:
                self._failures.append({"uid": uid, "why": why})
            if not self._json:
                print(f"failed: {uid}: {why}", file=sys.stderr)

    def end(self) -> int:
        if self._json:
            facts = {
                "committed": self._committed,
                "failed": self._failed + self._unreadable,
                "skipped": self._skipped,
                "failures": self._failures,
            }
            print_line(facts)
        else:
            print(f"{self._committed} committed, {self._failed} failed, {self._skipped} skipped (no DICOM)")
        return FAILED if self._failed or self._unreadable else DONE
