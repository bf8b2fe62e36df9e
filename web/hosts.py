"""Which Host and Origin headers are ours. Pure rules.

A page elsewhere may name 127.0.0.1 in its own DNS ("rebinding") and would then read patient names from a
server that listens on loopback and has no login. So there a Host that is a name must be one that we know.
Websockets know no same-origin policy: their Origin must be the Host that was asked.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def split_host(authority: str) -> tuple[str, int | None] | None:
    """Host name in lower case and port of a Host header; None if it is malformed (RFC 9110 section 7.2)."""
    if not authority or any(character in authority for character in "/?#@\\ \t"):
        return None
    try:
        parts = urlsplit("//" + authority)
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (name.rstrip("."), port) if name else None


def is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)  # every request asks, and clients call us by few names
def host_is_ours(authority: str | None, listening: str, names: tuple[str, ...]) -> bool:
    """Whether a request with this Host header may be served.

    authority:  the header; None when absent, which no browser does
    listening:  the address we listen on
    names:      further names allowed by configuration
    """
    if authority is None:
        return True
    parts = split_host(authority)
    if parts is None:
        return False
    name = parts[0]
    if is_address(name) or name == "localhost" or name.endswith(".localhost"):
        return True
    if name in {listening.lower(), *(allowed.lower() for allowed in names)}:
        return True
    return not (listening == "localhost" or (is_address(listening) and ip_address(listening).is_loopback))


def same_origin(origin: str | None, authority: str | None) -> bool:
    """Whether a websocket's Origin (RFC 6455 4.2.2) is the host it calls; no Origin means no browser."""
    if origin is None:
        return True
    if authority is None:
        return False
    scheme, _, rest = origin.partition("://")
    theirs, ours = split_host(rest), split_host(authority)
    default = _DEFAULT_PORTS.get(scheme.lower())
    if theirs is None or ours is None or default is None:
        return False
    return (theirs[0], theirs[1] or default) == (ours[0], ours[1] or default)


def from_our_page(origin: str | None, root: str) -> bool:
    """Whether an Origin is a page of ours. root: how the client calls us, scheme and authority

    Behind a proxy that nobody has told us of we look like plain HTTP to us, so https may call http; never the other way
    round: anybody on the network can put a page at the http:// of a name.
    """
    scheme, _, authority = root.partition("://")
    if origin is not None and scheme == "https" and not origin.lower().startswith("https://"):
        return False
    return same_origin(origin, authority)
