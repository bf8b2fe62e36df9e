"""``pacs-actors`` with other words than ``serve``, in this process: a process of its own takes a second to begin."""

from __future__ import annotations

import contextlib
import io
import logging

from msgspec import Struct

from supervisors.cli import main


class Done(Struct, frozen=True):
    """As of a process that has ended."""

    returncode: int
    stdout: str
    stderr: str


def ran(*words: object) -> Done:
    """What a command did. Its bugs are raised; what it sets for the log ends with it."""
    root, out, err = logging.getLogger(), io.StringIO(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return Done(code, out.getvalue(), err.getvalue())
