"""The subcommands, one file each.

A file has ``register(commands)``, which adds a parser with ``set_defaults(run=…)``; ``run(arguments)`` gives
the exit code. The parser's ``later`` adds options that take imports. Whatever is slow to import is imported
in these two, so that ``pacs-actors --help`` stays quick.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

from supervisors.options import Commands

Register = Callable[[Commands], None]


def registrations() -> Iterator[Register]:
    """``register`` of every file in this folder, by name."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
        yield importlib.import_module(f"{__name__}.{module.name}").register
