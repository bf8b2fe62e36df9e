"""An OpenID Connect provider (OpenID Connect Core 1.0) as we see it: the code flow with PKCE (RFC 7636), state and nonce.

Talks HTTP to the provider that the settings name and to nobody else; follows no redirects, reads bounded answers, waits a bounded
time. What it returns has been verified: signature by a key of the provider's, issuer, audience, times, nonce.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import ssl
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
import msgspec
import trio
from msgspec import Struct

from config.settings import PeopleSettings
from pacs_actors.operations import logs
from pacs_actors.people.access_tokens import NotRecognised
from protocols.errors import Unavailable

_ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
_WITHIN_S: Final = 15.0
_MOST_BYTES: Final = 512 * 1024
_DOCUMENTS_FOR_S: Final = 3600.0
_KEYS_AGAIN_S: Final = 10.0
_LEEWAY_S: Final = 30
_REQUIRED: Final = ["iss", "aud", "sub", "exp", "iat"]


class Asked(Struct, frozen=True):
    """A login under way. Its repr shows no secret. url: where the browser goes"""

    url: str
    state: str
    nonce: str
    code_verifier: str

    def __repr__(self) -> str:
        return "Asked()"


class _Provider(Struct):
    """What the provider says about itself (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(Struct):
    id_token: str
    access_token: str = ""


class IdentityProvider:
    """settings: with ``oidc_issuer`` and ``oidc_client_id``"""

    def __init__(self, settings: PeopleSettings) -> None:
        self._settings, self.issuer = settings, (settings.oidc_issuer or "").rstrip("/")
        # Once: it reads a few hundred certificates.
        self._tls = ssl.create_default_context(cafile=settings.oidc_ca)
        self._provider: _Provider | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._provider_until = self._keys_until = self._keys_again = -float("inf")

    async def begin(self, redirect_uri: str) -> Asked:
        """raises: Unavailable"""
        provider = await self._described()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id or "",
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._settings.oidc_scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(provider.authorization_endpoint).query else "?"
        return Asked(f"{provider.authorization_endpoint}{joint}{urlencode(query)}", state, nonce, verifier)

    async def finish(
        self, code: str, nonce: str, code_verifier: str, redirect_uri: str, issuer: str
    ) -> dict[str, Any]:
        """The claims about whoever has logged in there: ``sub`` and what the provider says besides.

        issuer: what the redirect named (RFC 9207); "" if nothing
        raises: NotRecognised, Unavailable
        """
        if issuer and issuer.rstrip("/") != self.issuer:
            raise NotRecognised
        with trio.move_on_after(_WITHIN_S):
            tokens = await self._exchanged(code, code_verifier, redirect_uri)
            claims = await self._verified(tokens.id_token, nonce)
            provider = await self._described()
            if provider.userinfo_endpoint and tokens.access_token:
                more = await self._fetched(
                    "GET",
                    provider.userinfo_endpoint,
                    headers={"authorization": f"Bearer {tokens.access_token}"},
                )
                if more.get("sub") != claims["sub"]:
                    raise NotRecognised
                claims = more | claims
            return claims
        raise Unavailable("The identity provider does not answer.")

    async def _exchanged(self, code: str, code_verifier: str, redirect_uri: str) -> _Tokens:
        provider, settings = await self._described(), self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        client_id, secret = settings.oidc_client_id or "", settings.oidc_client_secret
        auth = None
        if secret is None:
            form["client_id"] = client_id
        elif "client_secret_basic" in provider.token_endpoint_auth_methods_supported:
            auth = httpx.BasicAuth(client_id, secret)
        else:
            form |= {"client_id": client_id, "client_secret": secret}
        answer = await self._fetched("POST", provider.token_endpoint, data=form, auth=auth)
        tokens: _Tokens = _as(answer, _Tokens)
        return tokens

    async def _verified(self, id_token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token (OpenID Connect Core 3.1.3.7). raises: NotRecognised, Unavailable"""
        try:
            header = jwt.get_unverified_header(id_token)
            key = await self._key(header.get("kid"))
            if header.get("alg") not in _ALGORITHMS or key is None:
                raise NotRecognised
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._settings.oidc_client_id,
                issuer=[self.issuer, f"{self.issuer}/"],
                leeway=_LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidTokenError as error:
            logs.warning("id_token_refused", why=type(error).__name__)
            raise NotRecognised from None
        given, party = claims.get("nonce"), claims.get("azp", self._settings.oidc_client_id)
        right = isinstance(given, str) and hmac.compare_digest(given.encode(), nonce.encode())
        if not right or party != self._settings.oidc_client_id or not 0 < len(str(claims["sub"])) <= 255:
            raise NotRecognised
        return claims

    async def _key(self, kid: object) -> jwt.PyJWK | None:
        """The key of that name; without a name, the only one. A name that we do not know may be of a new key."""
        now = trio.current_time()
        if now > self._keys_until or (kid not in self._keys and now > self._keys_again):
            self._keys_again = now + _KEYS_AGAIN_S
            provider = await self._described()
            answer = await self._fetched("GET", provider.jwks_uri)
            self._keys, self._keys_until = _keys(answer), now + _DOCUMENTS_FOR_S
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(str(kid))

    async def _described(self) -> _Provider:
        now = trio.current_time()
        if self._provider is None or now > self._provider_until:
            answer = await self._fetched("GET", f"{self.issuer}/.well-known/openid-configuration")
            provider = _as(answer, _Provider)
            endpoints = (provider.authorization_endpoint, provider.token_endpoint, provider.jwks_uri)
            secure = urlsplit(self.issuer).scheme == "https"
            if provider.issuer.rstrip("/") != self.issuer or (
                secure and any(urlsplit(one).scheme != "https" for one in endpoints)
            ):
                logs.error("identity_provider_contradicts_itself", issuer=provider.issuer[:200])
                raise Unavailable("The identity provider describes itself wrongly.")
            self._provider, self._provider_until = provider, now + _DOCUMENTS_FOR_S
        return self._provider

    async def _fetched(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        """An answer's JSON object. raises: NotRecognised for a refusal of what we sent, Unavailable for all else"""
        body = bytearray()
        try:
            async with (
                httpx.AsyncClient(verify=self._tls, timeout=_WITHIN_S, trust_env=False) as client,
                client.stream(method, url, **more) as answer,
            ):
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise Unavailable("The identity provider answers too much.")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            logs.warning("identity_provider_away", why=type(error).__name__)
            raise Unavailable("The identity provider does not answer.") from None
        if answer.status_code in (400, 401, 403):
            logs.warning("identity_provider_refuses", status=answer.status_code)
            raise NotRecognised
        if answer.status_code != 200:
            logs.warning("identity_provider_away", status=answer.status_code)
            raise Unavailable("The identity provider does not answer.")
        try:
            return msgspec.json.decode(bytes(body), type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            raise Unavailable("The identity provider answers something else than JSON.") from None


def _keys(answer: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """Public keys for signatures, by name; secret ones have no place in such a set and are left out."""
    found: dict[str, jwt.PyJWK] = {}
    for entry in list(answer.get("keys") or ())[:100]:
        if not isinstance(entry, dict) or entry.get("kty") == "oct" or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except jwt.PyJWTError:
            continue
        if key.algorithm_name in _ALGORITHMS:
            found[str(entry.get("kid"))] = key
    return found


def _as(answer: dict[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError:
        raise Unavailable("The identity provider's answer lacks something.") from None
