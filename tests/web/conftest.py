"""The browser for the tests of pages."""

import pytest

from tests.browser import browser, browser_mark, visit
from tests.web.tls_client import authority, certificate
from web.serving import http1

__all__ = ["authority", "browser", "browser_mark", "certificate", "visit"]


@pytest.fixture
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that the server has sent away does not stay for the whole second that it may."""
    monkeypatch.setattr(http1, "LINGER_S", 0.2)
