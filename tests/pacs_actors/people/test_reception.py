"""Logging in, being known again, being shown out: with a real database (SECURITY 6, 7)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pacs_actors.people import access_tokens, tickets
from pacs_actors.people.access_tokens import AUDIENCE, ISSUER, AccessTokens, NotRecognised
from pacs_actors.people.backoff import ACCOUNT, ADDRESS, counters
from pacs_actors.people.directory import UserChange
from pacs_actors.people.reception import REMEMBERED_S, BadPassword, Login, Reception, SlowDown
from pacs_actors.people.rights import Action, Via
from protocols.errors import Unavailable
from tests.pacs_actors.people.conftest import PASSWORD, Desk

HOME, STRANGE = "192.0.2.1", "203.0.113.9"


async def admitted(people: Reception, login: Login) -> set[str]:
    """By which of its credentials a login is still known."""
    found = set()
    if await people.of_cookie(login.session_secret):
        found.add("cookie")
    try:
        await people.of_bearer(login.access_token)
        found.add("access token")
    except NotRecognised:
        pass
    return found


async def refused(people: Desk, token: str) -> bool:
    try:
        await people.of_bearer(token)
    except NotRecognised:
        return True
    return False


async def test_a_login_gives_a_session_that_cookie_and_access_token_prove(people: Desk) -> None:
    login = await people.login("ADMIN", PASSWORD, HOME)
    cookie, bearer = await people.of_cookie(login.session_secret), await people.of_bearer(login.access_token)
    assert cookie is not None
    assert (cookie.name, cookie.cookie, bearer.cookie) == ("admin", True, False)
    assert cookie.session == bearer.session == login.principal.session
    assert bearer.actions == frozenset(Action) and bearer.scope.everything and bearer.via is Via.SESSION
    assert people.events() == [("login", "success", "admin")]


async def test_wrong_passwords_unknown_and_disabled_users_are_refused_alike_and_audited(people: Desk) -> None:
    jane = await people.person("jane", "viewer")
    await people.directory.change(jane.id, UserChange(enabled=False))
    said = set()
    for username, password in (("admin", "wrong"), ("nobody", PASSWORD), ("jane", PASSWORD), ("a\0b", "x\0")):
        with pytest.raises(NotRecognised) as refusal:
            await people.login(username, password, HOME)
        said.add(str(refusal.value))
    assert len(said) == 1
    assert [event[:2] for event in people.events()] == [("login", "failure")] * 4


async def test_an_unknown_user_costs_as_many_hashes_as_a_known_one(people: Desk, monkeypatch: Any) -> None:
    compared = []

    async def matches(password: str, stored: str | None) -> bool:
        compared.append(stored)
        return False

    monkeypatch.setattr(people.hasher, "matches", matches)
    for username in ("admin", "nobody"):
        with pytest.raises(NotRecognised):
            await people.login(username, "wrong", HOME)
    assert len(compared) == 2 and compared[1] is None


async def test_guesses_at_an_account_have_to_wait_even_with_the_right_password(people: Desk) -> None:
    for number in range(ACCOUNT.free):
        with pytest.raises(NotRecognised):
            await people.login("admin", "wrong", f"198.51.100.{number}")
    with pytest.raises(SlowDown) as slow:
        await people.login("admin", PASSWORD, STRANGE)
    assert 0 < slow.value.wait_s <= 1


async def test_strangers_cannot_lock_out_who_is_at_their_usual_place(people: Desk) -> None:
    await people.login("admin", PASSWORD, HOME)
    await people.sql(
        "INSERT INTO login_failures (key, failures, last_at, blocked_until)"
        " VALUES ($1, 99, now(), now() + interval '1 hour')",
        (await _keys(people))[0],
    )
    with pytest.raises(SlowDown):
        await people.login("admin", PASSWORD, STRANGE)
    assert (await people.login("admin", PASSWORD, HOME)).user.username == "admin"


async def _keys(people: Desk) -> list[bytes]:
    return [counter.key for counter in counters("admin", STRANGE, usual_place=False)]


async def test_guesses_from_one_address_have_to_wait_whatever_names_they_try(
    people: Desk, monkeypatch: Any
) -> None:
    async def never(password: str, stored: str | None) -> bool:
        return False

    monkeypatch.setattr(people.hasher, "matches", never)
    for number in range(ADDRESS.free):
        with pytest.raises(NotRecognised):
            await people.login(f"user{number}", "x", STRANGE)
    with pytest.raises(SlowDown):
        await people.login("another", "x", STRANGE)
    assert await _failures(people) == ADDRESS.free + 1, "nothing is kept of a name that was not tried"
    with pytest.raises(NotRecognised):
        await people.login("another", "x", HOME)


async def _failures(people: Desk) -> int:
    async def unit(connection: Any) -> int:
        counted: int = await connection.fetchval("SELECT count(*) FROM login_failures")
        return counted

    return await people.database.run(unit)


async def test_guesses_made_at_once_count_each(people: Desk) -> None:
    outcomes: list[type[Exception]] = []

    async def guess() -> None:
        try:
            await people.login("admin", "wrong", STRANGE)
        except (NotRecognised, SlowDown) as refusal:
            outcomes.append(type(refusal))

    async with trio.open_nursery() as nursery:
        for _ in range(15):
            nursery.start_soon(guess)
    assert outcomes.count(NotRecognised) == ACCOUNT.free
    assert outcomes.count(SlowDown) == 15 - ACCOUNT.free


async def test_who_finds_too_many_before_them_has_not_failed(people: Desk, monkeypatch: Any) -> None:
    monkeypatch.setattr("pacs_actors.people.password_hasher._MOST_WAITING", 0)
    for _ in range(2 * ADDRESS.free):
        with pytest.raises(Unavailable, match="at once"):
            await people.login("admin", PASSWORD, STRANGE)
    monkeypatch.undo()
    assert people.events() == []
    await people.login("admin", PASSWORD, STRANGE)


async def test_an_attempt_that_is_withdrawn_takes_back_itself_and_no_wait_of_others(people: Desk) -> None:
    counted = counters("admin", STRANGE, usual_place=False)
    attempts = [await people.attempts.begin(counted) for _ in range(ACCOUNT.free - 1)]
    withdrawn = attempts[-1]
    last = await people.attempts.begin(counted)
    assert last.wait_s == 0
    await people.attempts.withdraw(withdrawn)
    assert (await people.attempts.begin(counted)).wait_s > 0, "the last one began a wait, and stands"
    await people.attempts.withdraw(last)
    assert (await people.attempts.begin(counted)).wait_s == 0
    assert (await people.attempts.begin(counted)).wait_s == 0
    assert (await people.attempts.begin(counted)).wait_s > 0, "and all others count"


async def test_attempts_that_have_to_wait_are_one_row_a_minute(people: Desk, monkeypatch: Any) -> None:
    await people.sql(
        "INSERT INTO login_failures (key, failures, last_at, blocked_until)"
        " VALUES ($1, 99, now(), now() + interval '1 hour')",
        (await _keys(people))[0],
    )
    for _ in range(20):
        with pytest.raises(SlowDown):
            await people.login("admin", PASSWORD, STRANGE)
    assert people.events() == [("login", "failure", "admin")]
    await people.tell_throttled()
    assert people.events() == []
    await people.tell_throttled(all_of_them=True)
    event = people.mailbox.receive_nowait().message
    assert (event.who, event.outcome, event.details["attempts"]) == ("admin", "failure", 19)
    assert people.events() == []


async def test_a_logout_ends_cookie_access_and_refresh_token(people: Desk) -> None:
    login, other = await people.login("admin", PASSWORD, HOME), await people.login("admin", PASSWORD, HOME)
    assert await admitted(people, login) == {"cookie", "access token"}
    await people.logout(login.principal, HOME)
    assert await admitted(people, login) == set()
    with pytest.raises(NotRecognised):
        await people.refresh(login.refresh_token, HOME)
    assert await admitted(people, other) == {"cookie", "access token"}
    assert people.events()[-1] == ("logout", "success", "admin")


async def test_a_session_ends_when_it_is_idle_and_when_it_is_old(people: Desk) -> None:
    for change in ("used_at = now() - interval '7201 s'", "expires_at = now()"):
        login = await people.login("admin", PASSWORD, HOME)
        await people.sql(f"UPDATE sessions SET {change}")
        assert await admitted(people, login) == set()
        assert await people.holds(login.principal) is None


async def test_use_keeps_a_session_alive_and_looking_whether_it_holds_does_not(people: Desk) -> None:
    login = await people.login("admin", PASSWORD, HOME)
    await people.sql("UPDATE sessions SET used_at = now() - interval '7000 s'")
    assert await people.holds(login.principal) is not None
    assert await _idle_s(people) > 6000
    assert await people.of_cookie(login.session_secret) is not None
    assert await _idle_s(people) < 60


async def _idle_s(people: Desk) -> float:
    async def unit(connection: Any) -> float:
        return float(
            await connection.fetchval("SELECT extract(epoch FROM now() - max(used_at)) FROM sessions")
        )

    return await people.database.run(unit)


@pytest.mark.parametrize("how", ["revoked", "disabled", "role taken"])
async def test_another_worker_heeds_a_revocation_within_five_seconds(
    people: Desk, how: str, monkeypatch: Any
) -> None:
    """The other worker is another reception on the same database; its clock is moved on, nobody waits."""
    jane = await people.person("jane", "technologist")
    login = await people.login("jane", PASSWORD, HOME)
    other = Desk(people.settings, people.database, people.hasher)
    before = await other.of_bearer(login.access_token)
    assert before.may(Action.STORE)
    if how == "revoked":
        await people.credentials.end_all(jane.id)
    elif how == "disabled":
        await people.directory.change(jane.id, UserChange(enabled=False))
    else:
        await people.directory.change(jane.id, UserChange(roles=("viewer",)))
    assert REMEMBERED_S <= 5
    now = trio.current_time()
    monkeypatch.setattr("pacs_actors.people.reception.trio.current_time", lambda: now + 5)
    if how == "role taken":
        assert not (await other.of_bearer(login.access_token)).may(Action.STORE)
    else:
        assert await admitted(other, login) == set()


async def test_who_is_known_stays_known_while_the_database_is_away(people: Desk, monkeypatch: Any) -> None:
    login = await people.login("admin", PASSWORD, HOME)
    await people.of_bearer(login.access_token)

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("PostgreSQL: away")

    monkeypatch.setattr(people.database, "run", away)
    now = trio.current_time()
    for later, known in ((10, True), (590, True), (610, False)):
        monkeypatch.setattr("pacs_actors.people.reception.trio.current_time", lambda later=later: now + later)
        if known:
            assert (await people.of_bearer(login.access_token)).name == "admin"
        else:
            with pytest.raises(Unavailable):
                await people.of_bearer(login.access_token)
    with pytest.raises(Unavailable):
        await people.of_cookie(login.session_secret)


async def test_what_is_remembered_is_bounded(people: Desk, monkeypatch: Any) -> None:
    monkeypatch.setattr("pacs_actors.people.reception._MOST_REMEMBERED", 2)
    for _ in range(4):
        login = await people.login("admin", PASSWORD, HOME)
        await people.of_cookie(login.session_secret)
    assert len(people._known) == 2


# -- refresh tokens ---------------------------------------------------------------------------------------------------------------


async def test_a_refresh_token_gives_new_ones_and_is_used_up(people: Desk) -> None:
    login = await people.login("admin", PASSWORD, HOME)
    renewed = await people.refresh(login.refresh_token, HOME)
    assert renewed.refresh_token != login.refresh_token
    assert (await people.of_bearer(renewed.access_token)).session == login.principal.session
    assert (await people.refresh(renewed.refresh_token, HOME)).user.username == "admin"


async def test_a_refresh_token_that_comes_twice_ends_its_session(people: Desk) -> None:
    login, other = await people.login("admin", PASSWORD, HOME), await people.login("admin", PASSWORD, HOME)
    renewed = await people.refresh(login.refresh_token, HOME)
    people.events()
    with pytest.raises(NotRecognised):
        await people.refresh(login.refresh_token, STRANGE)
    assert people.events() == [("login", "failure", "admin")]
    with pytest.raises(NotRecognised):
        await people.refresh(renewed.refresh_token, HOME)
    assert await admitted(people, renewed) == set()
    assert await admitted(people, other) == {"cookie", "access token"}


@pytest.mark.parametrize("token", ["", "ref_short", "ref_" + "x" * 43, "ses_" + "x" * 43, "x" * 100_000])
async def test_what_is_no_refresh_token_is_refused(people: Desk, token: str) -> None:
    with pytest.raises(NotRecognised):
        await people.refresh(token, HOME)


# -- access tokens ----------------------------------------------------------------------------------------------------------------


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def test_forged_access_tokens_are_refused(people: Desk) -> None:
    login = await people.login("admin", PASSWORD, HOME)
    header, claims = jwt.get_unverified_header(login.access_token), _claims(login.access_token)
    (key,) = people.access_tokens._keys.values()
    public = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = key.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    signed = f"{part(header | {'alg': 'HS256'})}.{part(claims)}"
    forged = {
        "alg none": f"{part(header | {'alg': 'none'})}.{part(claims)}.",
        "alg None": f"{part(header | {'alg': 'None'})}.{part(claims)}.",
        "no alg": f"{part({'kid': header['kid']})}.{part(claims)}.",
        "no signature": login.access_token.rpartition(".")[0] + ".",
        "HS256 with the public key": f"{signed}.{part(hmac.digest(public, signed.encode(), 'sha256'))}",
        "HS256 with the raw public key": f"{signed}.{part(hmac.digest(raw, signed.encode(), 'sha256'))}",
        "another key": _signed(Ed25519PrivateKey.generate(), claims, header["kid"]),
        "RS256": jwt.encode(
            claims, rsa.generate_private_key(65537, 2048), algorithm="RS256", headers={"kid": header["kid"]}
        ),
        "unknown kid": _signed(key.private, claims, "../../etc/passwd"),
        "kid that is no text": f"{part(header | {'kid': ['a']})}.{part(claims)}.{part(b'x' * 64)}",
        "no kid": jwt.encode(claims, key.private, algorithm="EdDSA"),
        "claims of another": login.access_token.replace(part(claims), part(claims | {"sub": "2"})),
        "too long": login.access_token + "A" * 5000,
        "nothing": "",
        "dots": "...",
        "not base64": "%.%.%",
    }
    for what, token in forged.items():
        assert token != login.access_token, what
        assert await refused(people, token), what
    assert not await refused(people, login.access_token), "the control"


def _claims(token: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return decoded


def _signed(key: Ed25519PrivateKey, claims: dict[str, Any], kid: str) -> str:
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid})


async def test_every_claim_of_an_access_token_counts(people: Desk) -> None:
    login = await people.login("admin", PASSWORD, HOME)
    await people.person("jane", "viewer")
    ((kid, key),) = people.access_tokens._keys.items()
    claims, now = _claims(login.access_token), int(time.time())
    changes: list[dict[str, Any]] = [
        {"iss": "somebody else"}, {"aud": "somebody else"}, {"exp": now - 1}, {"nbf": now + 60}, {"sub": "2"},
        {"sub": 1}, {"sub": "one"}, {"sub": "9" * 30}, {"sid": "1"}, {"sid": True}, {"sid": 10**30}, {"sid": 999},
        *({name: None} for name in ("iss", "aud", "exp", "nbf", "sub", "sid", "iat")),
    ]  # fmt: skip
    for change in changes:
        bad = {name: value for name, value in (claims | change).items() if value is not None}
        assert await refused(people, _signed(key.private, bad, kid)), change
    assert (claims["iss"], claims["aud"]) == (ISSUER, AUDIENCE)
    assert claims["exp"] - claims["iat"] == 900
    assert not await refused(people, _signed(key.private, claims, kid)), "the control"


async def test_an_access_token_that_is_remembered_ends_when_it_expires(
    people: Desk, monkeypatch: Any
) -> None:
    login = await people.login("admin", PASSWORD, HOME)
    ((kid, key),) = people.access_tokens._keys.items()
    token = _signed(key.private, _claims(login.access_token) | {"exp": int(time.time()) + 2}, kid)
    assert not await refused(people, token)
    now = trio.current_time()
    monkeypatch.setattr("pacs_actors.people.reception.trio.current_time", lambda: now + 2.5)
    asked = []

    async def verify(token: str) -> None:
        asked.append(token)
        raise NotRecognised

    monkeypatch.setattr(people.access_tokens, "verify", verify)
    assert await refused(people, token)
    assert asked, "not from memory"


async def test_keys_are_replaced_and_old_ones_verify_until_their_last_token_has_expired(people: Desk) -> None:
    old = await people.login("admin", PASSWORD, HOME)
    await people.sql("UPDATE signing_keys SET signs_until = now()")
    other = AccessTokens(people.credentials, lifetime_s=900, key_s=3600)
    new = await other.issue(old.user.id, int(old.principal.session.partition(":")[2]))
    assert jwt.get_unverified_header(new)["kid"] != jwt.get_unverified_header(old.access_token)["kid"]
    for token in (old.access_token, new):
        assert (await other.verify(token)).user_id == old.user.id
        assert (await people.access_tokens.verify(token)).user_id == old.user.id
    await people.sql("UPDATE signing_keys SET verifies_until = now() WHERE signs_until <= now()")
    fresh = AccessTokens(people.credentials, lifetime_s=900, key_s=3600)
    with pytest.raises(NotRecognised):
        await fresh.verify(old.access_token)
    assert (await fresh.verify(new)).user_id == old.user.id


async def test_workers_that_need_a_key_at_once_make_one(people: Desk) -> None:
    rings = [AccessTokens(people.credentials, lifetime_s=900, key_s=3600) for _ in range(4)]
    issued: list[str] = []

    async def issue(ring: AccessTokens) -> None:
        issued.append(await ring.issue(1, 1))

    async with trio.open_nursery() as nursery:
        for ring in rings:
            nursery.start_soon(issue, ring)
    assert len({jwt.get_unverified_header(token)["kid"] for token in issued}) == 1


async def test_forged_key_names_do_not_become_a_flood_of_queries(people: Desk, monkeypatch: Any) -> None:
    asked = 0
    signing_keys = people.credentials.signing_keys

    async def counted(new: Any = None) -> Any:
        nonlocal asked
        asked += 1
        return await signing_keys(new)

    monkeypatch.setattr(people.credentials, "signing_keys", counted)
    key = Ed25519PrivateKey.generate()
    outcomes = []

    async def forge(number: int) -> None:
        outcomes.append(await refused(people, _signed(key, {}, f"kid {number}")))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(forge, number)
    assert outcomes == [True] * 20 and asked <= 2
    assert access_tokens._RELOAD_EVERY_S >= 1


# -- API tokens -------------------------------------------------------------------------------------------------------------------


async def api_token(
    people: Desk, user_id: int, actions: tuple[str, ...] | None, lifetime_s: float = 60
) -> str:
    secret = tickets.new_secret(tickets.API_TOKEN)
    await people.credentials.add_token(user_id, "robot", actions, lifetime_s, tickets.digest(secret))
    return secret


async def test_an_api_token_may_do_what_it_is_for_and_its_owner_may(people: Desk) -> None:
    jane = await people.person("jane", "technologist", department="ER")
    whole = await people.of_bearer(await api_token(people, jane.id, None))
    part_of = await people.of_bearer(await api_token(people, jane.id, ("study.search", "people.write")))
    nothing = await people.of_bearer(await api_token(people, jane.id, ()))
    assert whole.may(Action.STORE) and whole.via is Via.TOKEN and whole.name == "jane"
    assert part_of.actions == {Action.SEARCH}, "what its owner may not do it cannot do either"
    assert nothing.actions == frozenset()
    assert part_of.scope == whole.scope


async def test_an_api_token_ends_by_itself_with_its_owner_and_when_it_is_revoked(people: Desk) -> None:
    jane = await people.person("jane", "technologist")
    expired = await api_token(people, jane.id, None, lifetime_s=-1)
    assert await refused(people, expired)
    revoked = await api_token(people, jane.id, None)
    assert not await refused(people, revoked)
    (listed, _) = await people.credentials.tokens(jane.id)
    assert listed.used_at is not None
    assert await people.credentials.end_token(listed.id, 999) is None, "somebody else's"
    assert await people.credentials.end_token(listed.id, jane.id) is not None
    people.forget()
    assert await refused(people, revoked)
    owned = await api_token(people, jane.id, None)
    await people.directory.change(jane.id, UserChange(enabled=False))
    assert await refused(people, owned)


# -- passwords --------------------------------------------------------------------------------------------------------------------


async def test_a_new_password_ends_the_other_sessions(people: Desk) -> None:
    here, there = await people.login("admin", PASSWORD, HOME), await people.login("admin", PASSWORD, HOME)
    with pytest.raises(NotRecognised):
        await people.change_password(here.user, "wrong", "eight horses on the pier", here.principal, HOME)
    with pytest.raises(BadPassword):
        await people.change_password(here.user, PASSWORD, "short", here.principal, HOME)
    await people.change_password(here.user, PASSWORD, "eight horses on the pier", here.principal, HOME)
    assert await admitted(people, here) == {"cookie", "access token"}
    assert await admitted(people, there) == set()
    assert (await people.login("admin", "eight horses on the pier", HOME)).user.id == here.user.id
    assert ("user_changed", "success", "admin") in people.events()


async def test_a_hash_of_older_parameters_is_renewed_at_the_next_login(people: Desk) -> None:
    import argon2

    weak = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    await people.sql("UPDATE users SET password_hash = $1", weak)
    await people.login("admin", PASSWORD, HOME)
    found = await people.directory.password_hash("admin")
    assert found is not None and found[1] not in (None, weak)
    await people.login("admin", PASSWORD, HOME)


async def test_no_secret_is_stored_as_it_is(people: Desk) -> None:
    login = await people.login("admin", PASSWORD, HOME)
    token = await api_token(people, login.user.id, None)

    async def unit(connection: Any) -> str:
        tables = ("users", "sessions", "refresh_tokens", "api_tokens", "login_failures", "known_addresses")
        rows = [await connection.fetch(f"SELECT t::text FROM {table} t") for table in tables]
        return "\n".join(row[0] for table in rows for row in table)

    everything = await people.database.run(unit)
    assert hashlib.sha256(token.encode()).hexdigest() in everything, "the control"
    for secret in (PASSWORD, login.session_secret, login.refresh_token, token):
        assert secret not in everything
        assert secret not in repr(login)


async def test_what_has_expired_is_forgotten(people: Desk) -> None:
    login = await people.login("admin", PASSWORD, HOME)
    await people.sql("UPDATE sessions SET expires_at = now() - interval '1 s'")
    await people.sql("UPDATE login_failures SET last_at = now() - interval '2 days'")
    await people.login("admin", PASSWORD, HOME)
    await people.credentials.prune()

    async def unit(connection: Any) -> tuple[int, int]:
        return (
            await connection.fetchval("SELECT count(*) FROM sessions"),
            await connection.fetchval("SELECT count(*) FROM login_failures"),
        )

    assert await people.database.run(unit) == (1, 0)
    assert msgspec.structs.asdict(login)["session_secret"]


async def test_many_requests_with_a_key_that_is_new_here_are_all_recognised(people: Desk) -> None:
    """The other worker logged them in: their first requests come at once, before this worker has seen its key."""
    elsewhere = AccessTokens(people.credentials, lifetime_s=900, key_s=3600)
    token = await elsewhere.issue(1, 1)
    here = AccessTokens(people.credentials, lifetime_s=900, key_s=3600)
    recognised = []

    async def request() -> None:
        recognised.append((await here.verify(token)).session)

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(request)
    assert recognised == [1] * 16
