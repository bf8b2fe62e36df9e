"""TLS for DICOM (PS3.15 B.9 to B.12, BCP 195): contexts for our port and for our calls."""

from __future__ import annotations

import ssl
from functools import partial

from config.settings import TlsSettings
from pacs_actors.renewed_tls import RenewedTls
from protocols.errors import ConfigError

# BCP 195 (RFC 9325): forward secrecy and authenticated encryption only. TLS 1.3's suites are all of that kind.
_TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL"


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """For the DICOM TLS port. Mutual when ``client_ca`` is set: a peer without a certificate of that CA gets no further.

    raises: ConfigError when a file cannot be used
    """
    context = hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    _load_own(context, settings)
    if settings.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, settings.client_ca, "tls.client_ca")
    return context


def renewed_server_context(settings: TlsSettings) -> RenewedTls:
    """As ``server_context``, for one new connection after the other: renewed files are taken. raises: ConfigError"""
    files = (file for file in (settings.certificate, settings.key, settings.client_ca) if file is not None)
    return RenewedTls(partial(server_context, settings), *files)


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """For calls to peers with TLS: their certificate is verified, ours is shown if we have one.

    raises: ConfigError when a file cannot be used
    """
    context = hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    # Peers are known by configured address, and their certificates rarely name it; the CA is what is trusted.
    context.check_hostname = False
    if settings.certificate is not None:
        _load_own(context, settings)
    if settings.client_ca is not None:
        _load_authorities(context, settings.client_ca, "tls.client_ca")
    else:
        context.load_default_certs()
    return context


def hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    """TLS 1.2 and later, with forward secrecy."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _load_own(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.certificate is None or settings.key is None:
        raise ConfigError("tls.certificate: a certificate and its key are needed for TLS")
    try:
        # Rather no key than a question on the terminal.
        context.load_cert_chain(settings.certificate, settings.key, password=b"")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls.certificate: cannot use {settings.certificate} with {settings.key}: {error}"
        ) from error


def _load_authorities(context: ssl.SSLContext, file: str, key: str) -> None:
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{key}: cannot use {file}: {error}") from error
