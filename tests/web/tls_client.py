"""A client that speaks TLS, and whom it trusts."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.system.certificates import Authority, Certificate
from tests.web.serving import Site

AUTHORITY = "pacs.example"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "web")


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    return authority.issue(AUTHORITY)


@asynccontextmanager
async def speaking(
    here: Site, authority: Authority, *alpn: str, version: ssl.TLSVersion | None = None
) -> AsyncIterator[Any]:
    """A stream to the site. version: the only one that the client speaks. raises: trio.BrokenResourceError"""
    context = ssl.create_default_context(cafile=authority.file)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # or OpenSSL itself would not offer the old ones
    plain = await trio.open_tcp_stream("127.0.0.1", here.port)
    stream = trio.SSLStream(plain, context, server_hostname=AUTHORITY, https_compatible=True)
    try:
        await stream.do_handshake()
        yield stream
    finally:
        await trio.aclose_forcefully(stream)
