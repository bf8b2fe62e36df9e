"""``pacs-actors serve``: run the server."""

from __future__ import annotations

import argparse

from supervisors.options import Commands, add_settings_options, loaded_from


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until SIGTERM or Ctrl-C. Without any option it keeps everything in "
        "./pacs-data and takes images on 127.0.0.1:11112.",
    )
    parser.later = add_settings_options
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    loaded = loaded_from(arguments)
    from supervisors.node import serve

    return serve(loaded.settings, loaded.origins)
