"""A websocket to a server's live view, over TLS where its URL says so. Why TLS fails is told, which trio-websocket does not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionTimeout, DisconnectionTimeout, WebSocketConnection, wrap_client_stream

from protocols.errors import ConfigError

_CONNECTED_WITHIN_S: Final = 10.0
_CLOSED_WITHIN_S: Final = 2.0
_MOST_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_PORTS: Final = {"http": 80, "https": 443}


class NotTrusted(ConfigError):
    """The server's certificate does not show that it is the one of the URL."""


class LiveAddress:
    """Where a server's live view is.

    url:    of the server, http or https
    ca:     PEM file of the CAs that its certificate must come from; None: the system's
    raises: ConfigError for a URL that is none, or a file that holds no CA
    """

    def __init__(self, url: str, ca: str | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            port = None
        if port is None or parts.scheme not in _PORTS or not parts.hostname:
            raise ConfigError(f"--url: expected http://host:port or https://host:port, not {url!r}")
        self.url, self.host, self.port = url, parts.hostname, port
        self.path = f"{parts.path.rstrip('/')}/api/v1/live"
        self.tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self.tls = _trusting(ca)
        elif ca is not None:
            raise ConfigError("--ca: of use with https:// only")

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in _PORTS.values() else f"{host}:{self.port}"


@asynccontextmanager
async def live_connection(address: LiveAddress, token: str) -> AsyncIterator[WebSocketConnection]:
    """raises: OSError, NotTrusted, and what trio-websocket raises"""
    async with trio.open_nursery(strict_exception_groups=False) as nursery:
        try:
            with trio.fail_after(_CONNECTED_WITHIN_S):
                connection = await wrap_client_stream(
                    nursery, await _stream(address), address.authority, address.path,
                    extra_headers=[(b"Authorization", f"Bearer {token}".encode())],
                    max_message_size=_MOST_MESSAGE_BYTES,
                )  # fmt: skip
        except trio.TooSlowError:
            raise ConnectionTimeout from None
        try:
            yield connection
        finally:
            with trio.move_on_after(_CLOSED_WITHIN_S, shield=True) as patience:
                await connection.aclose()
            nursery.cancel_scope.cancel()
        if patience.cancelled_caught:
            raise DisconnectionTimeout


async def _stream(address: LiveAddress) -> Any:
    """raises: OSError, NotTrusted"""
    plain = await trio.open_tcp_stream(address.host, address.port)
    if address.tls is None:
        return plain
    stream = trio.SSLStream(plain, address.tls, server_hostname=address.host, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as broken:
        await trio.aclose_forcefully(stream)
        match broken.__cause__:
            case ssl.SSLCertVerificationError(verify_message=why):
                raise NotTrusted(
                    f"{address.url}: its certificate is not trusted: {why}. --ca names the CA to trust"
                ) from None
            case why:
                raise OSError(f"no TLS: {why}") from None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def _trusting(ca: str | None) -> ssl.SSLContext:
    """raises: ConfigError"""
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"--ca: cannot use {ca}: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
