"""``pacs-actors echo``: does a peer answer?"""

from __future__ import annotations

import argparse

from supervisors.options import Commands
from supervisors.peer_options import (
    DONE,
    add_peer_options,
    connected,
    count,
    print_line,
    run_client,
)


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "echo",
        help="ask a peer whether it is there (C-ECHO)",
        description="Open an association, ask with C-ECHO, and say how long each answer took.",
        epilog="Example: pacs-actors echo 127.0.0.1:11112 --called PACS --count 3",
    )
    add_peer_options(parser)
    parser.add_argument(
        "--count", metavar="N", type=count, default=1, help="how often (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    return run_client(_echo, arguments)


async def _echo(arguments: argparse.Namespace) -> int:
    from pacs_actors.dicom.client import VERIFICATION

    took_ms: list[float] = []
    async with connected(arguments, VERIFICATION) as peer:
        for _ in range(arguments.count):
            took_ms.append(round(await peer.echo() * 1000, 3))
            if not arguments.json:
                print(f"{peer.negotiated.called_ae} answers in {took_ms[-1]:.1f} ms", flush=True)
        if arguments.json:
            facts = {
                "called": arguments.called,
                "implementation": peer.negotiated.peer_implementation_version_name,
                "answers": len(took_ms),
                "milliseconds": took_ms,
            }
            print_line(facts)
    return DONE
