"""TLS of the web server: which it speaks, and with which certificate; a renewed one is taken by itself."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import trio

from pacs_actors.dicom.tls import hardened
from pacs_actors.operations import logs
from protocols.errors import ConfigError

_LOOKS_EVERY_S: Final = 2.0
_PROTOCOLS: Final = ["h2", "http/1.1"]


class Certificate:
    """The context of new connections. Programs that renew certificates replace the files: they are looked at now and then.

    certificate, key:  PEM files
    raises: ConfigError when they cannot be used at the start; later the old ones stay in use
    """

    def __init__(self, certificate: str, key: str, *, looks_every_s: float = _LOOKS_EVERY_S) -> None:
        self._certificate, self._key, self._every_s = certificate, key, looks_every_s
        self._looked, self._seen = trio.current_time(), self._stamp()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
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
            self._context = self._load()
        except ConfigError as problem:  # one file is there before the other: it is tried again
            logs.warning("certificate_not_usable", why=str(problem))
        else:
            self._seen = stamp
            logs.event("certificate_taken", file=self._certificate)

    def _stamp(self) -> tuple[object, ...]:
        try:
            found = [Path(name).stat() for name in (self._certificate, self._key)]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)

    def _load(self) -> ssl.SSLContext:
        """raises: ConfigError"""
        context = hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        context.set_alpn_protocols(_PROTOCOLS)
        try:
            context.load_cert_chain(self._certificate, self._key, password=b"")  # rather no key than a prompt
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"web.tls_certificate: cannot use {self._certificate} with {self._key}: {error}"
            ) from error
        return context
