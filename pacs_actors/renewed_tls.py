"""The TLS context of new connections, with the files that are there now: programs that renew certificates replace them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from pacs_actors.operations import logs
from protocols.errors import ConfigError

LOOKS_EVERY_S: Final = 2.0


class RenewedTls:
    """Call it for the context.

    make:   a context made of the files as they are; raises ConfigError when they cannot be used
    files:  they are looked at now and then, when there is a new connection
    raises: ConfigError at the start; later the old context stays in use
    """

    def __init__(
        self, make: Callable[[], ssl.SSLContext], *files: str, looks_every_s: float = LOOKS_EVERY_S
    ) -> None:
        self._make, self._files, self._every_s = make, files, looks_every_s
        self._looked, self._seen = trio.current_time(), self._stamp()
        self._context = make()

    def __call__(self) -> ssl.SSLContext:
        now = trio.current_time()
        if now - self._looked >= self._every_s:
            self._looked = now
            self._look()
        return self._context

    def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        try:
            self._context = self._make()
        except ConfigError as problem:  # one file is there before the other: it is tried again
            logs.warning("certificate_not_usable", why=str(problem))
        else:
            self._seen = stamp
            logs.event("certificate_taken", file=self._files[0])

    def _stamp(self) -> tuple[object, ...]:
        try:
            found = [Path(name).stat() for name in self._files]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)
