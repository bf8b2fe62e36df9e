"""Finds out who makes a request: by a bearer token if there is one, else by the session cookie, else by that of a share link.

So whoever has logged in stays who they are when they open a link, and a link never gives them more or less.
"""

from __future__ import annotations

from typing import Final

from pacs_actors.people.reception import Reception
from pacs_actors.people.rights import Principal, Via
from pacs_actors.people.share_desk import ShareDesk
from web.http.request import Request, Unauthorised

COOKIE: Final = "pacs_session"
SHARE_COOKIE: Final = "pacs_share"
_SCHEME: Final = "bearer"


class PeopleAuthenticator:
    """The real ``Authenticator``: asks the reception and the share desk."""

    def __init__(self, reception: Reception, shares: ShareDesk) -> None:
        self._reception, self._shares = reception, shares

    async def identify(self, request: Request) -> Principal | None:
        """raises: NotRecognised or Unauthorised for a token that is expired, revoked or forged; Unavailable"""
        given = request.headers.get("authorization")
        if given is not None:
            scheme, _, token = given.partition(" ")
            if scheme.lower() != _SCHEME:
                raise Unauthorised("Send the token as Authorization: Bearer.")
            return await self._reception.of_bearer(token.strip())
        sent = cookies(request.headers.get("cookie", ""))
        principal = await self._reception.of_cookie(sent[COOKIE]) if COOKIE in sent else None
        if principal is None and SHARE_COOKIE in sent:
            principal = await self._shares.of_cookie(sent[SHARE_COOKIE])
        return principal

    async def of_token(self, token: str) -> Principal:
        """Whose token this is, where no header can be sent. raises: NotRecognised, Unavailable"""
        return await self._reception.of_bearer(token)

    async def holds(self, principal: Principal) -> Principal | None:
        """Somebody as they are now; None if they have been shown out. raises: Unavailable"""
        if principal.via is Via.SHARE:
            return await self._shares.holds(principal)
        return await self._reception.holds(principal)

    async def denied(self, request: Request, what: str) -> None:
        """Audit it."""
        await self._reception.audit.denied(request.actor, what)


def cookies(header: str) -> dict[str, str]:
    """Cookie header as name -> value (RFC 6265 section 4.2.1); of two of one name the first."""
    found: dict[str, str] = {}
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals:
            found.setdefault(name, value.strip('"'))
    return found


def session_cookie(secret: str, *, root: str, lifetime_s: int) -> tuple[str, str]:
    """The header that sets the session's cookie. root: of this server, so that it is Secure behind TLS"""
    return _cookie(COOKIE, secret, root, lifetime_s)


def share_cookie(secret: str, *, root: str, lifetime_s: int) -> tuple[str, str]:
    """The header that sets the cookie of who has opened a share link."""
    return _cookie(SHARE_COOKIE, secret, root, lifetime_s)


def no_cookie(*, root: str) -> tuple[str, str]:
    """The header that takes the session's cookie away."""
    return session_cookie("", root=root, lifetime_s=0)


def _cookie(name: str, secret: str, root: str, lifetime_s: int) -> tuple[str, str]:
    secure = "; Secure" if root.startswith("https://") else ""
    return (
        "set-cookie",
        f"{name}={secret}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Lax{secure}",
    )
