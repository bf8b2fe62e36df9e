"""``pacs-actors watch``: tail the live websocket of a server in a terminal."""

from __future__ import annotations

import argparse

from supervisors.options import Commands

_TOPICS = ("studies", "queues", "associations", "alerts", "system", "moves")
_USUAL = "studies,associations,alerts"


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "watch",
        help="tail what happens on a server: studies, associations, alerts, queues",
        description="Tail the live websocket of a running server, and come back to it when it is lost, until Ctrl-C. "
        "The token is an API token or an access token; without --token-file it is that of PACS_TOKEN.",
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server (default: %(default)s)")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the CAs to trust (default: the system's)")
    parser.add_argument("--token-file", metavar="FILE", help="a file that holds the token alone")
    parser.add_argument(
        "--topics", default=_USUAL, metavar="A,B", help=f"of {', '.join(_TOPICS)} (default: {_USUAL})"
    )
    parser.add_argument("--json", action="store_true", help="every message as a line of JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import trio

    from protocols.errors import ConfigError
    from supervisors.live_connection import LiveAddress
    from supervisors.live_watcher import Watcher

    topics = tuple(dict.fromkeys(filter(None, (part.strip() for part in arguments.topics.split(",")))))
    if unknown := [topic for topic in topics if topic not in _TOPICS]:
        raise ConfigError(f"--topics: {unknown[0]!r} is none of {', '.join(_TOPICS)}")
    if not topics:
        raise ConfigError("--topics: name at least one")
    watcher = Watcher(
        LiveAddress(arguments.url, arguments.ca), _token(arguments.token_file), topics, as_json=arguments.json
    )
    trio.run(watcher.run)
    return 0


def _token(file: str | None) -> str:
    import os
    from pathlib import Path

    from protocols.errors import ConfigError

    if file is None:
        token = os.environ.get("PACS_TOKEN", "")
        if not token:
            raise ConfigError("--token-file: needed, or PACS_TOKEN")
        return token.strip()
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--token-file: cannot read {file}: {getattr(error, 'strerror', 'not UTF-8')}"
        ) from None
