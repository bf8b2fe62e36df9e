"""TLS of the web server: which it speaks, and with which certificate."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Final

from pacs_actors.dicom.tls import hardened
from pacs_actors.renewed_tls import LOOKS_EVERY_S, RenewedTls
from protocols.errors import ConfigError

_PROTOCOLS: Final = ["h2", "http/1.1"]


def web_tls(certificate: str, key: str, *, looks_every_s: float = LOOKS_EVERY_S) -> RenewedTls:
    """certificate, key: PEM files; a renewed one is taken by itself. raises: ConfigError"""
    return RenewedTls(partial(_context, certificate, key), certificate, key, looks_every_s=looks_every_s)


def _context(certificate: str, key: str) -> ssl.SSLContext:
    """raises: ConfigError"""
    context = hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.set_alpn_protocols(_PROTOCOLS)
    try:
        context.load_cert_chain(certificate, key, password=b"")  # rather no key than a prompt
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"web.tls_certificate: cannot use {certificate} with {key}: {error}") from error
    return context
