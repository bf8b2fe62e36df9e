"""Access tokens: JSON Web Tokens (RFC 7519) that we sign with Ed25519 (RFC 8037) and nobody else reads.

The header's ``alg`` chooses nothing: one algorithm is taken, and the key is the one that its ``kid`` names. Keys live in the
database, sign for a while and verify until the last token that they signed has expired.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

import jwt
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec import Struct

from pacs_actors.people.credentials import Credentials, SigningKey
from protocols.errors import Misuse, Refusal

ALGORITHM: Final = "EdDSA"
ISSUER: Final = "pacs-actors"
AUDIENCE: Final = "pacs-actors api"
MAX_BYTES: Final = 4096
_REQUIRED: Final = ["iss", "aud", "sub", "sid", "iat", "nbf", "exp"]
_RELOAD_EVERY_S: Final = 1.0


class NotRecognised(Refusal):
    """401: what was shown does not prove who somebody is (any more)."""

    def __init__(self, what: str = "The login has ended or is not valid.") -> None:
        super().__init__(what, dimse_status=0x0124, http_status=401)


class Claims(Struct, frozen=True):
    """session: its number; expires_at: seconds since 1970"""

    user_id: int
    session: int
    expires_at: float


class _Key(Struct, frozen=True):
    private: Ed25519PrivateKey
    public: Ed25519PublicKey
    signs_until: float
    verifies_until: float


class AccessTokens:
    """lifetime_s: of a token; key_s: how long a key signs"""

    def __init__(self, credentials: Credentials, *, lifetime_s: float, key_s: float) -> None:
        self._credentials, self.lifetime_s, self._key_s = credentials, lifetime_s, key_s
        self._keys: dict[str, _Key] = {}
        self._reloading = trio.Lock()
        self._loaded_at = -float("inf")

    async def issue(self, user_id: int, session: int) -> str:
        """raises: Unavailable"""
        kid, key = await self._signing()
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": session,
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime_s,
        }
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": kid})

    async def verify(self, token: str) -> Claims:
        """raises: NotRecognised, Unavailable"""
        if len(token) > MAX_BYTES:
            raise NotRecognised
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise NotRecognised from None
        kid = header.get("kid")
        if header.get("alg") != ALGORITHM or not isinstance(kid, str):
            raise NotRecognised
        key = self._keys.get(kid) or await self._reloaded(kid)
        if key is None or key.verifies_until <= time.time():
            raise NotRecognised
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidTokenError:
            raise NotRecognised from None
        return _claims(claims)

    async def _signing(self) -> tuple[str, _Key]:
        now = time.time()
        for kid, key in self._keys.items():
            if key.signs_until > now:
                return kid, key
        self._take(await self._credentials.signing_keys(self._new_key()))
        for kid, key in self._keys.items():
            if key.signs_until > now:
                return kid, key
        raise Misuse("there is no key to sign with")

    async def _reloaded(self, kid: str) -> _Key | None:
        """A key that another worker has made. All who ask meanwhile share one look, and forged names cost one a second at most."""
        asked_at = trio.current_time()
        async with self._reloading:
            if self._loaded_at < asked_at:
                await trio.sleep_until(self._loaded_at + _RELOAD_EVERY_S)
                began_at = trio.current_time()
                self._take(await self._credentials.signing_keys())
                self._loaded_at = began_at
        return self._keys.get(kid)

    def _take(self, keys: list[SigningKey]) -> None:
        self._keys = {key.kid: self._keys.get(key.kid) or _read(key) for key in keys}

    def _new_key(self) -> SigningKey:
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        signs_until = time.time() + self._key_s
        return SigningKey(
            secrets.token_urlsafe(12), pem.decode(), signs_until, signs_until + self.lifetime_s + 60
        )


def _read(key: SigningKey) -> _Key:
    private = load_pem_private_key(key.pem.encode(), None)
    if not isinstance(private, Ed25519PrivateKey):
        raise Misuse(f"signing key {key.kid} is not an Ed25519 key")
    return _Key(private, private.public_key(), key.signs_until, key.verifies_until)


def _claims(claims: dict[str, Any]) -> Claims:
    subject, session = claims["sub"], claims["sid"]
    if not (isinstance(subject, str) and subject.isascii() and subject.isdigit() and len(subject) < 19):
        raise NotRecognised
    if not isinstance(session, int) or isinstance(session, bool) or not 0 < session < 1 << 62:
        raise NotRecognised
    return Claims(int(subject), session, float(claims["exp"]))
