"""Host and Origin rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.hosts import from_our_page, host_is_ours, same_origin, split_host


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost", "LocalHost:8080", "[::1]:8080", "10.0.0.7", None]
)
def test_addresses_and_localhost_are_ours(host):
    assert host_is_ours(host, "127.0.0.1", ())


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "a b", "x@localhost", "[::1", "h:99999"]
)
def test_on_loopback_other_names_are_refused(host):
    assert not host_is_ours(host, "127.0.0.1", ())
    assert not host_is_ours(host, "localhost", ())
    assert not host_is_ours(host, "::1", ())


def test_a_configured_name_is_ours():
    assert host_is_ours("PACS.hospital.example:443", "127.0.0.1", ("pacs.hospital.example",))
    assert not host_is_ours("other.hospital.example", "127.0.0.1", ("pacs.hospital.example",))


def test_off_loopback_names_are_served():
    assert host_is_ours("pacs.hospital.example", "0.0.0.0", ())
    assert host_is_ours("pacs.hospital.example", "pacs.hospital.example", ())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "127.0.0.1:8080"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://LOCALHOST:8080", "localhost:8080"),
        ("https://pacs.example", "pacs.example"),
        ("https://pacs.example", "pacs.example:443"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_same_origin_may_watch(origin, host):
    assert same_origin(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "127.0.0.1:8080"),
        ("http://127.0.0.1:8081", "127.0.0.1:8080"),
        ("http://127.0.0.1", "127.0.0.1:8080"),
        ("null", "127.0.0.1:8080"),
        ("", "127.0.0.1:8080"),
        ("file://", "127.0.0.1:8080"),
        ("http://127.0.0.1:8080", None),
        ("ws://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://127.0.0.1:8080@evil.example", "127.0.0.1:8080"),
    ],
)
def test_another_origin_may_not(origin, host):
    assert not same_origin(origin, host)


@pytest.mark.parametrize(
    ("origin", "root", "ours"),
    [
        (None, "https://pacs.example", True),
        ("https://pacs.example", "https://pacs.example", True),
        ("https://pacs.example", "http://pacs.example", True),
        ("http://pacs.example", "http://pacs.example", True),
        ("http://pacs.example", "https://pacs.example", False),
        ("http://pacs.example:8443", "https://pacs.example:8443", False),
        ("https://pacs.example:8443", "https://pacs.example", False),
    ],
)
def test_a_page_that_came_in_the_clear_is_not_ours_behind_tls(
    origin: str | None, root: str, *, ours: bool
) -> None:
    assert from_our_page(origin, root) is ours


@given(st.text())
def test_any_header_has_an_answer(text):
    split_host(text)
    assert not same_origin(text, None)
