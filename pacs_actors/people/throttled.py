"""Who had to wait before they could log in, told once a minute: a flood of attempts must not fill the audit. Pure, bounded.

The first attempt by an account's name from an address is told at once. Those of the next minute are counted, and told together
when it has ended.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from protocols.messages.audit import Actor

MINUTE_S: Final = 60.0
MOST_NAMES: Final = 8
"""Of one network; the rest of them are ``OTHERS``."""
MOST: Final = 1000
OTHERS: Final = "other names"
_Key = tuple[str, str]


class _Minute(Struct):
    by: Actor
    ends_at: float
    more: int = 0


class Throttled:
    def __init__(self) -> None:
        self._minutes: dict[_Key, _Minute] = {}

    def count(self, by: Actor, name: str, network: str, now: float) -> Actor | None:
        """Whom to tell of now; None: they are counted.

        name:    of the account, folded
        network: what the address counts as
        now:     seconds; ``due`` has been asked just before
        """
        key = (network, name)
        if key not in self._minutes and (
            sum(other == network for other, _ in self._minutes) >= MOST_NAMES or len(self._minutes) >= MOST
        ):
            key, by = (network, OTHERS), msgspec.structs.replace(by, who=OTHERS)
            if key not in self._minutes and len(self._minutes) >= MOST:
                key, by = ("", OTHERS), msgspec.structs.replace(by, address="")
        minute = self._minutes.get(key)
        if minute is not None:
            minute.more += 1
            return None
        self._minutes[key] = _Minute(by, now + MINUTE_S)
        return by

    def due(self, now: float) -> list[tuple[Actor, int]]:
        """Who tried again in minutes that have ended, and how often."""
        ended = [key for key, minute in self._minutes.items() if minute.ends_at <= now]
        minutes = [self._minutes.pop(key) for key in ended]
        return [(minute.by, minute.more) for minute in minutes if minute.more]
