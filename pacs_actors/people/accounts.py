"""Users and roles, and the rights that come of them. Pure.

A role's scope is a list of rules; two of them depend on who has the role: ``own_department`` and ``own_referring``. A
principal may do what any of their roles allows, to the studies that any of their roles sees.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from pacs_actors.archive.scope import EVERYTHING, ScopeRule, StudyScope
from pacs_actors.people.rights import Action

ADMINISTRATOR: Final = "administrator"
"""The role that always can do everything, and that somebody always has."""
MAX_RULES: Final = 64
MAX_VALUES: Final = 256
MAX_VALUE: Final = 256
_ACTIONS: Final = {action.value: action for action in Action}


class RoleRule(ScopeRule, frozen=True, forbid_unknown_fields=True):
    """A rule of a role.

    own_department:  the department of whoever has the role counts as one of ``departments``
    own_referring:   their name counts as one of ``referring_physicians``
    """

    own_department: bool = False
    own_referring: bool = False


class RoleScope(Struct, frozen=True, forbid_unknown_fields=True):
    everything: bool = False
    rules: tuple[RoleRule, ...] = ()


class Role(Struct, frozen=True):
    """actions: the texts of ``Action``; those that this release does not know are kept and mean nothing."""

    name: str
    description: str = ""
    actions: tuple[str, ...] = ()
    scope: RoleScope = RoleScope()


class User(Struct, frozen=True, kw_only=True):
    """A user as the directory has them; no secret is in here.

    scope:         studies besides those of the roles; None: none
    has_password:  whether they can log in by password
    issuer:        the identity provider that knows them, or None
    """

    id: int
    username: str
    display_name: str = ""
    email: str = ""
    department: str = ""
    language: str = ""
    enabled: bool = True
    roles: tuple[str, ...] = ()
    scope: RoleScope | None = None
    has_password: bool = False
    issuer: str | None = None
    created_at: str = ""
    last_login_at: str | None = None


def fold_username(username: str) -> str:
    """What user names are compared by: compatibility forms, case and outer spaces do not matter. Holds no NUL."""
    return unicodedata.normalize("NFKC", username).replace("\0", "\ufffd").strip().casefold()


def username_problem(username: str) -> str | None:
    """Why this cannot be a user name; None if it can."""
    if not 1 <= len(username) <= 128 or not fold_username(username):
        return "A user name has 1 to 128 characters."
    if username != username.strip() or not username.isprintable():
        return "A user name has no space at its ends and no control characters."
    return None


def actions_of(roles: Iterable[Role]) -> frozenset[Action]:
    return frozenset(_ACTIONS[text] for role in roles for text in role.actions if text in _ACTIONS)


def unknown_actions(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts) - _ACTIONS.keys())


def scope_problem(scope: RoleScope) -> str | None:
    """Why a scope cannot be taken; None if it can."""
    if len(scope.rules) > MAX_RULES:
        return f"At most {MAX_RULES} rules."
    for rule in scope.rules:
        for values in _lists(rule):
            if len(values) > MAX_VALUES:
                return f"At most {MAX_VALUES} values in a list of a rule."
            if any(not 1 <= len(value) <= MAX_VALUE or "\0" in value for value in values):
                return f"A value in a rule has 1 to {MAX_VALUE} characters."
        if rule.empty and not (rule.own_department or rule.own_referring):
            return "A rule needs at least one list; for all studies there is `everything`."
    return None


def _lists(rule: ScopeRule) -> tuple[tuple[str, ...], ...]:
    return (
        rule.modalities,
        rule.sources,
        rule.institutions,
        rule.departments,
        rule.referring_physicians,
        rule.studies,
    )


def scope_of(user: User, roles: Sequence[Role]) -> StudyScope:
    """Which studies a user with these roles sees."""
    scopes = [role.scope for role in roles] + ([user.scope] if user.scope is not None else [])
    if any(scope.everything for scope in scopes):
        return EVERYTHING
    rules = (resolved(rule, user) for scope in scopes for rule in scope.rules)
    return StudyScope(rules=tuple(dict.fromkeys(rule for rule in rules if rule is not None)))


def resolved(rule: RoleRule, user: User) -> ScopeRule | None:
    """The rule for this user; None when it depends on what the user does not have: then it shows nothing."""
    departments, physicians = rule.departments, rule.referring_physicians
    if rule.own_department:
        departments += (user.department,) if user.department else ()
        if not departments:
            return None
    if rule.own_referring:
        physicians += names_of(user.display_name)
        if not physicians:
            return None
    found = ScopeRule(rule.modalities, rule.sources, rule.institutions, departments, physicians, rule.studies)
    return None if found.empty else found


def names_of(display_name: str) -> tuple[str, ...]:
    """How a data set may write somebody's name: as it is (``Doe^Jane``), and ``Jane Doe`` turned round."""
    name = " ".join(display_name.split())
    if not name:
        return ()
    words = name.split(" ")
    if "^" in name or len(words) == 1:
        return (name,)
    given, family = " ".join(words[:-1]), words[-1]
    return tuple(dict.fromkeys((name, f"{family}^{given}", f"{family}^{given.replace(' ', '^')}")))


def decoded_scope(stored: str | None) -> RoleScope | None:
    """A scope from its JSON column. One that cannot be read (of a newer release, edited by hand) shows nothing."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored, type=RoleScope)
    except msgspec.DecodeError:
        return RoleScope()
