"""``pacs-actors find``: query a peer."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from supervisors.options import Commands
from supervisors.peer_options import DONE, add_peer_options, connected, count, print_line, run_client
from supervisors.query_options import RETURNED, add_key_options, level_of, parse_keys

if TYPE_CHECKING:
    from pacs_actors.dicom.client import Answer

_MOST_ROWS: Final = 1000
_PLUMBING: Final = frozenset({"SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle"})


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "find",
        help="query a peer (C-FIND)",
        description="Query a peer. On a terminal the answers are a table, elsewhere lines with tabs; with --json one object "
        "a line, as they come.",
        epilog="Example: pacs-actors find 127.0.0.1:11112 -k PatientName='SMI*' -k StudyDate=20240101-",
    )
    add_peer_options(parser)
    add_key_options(parser)
    parser.add_argument("--limit", metavar="N", type=count, help="end after N answers (C-CANCEL)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    return run_client(_find, arguments)


async def _find(arguments: argparse.Namespace) -> int:
    from pacs_actors.dicom.client import for_find

    given = parse_keys(arguments.keys)
    level = arguments.level or level_of(given, arguments.root)
    # The level's own unique key is asked for, but does not make the query one of a lower level.
    keys: dict[str, Any] = dict.fromkeys(RETURNED[level], "") | given
    columns = [*given, *(key for key in RETURNED[level] if key not in given)]
    async with (
        connected(arguments, for_find(arguments.root)) as peer,
        peer.find(keys, level=level, root=arguments.root) as answers,
    ):
        output = _output(arguments, columns)
        async for answer in answers:
            output.add(answer)
            if arguments.limit is not None and output.rows >= arguments.limit:
                break
    output.end()
    return DONE


def _output(arguments: argparse.Namespace, columns: list[str]) -> _JsonLines | _Tabs | _Table:
    if arguments.json:
        return _JsonLines()
    return _Table(columns) if sys.stdout.isatty() else _Tabs(columns)


class _JsonLines:
    def __init__(self) -> None:
        self.rows = 0

    def add(self, answer: Answer) -> None:
        self.rows += 1
        print_line({key: value for key, value in answer.values.items() if key not in _PLUMBING})

    def end(self) -> None:
        pass


class _Tabs:
    def __init__(self, columns: list[str]) -> None:
        self.rows = 0
        self._columns = columns
        print("\t".join(columns))

    def add(self, answer: Answer) -> None:
        self.rows += 1
        print("\t".join(_cell(answer, column) for column in self._columns), flush=True)

    def end(self) -> None:
        pass


class _Table:
    """Widths need all rows: the first 1,000 are shown."""

    def __init__(self, columns: list[str]) -> None:
        from rich.table import Table

        self.rows = 0
        self._columns = columns
        self._table = Table(*columns)

    def add(self, answer: Answer) -> None:
        from rich.text import Text

        self.rows += 1
        if self.rows <= _MOST_ROWS:
            self._table.add_row(*(Text(_cell(answer, column)) for column in self._columns))

    def end(self) -> None:
        from rich.console import Console

        console = Console()
        console.print(self._table)
        more = f", the first {_MOST_ROWS} shown" if self.rows > _MOST_ROWS else ""
        console.print(f"{self.rows} answers{more}", highlight=False)


def _cell(answer: Answer, column: str) -> str:
    from pacs_actors.dicom.client_identifiers import keyword_of, tag_of

    value = answer.values.get(keyword_of(tag_of(column)), "")
    text = value if isinstance(value, str) else f"{len(value)} items"
    return text.translate({9: " ", 10: " ", 13: " "})
