"""The gate: every request of every route passes here once, is told who asks, and whether they may.

Cookies are sent by browsers on their own, so a write that comes with one must also come from our own pages: its Origin is ours,
or ``Sec-Fetch-Site`` says so. Who the caller is, is the authenticator's to find out.
"""

from __future__ import annotations

from typing import Final, Protocol

from pacs_actors.people.rights import Action, Principal, Via
from web.hosts import from_our_page
from web.http.request import Forbidden, Request, Unauthorised
from web.http.routes import Access, Route

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Authenticator(Protocol):
    """Finds out who asks."""

    async def identify(self, request: Request) -> Principal | None:
        """Whoever the session cookie, bearer token or share link says; None for a stranger.

        raises: a Refusal of 401 for a token that is expired, revoked or forged; Unavailable
        """
        ...

    async def of_token(self, token: str) -> Principal:
        """Whose token this is, where no header can be sent. raises: as ``identify``"""
        ...

    async def holds(self, principal: Principal) -> Principal | None:
        """Somebody as they are now; None if their session or token has ended. raises: Unavailable"""
        ...

    async def denied(self, request: Request, what: str) -> None:
        """Have it audited that whoever asks lacks the right."""
        ...


class Gate:
    def __init__(self, authenticator: Authenticator) -> None:
        self.authenticator = authenticator

    async def admit(self, request: Request, route: Route) -> None:
        """Set ``request.principal``, or say why not. raises: Unauthorised, Forbidden, Unavailable"""
        if route.access is Access.PUBLIC:
            return
        principal = request.principal = await self.authenticator.identify(request)
        if principal is None:
            raise Unauthorised
        if principal.cookie and request.method not in _READS and not _from_our_page(request):
            raise await self._denied(request, route, "This request comes from another site.")
        if isinstance(route.access, Access) and principal.via is Via.SHARE:
            raise Unauthorised  # a link is no login
        if route.access is Access.IN_PERSON and principal.via is not Via.SESSION:
            raise await self._denied(
                request, route, "An API token cannot do this: log in with name and password."
            )
        if isinstance(route.access, Action) and not principal.may(route.access):
            raise await self._denied(request, route, f"This needs the permission {route.access.value}.")

    async def _denied(self, request: Request, route: Route, why: str) -> Forbidden:
        await self.authenticator.denied(request, f"{route.method} {route.path}: {why}")
        return Forbidden(why)


def _from_our_page(request: Request) -> bool:
    """A browser says where a write comes from: Origin always with one, Sec-Fetch-Site in all current ones."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return site is not None or "referer" not in request.headers
    return from_our_page(origin, request.root)
