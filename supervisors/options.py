"""What subcommands share: parsers completed when they are used, an option for every setting, JSON output."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from config.load import Loaded
    from config.settings import Settings

_SHORT: Final = {
    "server.data": "--data",
    "server.workers": "--workers",
    "dicom.ae_title": "--aet",
    "dicom.port": "--dicom-port",
    "dicom.promiscuous": "--promiscuous",
    "web.port": "--web-port",
}
_METAVARS: Final = {"integer": "N", "number": "N", "text": "TEXT", "list": "A,B", "true": "true|false"}


class CommandParser(argparse.ArgumentParser):
    """A parser whose options may be added when it is used, because making them takes imports.

    later:  adds options; called once, before the first parse of this parser
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})
        self.later: Callable[[CommandParser], None] | None = None

    def parse_known_args(  # type: ignore[override]  # the overloads of typeshed, of which we need one
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self.later is not None:
            later, self.later = self.later, None
            later(self)
        return super().parse_known_args(args, namespace)


Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"


def add_settings_options(parser: CommandParser) -> None:
    """``--config``, ``--node`` and a flag for every setting: ``--dicom.port``, the usual ones also short."""
    from config.keys import keys

    parser.usage = parser.usage or f"{parser.prog} [OPTION]…"
    parser.add_argument("--config", metavar="FILE", help="TOML file (default: ./pacs.toml if there is one)")
    parser.add_argument(
        "--node",
        metavar="NAME=HOST:PORT",
        action="append",
        default=[],
        help="a known AE; repeat for more ([HOST] for IPv6). It calls from its host and has every right",
    )
    usual = parser.add_argument_group("usual settings")
    every = parser.add_argument_group(
        "every setting", "As in config/reference.md; dashes serve for underscores."
    )
    for path, key in keys().items():
        kind = re.split(r"\W", key.kind)[0]
        options: dict[str, Any] = {"dest": path, "metavar": _METAVARS[kind], "help": _help(key.description)}
        if key.is_switch:
            options |= {"nargs": "?", "const": "true"}
        if path in _SHORT:
            usual.add_argument(_SHORT[path], key.flag, **options)
        else:
            every.add_argument(key.flag, **options)


def loaded_from(arguments: argparse.Namespace) -> Loaded:
    """Settings of the command line, environment and file, and where each came from.

    raises: ConfigError
    """
    from config.keys import keys
    from config.load import load_with_origins

    given = vars(arguments)
    flags = {path: given[path] for path in keys() if given.get(path) is not None}
    return load_with_origins(config=arguments.config, flags=flags, nodes=arguments.node)


def settings_from(arguments: argparse.Namespace) -> Settings:
    """As ``loaded_from``, the settings alone."""
    return loaded_from(arguments).settings


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="answer as JSON")


def with_underscores(arguments: Sequence[str]) -> Iterator[str]:
    """``--dicom.ae-title=X`` -> ``--dicom.ae_title=X``; what follows ``--`` or has no dot stays as it is."""
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if re.fullmatch(r"--[a-z]+\.[a-z_-]+", name):
            name = "--" + name[2:].replace("-", "_")
        yield name + equals + value
        if argument == "--":
            yield from rest


def user_name() -> str:
    """Who runs the command, for the audit."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return "unknown"


def print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def _help(description: str) -> str:
    return description.replace("%", "%%")
