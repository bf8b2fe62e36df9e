"""Logins at an identity provider: makes users of whom the provider knows.

A user is found by issuer and subject, never by a name: a name that a local user has gives nobody their rights.
"""

from __future__ import annotations

from typing import Any, TypedDict

from msgspec import Struct

from config.settings import PeopleSettings
from pacs_actors.operations import logs
from pacs_actors.people.access_tokens import NotRecognised
from pacs_actors.people.accounts import User, username_problem
from pacs_actors.people.directory import Conflict, UserChange
from pacs_actors.people.oidc import IdentityProvider
from pacs_actors.people.oidc_logins import OidcLogins
from pacs_actors.people.reception import Login, Reception
from protocols.messages.audit import Actor


class Begun(Struct, frozen=True):
    """url: where the browser goes; state: what its cookie keeps"""

    url: str
    state: str


class _Facts(TypedDict, total=False):
    """What the provider says about somebody besides who they are."""

    display_name: str
    email: str
    department: str


class Arrived(Struct, frozen=True):
    """return_to: the page of ours that asked"""

    login: Login
    return_to: str


class OidcDesk:
    def __init__(self, reception: Reception) -> None:
        self._reception, self._settings = reception, reception.settings
        self._logins = OidcLogins(reception.directory.database)
        self._provider = IdentityProvider(reception.settings)

    async def begin(self, redirect_uri: str, return_to: str) -> Begun:
        """raises: Unavailable"""
        asked = await self._provider.begin(redirect_uri)
        await self._logins.keep(asked, return_to)
        return Begun(asked.url, asked.state)

    async def finish(self, state: str, code: str, issuer: str, redirect_uri: str, address: str) -> Arrived:
        """Let in whom the provider has sent back. raises: NotRecognised, Conflict, Unavailable"""
        kept = await self._logins.take(state)
        who = "?"
        try:
            if kept is None:
                raise NotRecognised("This login took too long, or was begun elsewhere. Try again.")
            nonce, verifier, return_to = kept
            claims = await self._provider.finish(code, nonce, verifier, redirect_uri, issuer)
            who = str(claims["sub"])[:64]
            user = await self._user(claims)
            return Arrived(await self._reception.admit(user, address, "oidc"), return_to)
        except (NotRecognised, Conflict) as refusal:
            await self._reception.audit.login_failed(Actor(who, "session", address), str(refusal), how="oidc")
            raise

    async def _user(self, claims: dict[str, Any]) -> User:
        """The user that this is, made if need be, with the roles that the provider's groups stand for."""
        directory, issuer, subject = self._reception.directory, self._provider.issuer, str(claims["sub"])
        roles = roles_of(claims, self._settings)
        if not roles:
            raise NotRecognised("Nobody has given you a role here yet.")
        facts = _facts(claims)
        user = await directory.by_subject(issuer, subject)
        if user is None:
            made = await self._add(claims, roles, facts)
            by = Actor(made.username, "session")
            await self._reception.audit.user_changed(by, made.username, "created", roles=", ".join(roles))
            return made
        if not user.enabled:
            raise NotRecognised("You cannot log in here any more.")
        if set(user.roles) != set(roles) or any(getattr(user, name) != text for name, text in facts.items()):
            changed = await directory.change(user.id, UserChange(roles=roles, **facts))
            self._reception.forget()
            if changed is None:
                raise NotRecognised
            if set(user.roles) != set(roles):
                by = Actor(user.username, "session")
                listed = ", ".join(roles)
                await self._reception.audit.permission_changed(by, user.username, "roles", roles=listed)
            return changed
        return user

    async def _add(self, claims: dict[str, Any], roles: tuple[str, ...], facts: _Facts) -> User:
        subject = str(claims["sub"])
        for name in (_text(claims.get("preferred_username")), facts.get("email"), f"{subject[:64]}@oidc"):
            if not name or username_problem(name):
                continue
            new = User(id=0, username=name, roles=roles, issuer=self._provider.issuer, **facts)
            try:
                return await self._reception.directory.add(new, None, subject)
            except Conflict as taken:
                logs.warning("user_name_taken", why=str(taken))
        raise Conflict("Your name is somebody else's here, or your role is unknown. Ask an administrator.")


def roles_of(claims: dict[str, Any], settings: PeopleSettings) -> tuple[str, ...]:
    """Roles for what a claim lists, as the settings say (``group=role``); those for everybody if it lists none of ours."""
    listed = claims.get(settings.oidc_roles_claim)
    many = listed if isinstance(listed, list) else [listed]
    values = {one for one in many if isinstance(one, str)}
    pairs = (pair.rpartition("=") for pair in settings.oidc_roles)
    found = tuple(sorted({role.strip() for value, _, role in pairs if value.strip() in values}))
    return found or settings.oidc_default_roles


def _facts(claims: dict[str, Any]) -> _Facts:
    facts: _Facts = {}
    if name := _text(claims.get("name")):
        facts["display_name"] = name
    if email := _text(claims.get("email")):
        facts["email"] = email
    if department := _text(claims.get("department")):
        facts["department"] = department
    return facts


def _text(value: object) -> str:
    return value.replace("\0", "").strip()[:256] if isinstance(value, str) else ""
