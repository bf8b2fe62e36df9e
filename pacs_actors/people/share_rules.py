"""Share links: what one shows, how long it lasts, how often its password may be guessed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from pacs_actors.archive.scope import ScopeRule, StudyScope, both
from pacs_actors.people.accounts import Role, User, actions_of, scope_of
from pacs_actors.people.backoff import Counter, Tariff
from pacs_actors.people.rights import Action, Principal, Via

LEAST_PASSWORD: Final = 8
LEAST_S: Final = 60
_LOOKING: Final = frozenset({Action.SEARCH, Action.VIEW})
_FROM_ONE_PLACE: Final = Tariff(free=5, longest_s=900)
_FROM_EVERYWHERE: Final = Tariff(free=50, longest_s=60)


class Link(Struct, frozen=True, kw_only=True):
    """A share link as it stands in the database. Its repr shows no hash.

    number:         its id, for the audit
    password_hash:  None: whoever has the link may open it
    maker, roles:   who made it, as they are now; None: they are disabled
    """

    number: int
    study_instance_uid: str
    patient_id: str
    actions: tuple[str, ...]
    password_hash: str | None
    expires_at: datetime
    revoked: bool
    maker: User | None
    roles: Sequence[Role] = ()

    def __repr__(self) -> str:
        return f"Link(number={self.number})"

    @property
    def name(self) -> str:
        """Who acts, in the audit."""
        return f"link {self.number}"


def actions_given(actions: frozenset[Action], *, download: bool) -> frozenset[Action] | None:
    """What a link of somebody with these permissions allows; None if they cannot make such a one."""
    wanted = _LOOKING | ({Action.DOWNLOAD} if download else frozenset())
    return wanted if wanted | {Action.SHARE} <= actions else None


def why_not(link: Link, now: datetime) -> str | None:
    """Why a link opens nothing, for the audit; None if it does."""
    if link.revoked:
        return "revoked"
    if link.expires_at <= now:
        return "expired"
    if link.maker is None or Action.SHARE not in actions_of(link.roles):
        return "whoever made it may not share any more"
    return None


def principal_of_link(link: Link, session: int) -> Principal:
    """Whoever has opened a link that holds: they see its study, as far as its maker may see it now."""
    assert link.maker is not None
    theirs = actions_of(link.roles)
    return Principal(
        link.name,
        frozenset(action for action in theirs if action.value in link.actions),
        visible(link),
        Via.SHARE,
        session=f"share:{session}",
        cookie=True,
    )


def visible(link: Link) -> StudyScope:
    """The link's study, if its maker may see it."""
    assert link.maker is not None
    one = StudyScope(rules=(ScopeRule(studies=(link.study_instance_uid,)),))
    return both(one, scope_of(link.maker, link.roles))


def counters(number: int, network: str) -> tuple[Counter, ...]:
    """What an attempt at a link's password counts in, and has to wait for."""
    return (
        Counter(_key(number, network), _FROM_ONE_PLACE),
        Counter(_key(number, ""), _FROM_EVERYWHERE),
    )


def _key(number: int, network: str) -> bytes:
    return hashlib.sha256(f"share\0{number}\0{network}".encode()).digest()
