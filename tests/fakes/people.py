"""An authenticator that knows one administrator, by one token."""

from __future__ import annotations

from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.people.access_tokens import NotRecognised
from pacs_actors.people.rights import Action, Principal
from web.http.request import Request

TOKEN = "the-right-one"
AUTHORIZATION = f"Authorization: Bearer {TOKEN}"
ADMINISTRATOR = Principal("admin", frozenset(Action), EVERYTHING, user_id=1, session="session:1")


class FixedAuthenticator:
    """known: by token; strangers: who comes without one, None: nobody; refusals: what was denied"""

    def __init__(self, strangers: Principal | None = None) -> None:
        self.known: dict[str, Principal] = {TOKEN: ADMINISTRATOR}
        self.strangers = strangers
        self.refusals: list[str] = []

    async def identify(self, request: Request) -> Principal | None:
        given = request.headers.get("authorization")
        return self.strangers if given is None else await self.of_token(given.removeprefix("Bearer "))

    async def of_token(self, token: str) -> Principal:
        if token not in self.known:
            raise NotRecognised
        return self.known[token]

    async def denied(self, request: Request, what: str) -> None:
        self.refusals.append(what)

    async def holds(self, principal: Principal) -> Principal | None:
        if principal is self.strangers:
            return principal
        return next((one for one in self.known.values() if one.session == principal.session), None)
