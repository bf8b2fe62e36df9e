"""``pacs-actors move``: have a peer send to another one."""

from __future__ import annotations

import argparse

from supervisors.options import Commands
from supervisors.peer_options import add_peer_options, connected, run_client
from supervisors.query_options import add_key_options, retrieve_keys


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "move",
        help="have a peer send instances to an AE (C-MOVE)",
        description="Have a peer send patients, studies, series or images to an AE title that it knows.",
        epilog="Example: pacs-actors move 127.0.0.1:11112 --to WORKSTATION -k StudyInstanceUID=1.2.3",
    )
    add_peer_options(parser)
    add_key_options(parser)
    parser.add_argument(
        "--to", metavar="AET", required=True, help="destination: an AE title that the peer knows"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    return run_client(_move, arguments)


async def _move(arguments: argparse.Namespace) -> int:
    from pacs_actors.dicom.client import for_move
    from supervisors.retrieve_output import RetrieveOutput

    keys, level = retrieve_keys(arguments)
    async with connected(arguments, for_move(arguments.root)) as peer:
        with RetrieveOutput(arguments, "moving") as output:
            result = await peer.move(
                keys, destination=arguments.to, level=level, root=arguments.root, progress=output.progress
            )
    return output.end(result)
