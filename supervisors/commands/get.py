"""``pacs-actors get``: fetch instances from a peer into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from supervisors.options import Commands
from supervisors.peer_options import add_peer_options, connected, run_client
from supervisors.query_options import add_key_options, retrieve_keys


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "get",
        help="fetch instances from a peer into a folder (C-GET)",
        description="Fetch instances into a folder, as Part 10 files named after their SOP Instance UIDs. An association has room "
        "for 127 pairs of SOP class and transfer syntax; by default those of usual studies are proposed.",
        epilog="Example: pacs-actors get 127.0.0.1:11112 -k StudyInstanceUID=1.2.3 --into study",
    )
    add_peer_options(parser)
    add_key_options(parser)
    parser.add_argument(
        "--into", metavar="DIR", type=Path, required=True, help="folder, made if it is missing"
    )
    parser.add_argument(
        "--sop-class",
        metavar="UID",
        action="append",
        help="storage SOP class to propose instead of the usual ones; repeat for more",
    )
    parser.add_argument(
        "--transfer-syntax",
        metavar="UID",
        action="append",
        help="compressed transfer syntax to propose instead of the usual ones; repeat for more",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    return run_client(_get, arguments)


async def _get(arguments: argparse.Namespace) -> int:
    from pacs_actors.dicom.client import for_get
    from pacs_actors.dicom.client_proposals import USUAL_COMPRESSED, USUAL_STORAGE
    from supervisors.retrieve_output import RetrieveOutput

    keys, level = retrieve_keys(arguments)
    contexts = for_get(
        arguments.root,
        storage_classes=arguments.sop_class or USUAL_STORAGE,
        compressed=arguments.transfer_syntax or USUAL_COMPRESSED,
    )
    async with connected(arguments, contexts) as peer:
        with RetrieveOutput(arguments, "fetching") as output:
            result = await peer.get(
                keys, into=arguments.into, level=level, root=arguments.root, progress=output.progress
            )
    return output.end(result)
