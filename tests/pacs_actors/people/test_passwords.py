"""Passwords, secrets and the waits after failed logins: rules without a database (SECURITY 6, 23)."""

from __future__ import annotations

import argon2
import pytest

from pacs_actors.people import first_administrator, passwords, tickets
from pacs_actors.people.backoff import ACCOUNT, ADDRESS, USUAL_PLACE, counters, network_of
from pacs_actors.people.credentials import SigningKey
from pacs_actors.people.password_hasher import PasswordHasher
from protocols.errors import ConfigError, Unavailable


@pytest.mark.parametrize(
    ("password", "username"),
    [
        ("short", "jane"),
        ("x" * 11, "jane"),
        ("x" * 1025, "jane"),
        ("Administrator1", "jane"),
        ("password12345", "jane"),
        ("aaaaaaaaaaaaaaaa", "jane"),
        ("Jane.Doe@Hospital", "jane.doe@hospital"),
        ("JaneDoeJaneDoe", "janedoe"),
        ("eod.enaj.rotcod", "doctor.jane.doe"),
        ("has a \0 in the middle", "jane"),
    ],
)
def test_a_password_that_is_guessed_first_is_refused(password: str, username: str) -> None:
    assert passwords.password_problem(password, username)


def test_a_long_password_is_taken_whatever_it_is_made_of() -> None:
    for password in (
        "seven horses on the pier",
        "пароль из многих слов",
        "密码密码由很多字组成的句子",
        "kx8!kx9?kx7.",
    ):
        assert passwords.password_problem(password, "jane") is None


def test_hashes_are_argon2id_with_no_less_than_is_asked_for() -> None:
    stored = passwords.hashed("seven horses on the pier")
    parameters = argon2.extract_parameters(stored)
    assert parameters.type is argon2.Type.ID
    assert parameters.memory_cost >= 19 * 1024
    assert parameters.time_cost >= 2
    assert passwords.matches("seven horses on the pier", stored)
    assert not passwords.matches("Seven horses on the pier", stored)
    assert not passwords.is_outdated(stored)
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("x")
    assert passwords.is_outdated(weak)


def test_an_unknown_user_is_compared_with_a_hash_of_the_same_cost() -> None:
    """So it takes as long, and never matches, not even what the hash was made of."""
    assert argon2.extract_parameters(passwords.DUMMY_HASH) == argon2.extract_parameters(passwords.hashed("x"))
    assert not passwords.matches("anything", None)
    assert not passwords.matches("anything", "damaged")


def test_generated_passwords_are_good_and_differ() -> None:
    made = {passwords.generated() for _ in range(50)}
    assert len(made) == 50
    assert all(passwords.password_problem(password, "admin") is None for password in made)


async def test_a_flood_of_logins_is_turned_away_and_not_queued_without_end() -> None:
    import trio

    refused = 0
    async with PasswordHasher() as hasher, trio.open_nursery() as nursery:

        async def attempt() -> None:
            nonlocal refused
            try:
                await hasher.matches("x", None)
            except Unavailable:
                refused += 1

        for _ in range(40):
            nursery.start_soon(attempt)
    assert refused == 16


def test_the_first_administrators_password_is_taken_out_of_the_environment(tmp_path) -> None:
    environ = {"PACS_ADMIN_PASSWORD": "seven horses", "OTHER": "stays"}
    assert first_administrator.given(environ) == "seven horses"
    assert environ == {"OTHER": "stays"}
    assert first_administrator.given(environ) is None
    (tmp_path / "secret").write_text("eight horses\n")
    assert first_administrator.given({"PACS_ADMIN_PASSWORD_FILE": str(tmp_path / "secret")}) == "eight horses"
    with pytest.raises(ConfigError, match="PACS_ADMIN_PASSWORD_FILE"):
        first_administrator.given({"PACS_ADMIN_PASSWORD_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    "password", ["admin", "changeme", "Password123", "orthanc", "12345678", "aaaaaaaa", "x"]
)
def test_a_password_of_an_example_is_refused_for_the_first_administrator(password: str) -> None:
    with pytest.raises(ConfigError, match="PACS_ADMIN_PASSWORD") as refused:
        first_administrator.given({"PACS_ADMIN_PASSWORD": password})
    assert password not in str(refused.value) or password in ("admin", "x")


def test_secrets_have_256_bits_and_a_prefix_and_are_kept_as_their_hash() -> None:
    made = {tickets.new_secret(tickets.SESSION) for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert tickets.looks_like(secret, tickets.SESSION)
        assert not tickets.looks_like(secret, tickets.API_TOKEN)
        assert len(tickets.digest(secret)) == 32
    assert not tickets.looks_like("ses_" + "x" * 10_000, tickets.SESSION)


def test_waits_double_and_end() -> None:
    for tariff in (ACCOUNT, ADDRESS, USUAL_PLACE):
        assert [tariff.wait_s(n) for n in (1, tariff.free - 1, tariff.free, tariff.free + 1)] == [0, 0, 1, 2]
        assert tariff.wait_s(10_000) == tariff.longest_s
    assert USUAL_PLACE.longest_s <= 60


def test_strangers_do_not_count_for_who_is_at_their_usual_place() -> None:
    stranger = {one.key for one in counters("admin", "203.0.113.5", usual_place=False)}
    same_address = {one.key for one in counters("admin", "192.0.2.1", usual_place=False)}
    at_home = {one.key for one in counters("admin", "192.0.2.1", usual_place=True)}
    assert not at_home & (stranger | same_address)
    assert len(stranger & same_address) == 1, "the account's counter"


def test_a_subscribers_addresses_count_as_one() -> None:
    assert (
        network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") != network_of("2001:db8:1:3::1")
    )
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("unix:" + "x" * 100) == ("unix:" + "x" * 100)[:64]


def test_nothing_that_holds_a_secret_shows_it() -> None:
    from supervisors.orders import WorkerOrders
    from web.api.login import Credentials
    from web.api.me import NewPassword
    from web.api.users import GivenPassword, NewUser

    secret = "the secret"
    for holder in (
        SigningKey("kid", secret, 0, 0),
        Credentials("jane", secret),
        NewPassword(secret, secret),
        GivenPassword(secret),
        NewUser(username="jane", password=secret),
        WorkerOrders(None, 0, 1, 1, 1, None, 1, secret, secret, secret),  # type: ignore[arg-type]
    ):
        assert secret not in repr(holder), type(holder)
