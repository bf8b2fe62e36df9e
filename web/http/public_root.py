"""Where a request comes from and what the client calls us, behind proxies or not. Pure.

What ``Forwarded`` (RFC 7239) and ``X-Forwarded-*`` say counts only when the peer is a proxy that we trust: everybody can send
them. Read from the right, where the nearest proxy has written, to the first address that is no proxy of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from msgspec import Struct

from web.hosts import split_host

Network = IPv4Network | IPv6Network
# Where a proxy writes these, a Forwarded beside them is the client's, for few proxies know it and take it away.
_CUSTOMARY: Final = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})
_MOST_HOPS: Final = 32
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PAIR: Final = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,"\s]*)\s*')


class Seen(Struct, frozen=True):
    """address: of the client. root: how it calls us, without a trailing slash, such as ``https://pacs.example:8443``"""

    address: str
    root: str


class _Hop(Struct, frozen=True):
    """What one proxy has seen; "" for what it does not say."""

    address: str
    scheme: str
    host: str


def networks(trusted: Iterable[str]) -> tuple[Network, ...]:
    """raises: ValueError"""
    return tuple(ip_network(text, strict=False) for text in trusted)


def seen_from(
    address: str,
    scheme: str,
    headers: Sequence[tuple[bytes, bytes]],
    trusted: Sequence[Network],
    public_root: str | None,
) -> Seen:
    """address, scheme: of the connection. public_root: of the settings, which know best"""
    scheme = _SCHEMES.get(scheme, "http")
    host = next((value for name, value in headers if name.lower() == b"host"), b"").decode("latin-1")
    if trusted and _is_among(address, trusted):
        values: dict[str, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        for hop in reversed(_hops(values)):
            address = hop.address or address
            scheme = _SCHEMES.get(hop.scheme.lower(), scheme)
            host = hop.host if split_host(hop.host) else host
            if not hop.address or not _is_among(address, trusted):
                break
    return Seen(address, (public_root or f"{scheme}://{host}").rstrip("/"))


def _hops(values: dict[str, list[str]]) -> list[_Hop]:
    """Of the client first, as far as they are understood."""
    if "forwarded" in values and values.keys().isdisjoint(_CUSTOMARY):
        return [_forwarded(element) for element in _listed(values["forwarded"])]
    addresses = _listed(values.get("x-forwarded-for", []))
    schemes, hosts = _listed(values.get("x-forwarded-proto", [])), _listed(values.get("x-forwarded-host", []))
    count = len(addresses) or 1
    return [
        _Hop(
            _address(addresses[n]) if addresses else "",
            _of_hop(schemes, n, count),
            _of_hop(hosts, n, count),
        )
        for n in range(count)
    ]


def _of_hop(values: list[str], number: int, count: int) -> str:
    """Proxies write one for each hop, or one for all."""
    if not values:
        return ""
    return values[number] if len(values) == count else values[-1]


def _listed(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",")][-_MOST_HOPS:]


def _forwarded(element: str) -> _Hop:
    pairs = {
        match[1].lower(): match[2].strip('"')
        for match in (_PAIR.fullmatch(pair) for pair in element.split(";"))
        if match
    }
    return _Hop(_address(pairs.get("for", "")), pairs.get("proto", ""), pairs.get("host", ""))


def _address(text: str) -> str:
    """An address without its port; "" for what is none (``unknown``, ``_hidden``)."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    parsed = _parsed(text)
    return "" if parsed is None else str(parsed)


def _is_among(address: str, trusted: Sequence[Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
