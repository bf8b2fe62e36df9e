"""Reception: lets people in, knows them again, shows them out.

Answers who somebody is by password, session cookie, access token, refresh token or API token. What it has found out it
remembers for a few seconds, so a revocation is heeded everywhere within ``REMEMBERED_S``, and at once where it was made. While
PostgreSQL is away nobody can be revoked either, and whoever was known last stays known.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import trio
from msgspec import Struct

from config.settings import PeopleSettings
from pacs_actors.audit.audit import Audit
from pacs_actors.database import Database
from pacs_actors.people import passwords, tickets
from pacs_actors.people.access_tokens import AccessTokens, NotRecognised
from pacs_actors.people.accounts import Role, User, actions_of, fold_username, scope_of
from pacs_actors.people.attempts import Attempt, Attempts
from pacs_actors.people.backoff import counters, network_of
from pacs_actors.people.credentials import Credentials, Found
from pacs_actors.people.directory import Directory
from pacs_actors.people.password_hasher import PasswordHasher
from pacs_actors.people.rights import Principal, Via
from pacs_actors.people.throttled import Throttled
from protocols.errors import Refusal, Unavailable
from protocols.messages.audit import Actor

REMEMBERED_S: Final = 3.0
_STALE_S: Final = 600.0
_MOST_REMEMBERED: Final = 10_000
TOO_MANY: Final = "Too many failed logins. Wait a moment and try again."
_WRONG: Final = "The user name or the password is wrong."


class SlowDown(Refusal):
    """429: too many failed logins; wait_s: when to come again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(TOO_MANY, dimse_status=0x0124, http_status=429)
        self.wait_s = wait_s


class BadPassword(Refusal):
    """400: a password that nobody should have; the text says why."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0x0106, http_status=400)


class Login(Struct, frozen=True):
    """What somebody who was let in gets. Its repr shows no secret."""

    user: User
    principal: Principal
    session_secret: str
    access_token: str
    refresh_token: str
    access_token_s: int

    def __repr__(self) -> str:
        return f"Login(user={self.user.username!r})"


class _Known(Struct):
    principal: Principal
    asked_at: float
    expires_at: float


class Reception:
    def __init__(
        self, settings: PeopleSettings, database: Database, hasher: PasswordHasher, audit: Audit
    ) -> None:
        self.settings, self.hasher, self.audit = settings, hasher, audit
        self.directory = Directory(database)
        self.credentials = Credentials(database, idle_s=settings.session_idle_s)
        self.access_tokens = AccessTokens(
            self.credentials, lifetime_s=settings.access_token_s, key_s=settings.signing_key_s
        )
        self.attempts = Attempts(database)
        self._throttled = Throttled()
        self._known: dict[str, _Known] = {}

    def use(self, settings: PeopleSettings) -> None:
        """From now on; what is open keeps the end that it was given."""
        self.settings = settings
        self.credentials.idle_s = settings.session_idle_s
        self.access_tokens.lifetime_s = settings.access_token_s

    # -- in and out -------------------------------------------------------------------------------------------------------------
    async def check_password(self, username: str, password: str, address: str, via: str = "session") -> User:
        """Whose name and password these are.

        As slow for a name that nobody has. via: for the audit
        raises: NotRecognised, SlowDown, Unavailable
        """
        by = Actor(username[:64], via, address)
        try:
            found = await self.directory.password_hash(username[:256])
            user, stored = found if found is not None else (None, None)
            name, network = fold_username(username[:256]), network_of(address)
            usual = user is not None and await self.attempts.is_usual_place(user.id, network)
            attempt = await self.attempts.begin(counters(name, address, usual_place=usual))
            if attempt.wait_s:
                await self._tell_slowed(by, name, network)
                raise SlowDown(attempt.wait_s)
            right = await self.is_right(password, stored, attempt)
            if not right or user is None or stored is None or not user.enabled:
                raise NotRecognised(_WRONG)
        except NotRecognised as refusal:
            await self.audit.login_failed(by, str(refusal))
            raise
        await self.attempts.succeeded(attempt)
        if passwords.is_outdated(stored):
            await self.directory.renew_hash(user.id, stored, await self.hasher.hash(password))
        return user

    async def is_right(self, password: str, stored: str | None, attempt: Attempt) -> bool:
        """Look at the password of an attempt. raises: Unavailable, and then it was none"""
        try:
            return await self.hasher.matches(password, stored)
        except Unavailable:
            await self.attempts.withdraw(attempt)
            raise

    async def _tell_slowed(self, by: Actor, name: str, network: str) -> None:
        await self.tell_throttled()
        told = self._throttled.count(by, name, network, trio.current_time())
        if told is not None:
            await self.audit.login_failed(told, TOO_MANY)

    async def tell_throttled(self, *, all_of_them: bool = False) -> None:
        """Tell the audit of whom it has not been told yet: of minutes that have ended, or of all."""
        now = float("inf") if all_of_them else trio.current_time()
        for by, attempts in self._throttled.due(now):
            await self.audit.login_failed(by, TOO_MANY, attempts=attempts)

    async def login(self, username: str, password: str, address: str) -> Login:
        """raises: NotRecognised, SlowDown, Unavailable"""
        return await self.admit(await self.check_password(username, password, address), address, "password")

    async def of_password(self, username: str, password: str, address: str, via: str) -> Principal:
        """Whose name and password these are, without a session. raises: NotRecognised, SlowDown, Unavailable"""
        user = await self.check_password(username, password, address, via)
        roles = [role for role in await self.directory.roles() if role.name in user.roles]
        await self.audit.login(Actor(user.username, via, address), how="password")
        return principal_of(user, roles, Via.DIMSE, "")

    async def admit(self, user: User, address: str, how: str) -> Login:
        """Open a session for somebody who has shown who they are. how: password or oidc"""
        secret, refresh = tickets.new_secret(tickets.SESSION), tickets.new_secret(tickets.REFRESH)
        number = await self.credentials.open_session(
            user.id,
            network_of(address),
            address,
            self.settings.session_lifetime_s,
            tickets.digest(secret),
            tickets.digest(refresh),
        )
        found = await self.credentials.session(number, use=False)
        if found is None:
            raise NotRecognised
        await self.audit.login(Actor(user.username, "session", address), how=how)
        return await self._login(found, secret, refresh)

    async def refresh(self, token: str, address: str) -> Login:
        """New tokens for a refresh token, which is used up. One that was used before ends its session.

        raises: NotRecognised, Unavailable
        """
        if not tickets.looks_like(token, tickets.REFRESH):
            raise NotRecognised
        successor = tickets.new_secret(tickets.REFRESH)
        found, robbed = await self.credentials.refresh(tickets.digest(token), tickets.digest(successor))
        if robbed is not None:
            self.forget()
            await self.audit.login_failed(
                Actor(robbed.username, "session", address),
                "a refresh token was used twice: its session is ended",
            )
        if found is None:
            raise NotRecognised
        return await self._login(found, "", successor)

    async def _login(self, found: Found, secret: str, refresh: str) -> Login:
        token = await self.access_tokens.issue(found.user.id, found.number)
        principal = principal_of(found.user, found.roles, Via.SESSION, _session(found.number))
        return Login(found.user, principal, secret, token, refresh, int(self.access_tokens.lifetime_s))

    async def logout(self, principal: Principal, address: str) -> None:
        """End the session: its cookie, its access and refresh tokens."""
        kind, _, number = principal.session.partition(":")
        if kind == "session":
            await self.credentials.end_session(int(number))
            self.forget()
        await self.audit.logout(Actor(principal.name, principal.via.value, address))

    async def change_password(
        self, user: User, old: str, new: str, principal: Principal, address: str
    ) -> None:
        """Their own, which ends their other sessions. raises: NotRecognised, SlowDown, BadPassword, Unavailable"""
        await self.check_password(user.username, old, address)
        await self.set_password(user, new, principal.actor(address), keep_session=principal.session)

    async def set_password(self, user: User, new: str, by: Actor, *, keep_session: str = "") -> None:
        """raises: BadPassword, Unavailable"""
        await self.directory.set_password(user.id, await self.hash_of(new, user.username), keep_session)
        self.forget()
        await self.audit.user_changed(by, user.username, "password")

    async def hash_of(self, password: str, username: str) -> str:
        """raises: BadPassword, Unavailable"""
        problem = passwords.password_problem(password, username)
        if problem is not None:
            raise BadPassword(problem)
        return await self.hasher.hash(password)

    # -- who is that ------------------------------------------------------------------------------------------------------------
    async def of_bearer(self, token: str) -> Principal:
        """Whose access token or API token this is. raises: NotRecognised, Unavailable"""
        if tickets.looks_like(token, tickets.API_TOKEN):
            return await self.recall(token, lambda: self._of_api_token(token))
        return await self.recall(token, lambda: self._of_access_token(token))

    async def of_cookie(self, secret: str) -> Principal | None:
        """Whose session cookie this is; None if the session has ended. raises: Unavailable"""
        if not tickets.looks_like(secret, tickets.SESSION):
            return None
        try:
            return await self.recall(secret, lambda: self._of_session(secret))
        except NotRecognised:
            return None

    async def holds(self, principal: Principal) -> Principal | None:
        """Somebody as they are now; None if their session or token has ended. Does not count as use of it.

        raises: Unavailable
        """
        kind, _, number = principal.session.partition(":")
        if kind == "session":
            found = await self.credentials.session(int(number), use=False)
        elif kind == "token":
            found = await self.credentials.token(int(number))
        else:
            return None
        return (
            None
            if found is None
            else principal_of(found.user, found.roles, principal.via, principal.session, found.actions)
        )

    def forget(self) -> None:
        """Ask the database about everybody again: somebody's rights are others now."""
        self._known.clear()

    async def recall(
        self, credential: str, find: Callable[[], Awaitable[tuple[Principal, float]]]
    ) -> Principal:
        """Whose credential this is, asked of ``find`` every few seconds.

        find:   the principal, and for how many seconds the credential lasts; raises NotRecognised
        raises: NotRecognised, Unavailable
        """
        now = trio.current_time()
        known = self._known.get(credential)
        if known is not None and now < min(known.asked_at + REMEMBERED_S, known.expires_at):
            return known.principal
        try:
            principal, lifetime_s = await find()
        except NotRecognised:
            self._known.pop(credential, None)
            raise
        except Unavailable:
            if known is not None and now < min(known.asked_at + _STALE_S, known.expires_at):
                return known.principal
            raise
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known.pop(credential, None)  # to the end of the line
        self._known[credential] = _Known(principal, now, now + lifetime_s)
        return principal

    async def _of_access_token(self, token: str) -> tuple[Principal, float]:
        claims = await self.access_tokens.verify(token)
        found = await self.credentials.session(claims.session, use=True)
        if found is None or found.user.id != claims.user_id:
            raise NotRecognised
        return (
            principal_of(found.user, found.roles, Via.SESSION, _session(found.number)),
            claims.expires_at - time.time(),
        )

    async def _of_session(self, secret: str) -> tuple[Principal, float]:
        found = await self.credentials.session_of(tickets.digest(secret))
        if found is None:
            raise NotRecognised
        principal = principal_of(found.user, found.roles, Via.SESSION, _session(found.number))
        return msgspec.structs.replace(principal, cookie=True), float("inf")

    async def _of_api_token(self, token: str) -> tuple[Principal, float]:
        found = await self.credentials.token_of(tickets.digest(token))
        if found is None:
            raise NotRecognised
        session = f"token:{found.number}"
        return principal_of(found.user, found.roles, Via.TOKEN, session, found.actions), float("inf")


def principal_of(
    user: User,
    roles: Sequence[Role],
    via: Via,
    session: str,
    limited: tuple[str, ...] | None = None,
) -> Principal:
    """limited: actions of an API token, of which its owner must have each themselves"""
    actions = actions_of(roles)
    if limited is not None:
        actions = frozenset(action for action in actions if action.value in limited)
    return Principal(user.username, actions, scope_of(user, roles), via, user.id, session)


def _session(number: int) -> str:
    return f"session:{number}"
