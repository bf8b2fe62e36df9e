"""The browser for the tests of pages."""

from tests.browser import browser, browser_mark, visit

__all__ = ["browser", "browser_mark", "visit"]
