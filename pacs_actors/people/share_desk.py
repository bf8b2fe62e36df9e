"""Share desk: opens share links, and knows again who has opened one.

A link that never was, that has expired, that was revoked and whose study is not there (any more) look the same from outside;
the audit tells them apart. The secret itself is in no log and in no audit.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.database import Database
from pacs_actors.people import share_rules, tickets
from pacs_actors.people.access_tokens import NotRecognised
from pacs_actors.people.backoff import network_of
from pacs_actors.people.reception import Reception, SlowDown
from pacs_actors.people.rights import Principal
from pacs_actors.people.share_rules import Link
from pacs_actors.people.shares import Shares
from pacs_actors.people.throttled import MOST, Throttled
from protocols.errors import Refusal
from protocols.messages.audit import Actor

_VIA: Final = "link"
_MINUTE_S: Final = 60.0
_UNKNOWN_A_MINUTE: Final = 30
_TOO_MANY: Final = "too many wrong passwords"


class NoSuchLink(Refusal):
    """404: it opens nothing, whatever the reason."""

    def __init__(self) -> None:
        super().__init__(
            "This link has expired or was revoked. Ask whoever sent it for a new one.",
            dimse_status=0x0112,
            http_status=404,
        )


class PasswordNeeded(Refusal):
    """401: the link has a password; wrong: another one was given."""

    def __init__(self, *, wrong: bool) -> None:
        what = "That is not the password." if wrong else "This link needs its password."
        super().__init__(what, dimse_status=0x0124, http_status=401)
        self.wrong = wrong


class Opened(Struct, frozen=True):
    """Its repr shows no secret. lifetime_s: of the session"""

    study_instance_uid: str
    session_secret: str
    lifetime_s: int

    def __repr__(self) -> str:
        return f"Opened(study_instance_uid={self.study_instance_uid!r})"


class ShareDesk:
    def __init__(self, people: Reception, database: Database) -> None:
        self._people, self._audit = people, people.audit
        self.shares = Shares(database)
        self._minute_ends = -float("inf")
        self._told = self._untold = 0
        self._throttled = Throttled()
        self._slowed: OrderedDict[str, Link] = OrderedDict()  # by their names in the audit

    async def has_password(self, secret: str, address: str) -> bool:
        """Whether a link that can be opened asks for a password. raises: NoSuchLink, Unavailable"""
        return (await self._link(secret, address)).password_hash is not None

    async def open(self, secret: str, password: str, address: str) -> Opened:
        """Begin a session that sees the link's study. raises: NoSuchLink, PasswordNeeded, SlowDown, Unavailable"""
        link = await self._link(secret, address)
        if link.password_hash is not None:
            await self._check_password(link, link.password_hash, password, address)
        lifetime = timedelta(seconds=self._people.settings.session_lifetime_s)
        until = min(link.expires_at, datetime.now(UTC) + lifetime)
        session = tickets.new_secret(tickets.SHARE_SESSION)
        if not await self.shares.open(link.number, tickets.digest(session), until):
            raise NoSuchLink
        await self._tell(link, address)
        lifetime_s = max(1, int((until - datetime.now(UTC)).total_seconds()))
        return Opened(link.study_instance_uid, session, lifetime_s)

    async def of_cookie(self, secret: str) -> Principal | None:
        """Who has opened a link with this cookie; None if that has ended. raises: Unavailable"""
        if not tickets.looks_like(secret, tickets.SHARE_SESSION):
            return None
        try:
            return await self._people.recall(secret, lambda: self._of_session(secret))
        except NotRecognised:
            return None

    async def holds(self, principal: Principal) -> Principal | None:
        """Somebody who came by a link, as they are now; None if the link has ended. raises: Unavailable"""
        found = await self.shares.session(int(principal.session.partition(":")[2]))
        if found is None or share_rules.why_not(found[1], datetime.now(UTC)) is not None:
            return None
        return share_rules.principal_of_link(found[1], found[0])

    async def _of_session(self, secret: str) -> tuple[Principal, float]:
        found = await self.shares.session_of(tickets.digest(secret))
        now = datetime.now(UTC)
        if found is None or share_rules.why_not(found[1], now) is not None:
            raise NotRecognised
        number, link, until = found
        return share_rules.principal_of_link(link, number), (until - now).total_seconds()

    async def _link(self, secret: str, address: str) -> Link:
        """raises: NoSuchLink"""
        link = None
        if tickets.looks_like(secret, tickets.SHARE):
            link = await self.shares.link(tickets.digest(secret))
        if link is None:
            await self._tell_unknown(address)
            raise NoSuchLink
        why = share_rules.why_not(link, datetime.now(UTC))
        if why is None and not await self.shares.study_is_there(
            link.study_instance_uid, share_rules.visible(link)
        ):
            why = "its study is not there for whoever made it"
        if why is not None:
            await self._tell(link, address, "failure", why)
            raise NoSuchLink
        return link

    async def _check_password(self, link: Link, stored: str, password: str, address: str) -> None:
        """Attempts are counted before they are looked at. raises: PasswordNeeded, SlowDown, Unavailable"""
        if not password:
            raise PasswordNeeded(wrong=False)
        counted = share_rules.counters(link.number, network_of(address))
        attempt = await self._people.attempts.begin(counted)
        if attempt.wait_s:
            await self._tell_slowed(link, address)
            raise SlowDown(attempt.wait_s)
        if not await self._people.is_right(password, stored, attempt):
            await self._tell(link, address, "failure", "wrong password")
            raise PasswordNeeded(wrong=True)
        await self._people.attempts.succeeded(attempt)

    async def _tell_slowed(self, link: Link, address: str) -> None:
        """The first of a minute at once, the others together when it has ended."""
        await self.tell_throttled()
        self._slowed[link.name] = link
        self._slowed.move_to_end(link.name)
        if len(self._slowed) > MOST:
            self._slowed.popitem(last=False)
        by = Actor(link.name, _VIA, address)
        told = self._throttled.count(by, link.name, network_of(address), trio.current_time())
        if told is not None:
            await self._tell_attempts(told, 1)

    async def tell_throttled(self, *, all_of_them: bool = False) -> None:
        """Tell the audit of whom it has not been told yet: of minutes that have ended, or of all."""
        now = float("inf") if all_of_them else trio.current_time()
        for by, attempts in self._throttled.due(now):
            await self._tell_attempts(by, attempts)

    async def _tell_attempts(self, by: Actor, attempts: int) -> None:
        link = self._slowed.get(by.who)
        if link is None:  # so many links that they are told of together
            await self._audit.denied(by, f"share links: {_TOO_MANY}, {attempts} times")
            return
        await self._audit.share_used(
            by, link.study_instance_uid, link.patient_id, str(link.number), "failure", why=_TOO_MANY, attempts=attempts
        )  # fmt: skip

    async def _tell_unknown(self, address: str) -> None:
        """Now and then: whoever asks for a thousand links that there are not must not fill the audit."""
        now = trio.current_time()
        if now >= self._minute_ends:
            self._minute_ends, self._told = now + _MINUTE_S, 0
        self._told += 1
        if self._told > _UNKNOWN_A_MINUTE:
            self._untold += 1
            return
        more = f", after {self._untold} that were not told of" if self._untold else ""
        self._untold = 0
        by = Actor("unknown link", _VIA, address)
        await self._audit.denied(by, f"a share link that there is not{more}")

    async def _tell(self, link: Link, address: str, outcome: str = "success", why: str = "") -> None:
        by, details = Actor(link.name, _VIA, address), {"why": why} if why else {}
        await self._audit.share_used(
            by, link.study_instance_uid, link.patient_id, str(link.number), outcome, **details
        )
