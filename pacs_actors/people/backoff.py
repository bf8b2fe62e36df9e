"""How long failed logins make the next one wait. Pure.

Failures are counted per account and per address. Whoever comes from an address from which that account has logged in before
has a counter of their own and is not held up by the other two, so strangers lock out nobody who is at their usual place:
every administrator can still log in from there.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Address, ip_address
from typing import Final

from msgspec import Struct

FORGOTTEN_AFTER_S: Final = 24 * 3600
USUAL_FOR_S: Final = 90 * 24 * 3600


class Tariff(Struct, frozen=True):
    """free: failures without a wait; then 1 s, 2 s, 4 s … up to longest_s."""

    free: int
    longest_s: float

    def wait_s(self, failures: int) -> float:
        over = failures - self.free
        return 0.0 if over < 0 else min(self.longest_s, 2.0 ** min(over, 30))


ACCOUNT: Final = Tariff(free=5, longest_s=900)
ADDRESS: Final = Tariff(free=20, longest_s=900)
USUAL_PLACE: Final = Tariff(free=5, longest_s=60)


class Counter(Struct, frozen=True):
    """One row of the failures. key: a hash, because people type passwords where names belong"""

    key: bytes
    tariff: Tariff


def counters(folded_name: str, address: str, *, usual_place: bool) -> tuple[Counter, ...]:
    """What an attempt counts in, and has to wait for."""
    network = network_of(address)
    if usual_place:
        return (Counter(_key("usual", folded_name, network), USUAL_PLACE),)
    return (Counter(_key("account", folded_name), ACCOUNT), Counter(_key("address", network), ADDRESS))


def network_of(address: str) -> str:
    """What one subscriber has: an IPv4 address, or an IPv6 /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
