"""The browser for the tests of pages."""

from tests.browser import browser, browser_mark, visit
from tests.web.tls_client import authority, certificate

__all__ = ["authority", "browser", "browser_mark", "certificate", "visit"]
