"""A flood of attempts that have to wait is a few rows a minute, whatever names and addresses it uses."""

from __future__ import annotations

from pacs_actors.people.throttled import MINUTE_S, MOST, MOST_NAMES, OTHERS, Throttled
from protocols.messages.audit import Actor


def by(name: str, address: str = "192.0.2.1") -> Actor:
    return Actor(name, "session", address)


def test_the_first_is_told_at_once_and_the_rest_of_the_minute_together() -> None:
    throttled = Throttled()
    told = [throttled.count(by("jane"), "jane", "192.0.2.1", now) for now in range(50)]
    assert told == [by("jane")] + [None] * 49
    assert throttled.due(MINUTE_S - 1) == []
    assert throttled.due(MINUTE_S) == [(by("jane"), 49)]
    assert throttled.count(by("jane"), "jane", "192.0.2.1", MINUTE_S) == by("jane"), "a new minute"
    assert throttled.due(2 * MINUTE_S) == [], "one that was told is not told again"


def test_accounts_and_addresses_are_told_apart() -> None:
    throttled = Throttled()
    for who in (by("jane"), by("joe"), by("jane", "192.0.2.2")):
        assert throttled.count(who, who.who, who.address, 0) == who


def test_many_names_of_one_address_are_told_together() -> None:
    throttled = Throttled()
    told = [throttled.count(by(f"n{n}"), f"n{n}", "192.0.2.1", 0) for n in range(1000)]
    assert [one.who for one in told if one] == [f"n{n}" for n in range(MOST_NAMES)] + [OTHERS]
    assert throttled.due(MINUTE_S) == [(by(OTHERS), 1000 - MOST_NAMES - 1)]


def test_no_more_than_so_many_are_held() -> None:
    throttled = Throttled()
    told = [throttled.count(by("jane", f"a{n}"), "jane", f"a{n}", 0) for n in range(3 * MOST)]
    assert len([one for one in told if one]) == MOST + 1
    assert throttled.due(MINUTE_S) == [(by(OTHERS, ""), 2 * MOST - 1)]
