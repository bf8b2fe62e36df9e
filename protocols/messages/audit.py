"""What the audit wing is told and asked, and what it shows (PS3.15 A.5)."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field

from protocols.messages import Message

Details = dict[str, str | int]


class Actor(Struct, frozen=True):
    """Who acts.

    who:      AE title, user name, name of a share link or of a process; never a patient's name
    via:      ae, session, token, link, process or command: what they were known by
    address:  where from; "" for ourselves
    """

    who: str
    via: str
    address: str = ""


class AuditEvent(Message, frozen=True):
    """Who did what to whose data: one row of the audit, never changed.

    event:    one of ``pacs_actors.audit.events``
    outcome:  success, warning, failure or refused
    uids:     Study Instance UIDs first, then those of what lies below them
    details:  facts; a patient's name is not one
    at:       when it happened, seconds since 1970; 0: when it is handed over
    kept:     which file of the spool has it; 0: none
    """

    event: str
    outcome: str
    who: str = ""
    address: str = ""
    patient_id: str = ""
    uids: tuple[str, ...] = ()
    details: Details = field(default_factory=dict)
    via: str = ""
    at: float = 0.0
    kept: int = 0


class AuditRow(Struct, frozen=True):
    """A row of the audit.

    id:           its number; there are no gaps
    at:           when it happened; recorded_at: when the database wrote it
    hash:         SHA-256 over the row and the hash of the row before it, hexadecimal
    """

    id: int
    at: datetime
    recorded_at: datetime
    event: str
    outcome: str
    who: str
    via: str
    address: str
    patient_id: str
    uids: tuple[str, ...]
    details: Details
    hash: str


class AuditQuery(Struct, frozen=True, kw_only=True):
    """Which rows; what is empty does not matter.

    since, until:  of ``at``: from this moment, before that one
    uid:           among the row's UIDs
    text:          somewhere in who, address, patient_id, event or details, whatever its case
    """

    since: datetime | None = None
    until: datetime | None = None
    events: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    who: str = ""
    via: str = ""
    address: str = ""
    patient_id: str = ""
    uid: str = ""
    text: str = ""


class AuditPage(Struct, frozen=True):
    """Rows of a list.

    after:   sort value and id that the next page follows; None: there is none
    total:   rows that match, counted up to a limit; capped: there may be more
    """

    rows: tuple[AuditRow, ...]
    after: tuple[str | int | datetime, int] | None
    total: int
    capped: bool
