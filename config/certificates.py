"""Whether the PEM files that settings name can be used: looked at by ``config check``, and before a server starts.

Not with every command: whoever reads the audit need not be allowed to read a private key.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from config.load import written_in
from config.settings import Settings
from protocols.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_ENDS_SOON: Final = timedelta(days=14)
_LARGEST_BYTES: Final = 1024 * 1024


class _Pair(NamedTuple):
    """Key paths of a certificate chain and its private key, and their files."""

    certificate: str
    key: str
    certificate_file: str
    key_file: str


class _Unusable(Exception):
    """What is wrong with a file, as a sentence that begins with the key path."""


def check(settings: Settings, origins: Mapping[str, str]) -> None:
    """origins: key path -> where it was written. raises: ConfigError for the first file that cannot be used"""
    for problem in problems(settings):
        raise ConfigError(problem + written_in(problem, origins))


def problems(settings: Settings) -> Iterator[str]:
    """Every file that cannot be used, as a sentence that begins with the key path."""
    for pair in _pairs(settings):
        try:
            _check_pair(pair)
        except _Unusable as problem:
            yield str(problem)
    for path, file in _authorities(settings):
        try:
            _certificates(path, file)
            ssl.create_default_context(cafile=file)
        except _Unusable as problem:
            yield str(problem)
        except (OSError, ssl.SSLError) as error:
            yield f"{path}: cannot use {file}: {error}"


def warnings(settings: Settings, now: datetime | None = None) -> Iterator[str]:
    """Certificates that peers will refuse, or soon will. now: none: this moment"""
    now = datetime.now(UTC) if now is None else now
    named = [(pair.certificate, pair.certificate_file) for pair in _pairs(settings)]
    for path, file in [*named, *_authorities(settings)]:
        try:
            for certificate in _certificates(path, file):
                yield from _untimely(path, file, certificate, now)
        except _Unusable:
            continue  # a problem, not a warning


def _untimely(path: str, file: str, certificate: Certificate, now: datetime) -> Iterator[str]:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        yield f"{path}: {file} is not valid before {begins:%Y-%m-%d %H:%M} UTC"
    elif now >= ends:
        yield f"{path}: {file} has expired on {ends:%Y-%m-%d %H:%M} UTC"
    elif now >= ends - _ENDS_SOON:
        yield f"{path}: {file} expires on {ends:%Y-%m-%d %H:%M} UTC"


def _pairs(settings: Settings) -> list[_Pair]:
    """Of both or neither is a rule of its own (``config.checks``)."""
    web, tls, audit = settings.web, settings.tls, settings.audit
    named = (
        ("web.tls_certificate", "web.tls_key", web.tls_certificate, web.tls_key),
        ("tls.certificate", "tls.key", tls.certificate, tls.key),
        ("audit.syslog_certificate", "audit.syslog_key", audit.syslog_certificate, audit.syslog_key),
    )
    return [
        _Pair(certificate, key, certificate_file, key_file)
        for certificate, key, certificate_file, key_file in named
        if certificate_file is not None and key_file is not None
    ]


def _authorities(settings: Settings) -> list[tuple[str, str]]:
    named = (
        ("tls.client_ca", settings.tls.client_ca),
        ("audit.syslog_ca", settings.audit.syslog_ca),
        ("people.oidc_ca", settings.people.oidc_ca),
    )
    return [(path, file) for path, file in named if file is not None]


def _check_pair(pair: _Pair) -> None:
    """raises: _Unusable"""
    # Here, for they cost 0.1 s, and most servers name no such file.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    own = _certificates(pair.certificate, pair.certificate_file)[0]
    try:
        key = load_pem_private_key(_read(pair.key, pair.key_file), None)
    except TypeError:
        raise _Unusable(
            f"{pair.key}: {pair.key_file} is encrypted; nobody could be asked for its password"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _Unusable(f"{pair.key}: {pair.key_file} holds no private key (PEM)") from None
    if key.public_key() != own.public_key():
        raise _Unusable(f"{pair.key}: {pair.key_file} is not the key of {pair.certificate_file}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            pair.certificate_file, pair.key_file, password=b""
        )
    except (OSError, ssl.SSLError) as error:  # such as a key that is too short for anybody to accept
        raise _Unusable(f"{pair.certificate}: cannot use {pair.certificate_file}: {error}") from None


def _certificates(path: str, file: str) -> list[Certificate]:
    """At least one. raises: _Unusable"""
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    try:
        return load_pem_x509_certificates(_read(path, file))
    except ValueError:
        raise _Unusable(f"{path}: {file} holds no certificate (PEM)") from None


def _read(path: str, file: str) -> bytes:
    """raises: _Unusable"""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise _Unusable(f"{path}: cannot read {file}: {error.strerror}") from None
    if len(data) > _LARGEST_BYTES:
        raise _Unusable(f"{path}: {file} is too large for a PEM file")
    return data
