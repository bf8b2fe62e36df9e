"""The command line ``pacs-actors``: runs a subcommand, turns errors into sentences and exit codes.

0: done. 1: it did not work. 2: the command line or a setting is wrong. 130: interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from protocols.errors import ConfigError, PacsError
from supervisors.commands import registrations
from supervisors.options import CommandParser, with_underscores

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code.

    raises: what is our own bug, with its traceback
    """
    arguments = build_parser().parse_args(list(with_underscores(sys.argv[1:] if argv is None else argv)))
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except PacsError as error:
        return _complain(arguments, [error])
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        if any(isinstance(error, KeyboardInterrupt) for error in errors):
            return INTERRUPTED
        expected = [error for error in errors if isinstance(error, PacsError)]
        if len(expected) < len(errors):
            raise
        return _complain(arguments, expected)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader had enough (| head). Python would complain again when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def build_parser() -> CommandParser:
    """Every subcommand's parser; light: options that need imports are added when they are used."""
    parser = CommandParser(
        prog="pacs-actors", description="A PACS server: receives, keeps, finds and returns medical images."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    for register in registrations():
        register(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"pacs-actors {version('pacs-actors')}")
        parser.exit()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _complain(arguments: argparse.Namespace, errors: Sequence[PacsError]) -> int:
    for error in errors:
        if getattr(arguments, "json", False):
            kind = type(error).__name__
            print(json.dumps({"error": {"kind": kind, "text": str(error)}}), file=sys.stderr)
        else:
            print(f"pacs-actors: {error}", file=sys.stderr)
    return MISUSED if any(isinstance(error, ConfigError) for error in errors) else FAILED


if __name__ == "__main__":
    sys.exit(main())
