"""``pacs-actors store``: send files and folders to a peer."""

from __future__ import annotations

import argparse
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.options import Commands
from supervisors.peer_options import (
    CannotConnect,
    add_peer_options,
    cannot_connect,
    connected,
    count,
    run_client,
    tls_context,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pacs_actors.dicom.client import Peer, Proposal


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "store",
        help="send files and folders to a peer (C-STORE)",
        description="Send DICOM files, and everything below folders. What is no DICOM file is skipped. Exit code "
        "0: all stored, 1: some failed, 2: no connection.",
        epilog="Example: pacs-actors store 127.0.0.1:11112 --called PACS --jobs 4 exam/ one.dcm",
    )
    add_peer_options(parser)
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="file or folder")
    parser.add_argument(
        "--jobs", metavar="N", type=_jobs, default=1, help="associations at once (default: %(default)s)"
    )
    parser.add_argument(
        "--as-is",
        action="store_true",
        help="convert nothing: by default uncompressed files are sent in another uncompressed transfer syntax "
        "to a peer that does not take theirs",
    )
    parser.set_defaults(run=run)


def _jobs(text: str) -> int:
    jobs = count(text)
    if jobs > 64:
        raise argparse.ArgumentTypeError("64 associations at once are the most")
    return jobs


def run(arguments: argparse.Namespace) -> int:
    return run_client(_store, arguments)


async def _store(arguments: argparse.Namespace) -> int:
    from pacs_actors.archive.transcoder import Transcoder
    from pacs_actors.dicom.client import ASSOCIATION_ERRORS
    from pacs_actors.dicom.client_send_job import SendJob
    from pacs_actors.threads import NativePool
    from supervisors.send_output import SendOutput

    tls_context(arguments)  # a wrong option is told before anything is read

    async with NativePool(2, "store-files") as pool, Transcoder() as converting:
        transcoder = None if arguments.as_is else converting

        def connect(contexts: Sequence[Proposal]) -> AbstractAsyncContextManager[Peer]:
            return connected(arguments, contexts, pool, transcoder)

        with SendOutput(json=arguments.json) as output:
            job = SendJob(connect, pool, jobs=arguments.jobs, report=output.add)
            output.watch(job)
            try:
                await job.run(arguments.paths)
            except ASSOCIATION_ERRORS as error:
                raise CannotConnect(cannot_connect(arguments, error)) from error
    return output.end(job.gave_up)
