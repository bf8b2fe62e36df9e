"""ID tokens and answers of an identity provider that lies or is broken; the real one is in tests/system/test_oidc.py."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from config.settings import PeopleSettings
from pacs_actors.people.access_tokens import NotRecognised
from pacs_actors.people.oidc import IdentityProvider
from pacs_actors.people.oidc_desk import roles_of
from protocols.errors import Unavailable

ISSUER, CLIENT, SECRET, NONCE = "https://idp.example", "pacs", "the client's secret, 32 bytes long", "n" * 43
KEY, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth?tenant=1",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/jwks",
}


def public(key: rsa.RSAPrivateKey, **more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    return {**found, "kid": "one", "use": "sig", "alg": "RS256", **more}


class Scripted(IdentityProvider):
    """A provider whose answers the test gives. asked: the addresses that were fetched"""

    def __init__(self, id_token: str = "", **documents: Any) -> None:
        super().__init__(PeopleSettings(oidc_issuer=ISSUER, oidc_client_id=CLIENT, oidc_client_secret=SECRET))
        self.answers: dict[str, dict[str, Any]] = {
            f"{ISSUER}/.well-known/openid-configuration": DOCUMENT,
            f"{ISSUER}/jwks": {"keys": [public(KEY)]},
            f"{ISSUER}/token": {"id_token": id_token},
            **documents,
        }
        self.asked: list[str] = []

    async def _fetched(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        self.asked.append(url)
        return self.answers[url]

    async def come_back(self, issuer: str = "") -> dict[str, Any]:
        return await self.finish("code", NONCE, "verifier", "https://pacs.example/back", issuer)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    right = {"iss": ISSUER, "aud": CLIENT, "sub": "jane", "exp": now + 60, "iat": now, "nonce": NONCE}
    return {name: value for name, value in (right | changes).items() if value is not None}


def token(key: Any = KEY, algorithm: str = "RS256", kid: str | None = "one", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": kid} if kid else None)


async def test_an_id_token_that_is_right_is_taken() -> None:
    for right in (token(), token(kid=None), token(aud=[CLIENT, "other"], azp=CLIENT)):
        assert (await Scripted(right).come_back(ISSUER))["sub"] == "jane"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"azp": "other"},
        {"exp": int(time.time()) - 60}, {"exp": None}, {"nbf": int(time.time()) + 86_400}, {"iat": None}, {"sub": None},
        {"sub": ""}, {"sub": "x" * 256}, {"nonce": None}, {"nonce": "another"}, {"nonce": 7},
    ],
)  # fmt: skip
async def test_every_claim_of_an_id_token_counts(changes: dict[str, Any]) -> None:
    with pytest.raises(NotRecognised):
        await Scripted(token(**changes)).come_back()


async def test_forged_id_tokens_are_refused() -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    unsigned = f"{part({'alg': 'none', 'kid': 'one'})}.{part(claims())}."
    for forged in (
        unsigned, token(OTHER), token(SECRET, "HS256"), token(KEY, "RS512"), token(kid="unknown"), "", "a.b.c", "a" * 100_000,
    ):  # fmt: skip
        with pytest.raises(NotRecognised):
            await Scripted(forged).come_back()


async def test_a_key_of_the_set_that_is_none_for_signatures_is_not_used() -> None:
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="), "kid": "one"}
    for keys in ([secret], [public(KEY, use="enc")], ["nonsense"], [], [{"kty": "RSA"}], None):
        with pytest.raises(NotRecognised):
            await Scripted(token(SECRET, "HS256"), **{f"{ISSUER}/jwks": {"keys": keys}}).come_back()
        with pytest.raises(NotRecognised):
            await Scripted(token(), **{f"{ISSUER}/jwks": {"keys": keys}}).come_back()


async def test_a_new_key_of_the_provider_is_looked_up_and_unknown_ones_do_not_flood_it(
    monkeypatch: Any,
) -> None:
    import trio

    provider = Scripted(token())
    await provider.come_back()
    provider.answers[f"{ISSUER}/jwks"] = {"keys": [public(OTHER, kid="two")]}
    provider.answers[f"{ISSUER}/token"] = {"id_token": token(OTHER, kid="two")}
    for _ in range(20):
        with pytest.raises(NotRecognised):
            await provider.come_back()
    assert provider.asked.count(f"{ISSUER}/jwks") == 1
    now = trio.current_time()
    monkeypatch.setattr("pacs_actors.people.oidc.trio.current_time", lambda: now + 11)
    assert (await provider.come_back())["sub"] == "jane"


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"}, {"token_endpoint": "http://idp.example/token"}, {"jwks_uri": 7},
        {"authorization_endpoint": None}, {"jwks_uri": "http://idp.example/jwks"},
    ],
)  # fmt: skip
async def test_a_provider_that_describes_itself_wrongly_is_not_used(change: dict[str, Any]) -> None:
    wrong = {f"{ISSUER}/.well-known/openid-configuration": {**DOCUMENT, **change}}
    with pytest.raises(Unavailable):
        await Scripted(token(), **wrong).begin("https://pacs.example/back")
    assert SECRET not in repr(await Scripted().begin("https://pacs.example/back"))


async def test_userinfo_must_be_about_the_same_person() -> None:
    userinfo = f"{ISSUER}/me"
    described = {f"{ISSUER}/.well-known/openid-configuration": {**DOCUMENT, "userinfo_endpoint": userinfo}}
    answered = {f"{ISSUER}/token": {"id_token": token(), "access_token": "at"}}
    same = {userinfo: {"sub": "jane", "groups": ["a"], "iss": "other"}}
    found = await Scripted(**described, **answered, **same).come_back()
    assert (found["groups"], found["iss"]) == (["a"], ISSUER)
    for wrong in ({"sub": "root"}, {}):
        with pytest.raises(NotRecognised):
            await Scripted(**described, **answered, **{userinfo: wrong}).come_back()


async def test_another_issuer_in_the_redirect_is_refused() -> None:
    with pytest.raises(NotRecognised):
        await Scripted(token()).come_back("https://evil.example")


@pytest.mark.parametrize(
    ("listed", "roles"),
    [
        (["readers", "x"], ("radiologist",)), ("readers", ("radiologist",)), (["a=b", "readers"], ("radiologist", "viewer")),
        *((strange, ("registrator",)) for strange in ([], None, [7, None], 7, {"readers": 1}, ["Readers"])),
    ],
)  # fmt: skip
def test_roles_come_of_what_the_claim_lists(listed: object, roles: tuple[str, ...]) -> None:
    settings = PeopleSettings(
        oidc_roles=("readers=radiologist", "a=b=viewer"), oidc_default_roles=("registrator",)
    )
    assert roles_of({"groups": listed}, settings) == roles
