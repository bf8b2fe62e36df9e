"""Where a request comes from and how it calls us: proxies that we trust are believed, nobody else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.http.public_root import Seen, networks, seen_from

PROXIES = networks(["10.0.0.0/8", "::1/128", "127.0.0.1"])
HOST = ("host", "inside:8080")


def seen(
    address: str, *headers: tuple[str, str], public_root: str | None = None, scheme: str = "http"
) -> Seen:
    raw = [(name.encode(), value.encode()) for name, value in (HOST, *headers)]
    return seen_from(address, scheme, raw, PROXIES, public_root)


def test_without_a_proxy_it_is_the_connection_and_the_host_header() -> None:
    assert seen("192.0.2.7") == Seen("192.0.2.7", "http://inside:8080")
    assert seen("192.0.2.7", scheme="wss") == Seen("192.0.2.7", "https://inside:8080")


@pytest.mark.parametrize(
    "header",
    [
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=198.51.100.1;proto=https;host=evil.example"),
    ],
)
def test_a_stranger_is_not_believed(header: tuple[str, str]) -> None:
    assert seen("192.0.2.7", header) == Seen("192.0.2.7", "http://inside:8080")


def test_a_trusted_proxy_is_believed() -> None:
    headers = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "pacs.example"),
    ]
    assert seen("10.0.0.1", *headers) == Seen("192.0.2.7", "https://pacs.example")
    forwarded = ("forwarded", 'for="[2001:db8::7]:4711";proto=https;host="pacs.example:8443"')
    assert seen("::1", forwarded) == Seen("2001:db8::7", "https://pacs.example:8443")
    assert seen("::ffff:10.0.0.1", *headers).address == "192.0.2.7"


def test_what_a_client_puts_before_the_proxies_entry_is_not_believed() -> None:
    assert seen("10.0.0.1", ("x-forwarded-for", "127.0.0.1, 192.0.2.7")).address == "192.0.2.7"
    assert (
        seen("10.0.0.1", ("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "192.0.2.7")).address
        == "192.0.2.7"
    )
    forged = ("forwarded", "for=127.0.0.1;host=evil.example, for=192.0.2.7;host=pacs.example")
    assert seen("10.0.0.1", forged) == Seen("192.0.2.7", "http://pacs.example")


def test_a_forwarded_that_the_proxy_has_only_passed_on_is_not_believed() -> None:
    """Most proxies write X-Forwarded-* and leave alone whatever else a client sends."""
    forged = ("forwarded", "for=127.0.0.1;host=evil.example;proto=http")
    headers = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")]
    assert seen("10.0.0.1", forged, *headers) == Seen("192.0.2.7", "https://inside:8080")


def test_a_chain_of_trusted_proxies_is_followed_to_the_client() -> None:
    headers = [
        ("x-forwarded-for", "203.0.113.1, 192.0.2.7, 10.0.0.2"),
        ("x-forwarded-proto", "http, https, http"),
        ("x-forwarded-host", "evil.example, pacs.example, inner"),
    ]
    assert seen("10.0.0.1", *headers) == Seen("192.0.2.7", "https://pacs.example")


@pytest.mark.parametrize("value", ["unknown", "_hidden", "", ",,,", "300.1.1.1", "a" * 10_000])
def test_what_is_no_address_leaves_that_of_the_proxy(value: str) -> None:
    assert seen("10.0.0.1", ("x-forwarded-for", value)).address == "10.0.0.1"


@pytest.mark.parametrize("host", ["evil.example/path", "a b", "user@host", "", "x:99999999"])
def test_what_is_no_host_leaves_that_of_the_request(host: str) -> None:
    assert seen("10.0.0.1", ("x-forwarded-host", host)).root == "http://inside:8080"


def test_the_settings_know_best() -> None:
    forwarded = ("x-forwarded-host", "other.example")
    assert seen("10.0.0.1", forwarded, public_root="https://pacs.example/").root == "https://pacs.example"


NAMES = st.sampled_from(["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"])


@given(st.lists(st.tuples(NAMES, st.text(max_size=60)), max_size=6))
def test_whatever_comes_there_is_an_answer(headers: list[tuple[str, str]]) -> None:
    raw = [(name.encode(), value.encode("utf-8", "replace")) for name, value in (HOST, *headers)]
    found = seen_from("10.0.0.1", "http", raw, PROXIES, None)
    assert found.address and found.root.startswith(("http://", "https://"))
    assert seen_from("192.0.2.7", "http", raw, PROXIES, None) == Seen("192.0.2.7", "http://inside:8080")
