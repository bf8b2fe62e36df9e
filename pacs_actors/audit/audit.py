"""``Audit``: through which everybody tells the auditor what happened, a method for each kind of event.

Nothing here waits for the database, but ``record``. Patients' names are never told.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec
import trio

from pacs_actors.audit import events
from pacs_actors.audit.spool import Spool
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.operations import logs
from protocols.errors import Unavailable
from protocols.messages.audit import Actor, AuditEvent, Details

_WAIT_S: Final = 2.0
_WRITTEN_WITHIN_S: Final = 10.0
_MOST_UIDS: Final = 50
_MOST_CLASSES: Final = 12  # in one text of at most 1024 characters


class Party(Protocol):
    """An association, as one who acts; one with a verified user has their name as ``user``."""

    calling_ae: str
    called_ae: str
    address: str


Doer = Actor | Party


class Audit:
    """Tells the auditor. ``by`` is who acts: an association, or an ``Actor`` (a user, a token, a share link)."""

    def __init__(self, mailbox: Mailbox[AuditEvent], spool: Spool | None = None) -> None:
        self.mailbox, self.spool = mailbox, spool

    async def note(self, event: AuditEvent) -> None:
        """Hand an event to the auditor. It is in the spool first, if there is one: from then on it outlives the process.

        What cannot be handed over is logged, so that it is not lost without a trace; the next start finds it in the spool.
        """
        event = _dated(event)
        if self.spool is not None:
            event = self.spool.add(event)
        with trio.move_on_after(_WAIT_S):
            try:
                await self.mailbox.tell(event)
                return
            except Unavailable:
                pass
        unrecorded(event)

    async def record(self, event: AuditEvent) -> None:
        """As ``note``, and return once the event is in the database: for what must not happen without its trace.

        raises: Unavailable if it is not there in time; it may still come
        """
        with trio.move_on_after(_WRITTEN_WITHIN_S):
            envelope = await self.mailbox.tell(_dated(event))
            await envelope.answered.wait()
            envelope.unwrap()
            return
        raise Unavailable(f"the audit was not written within {_WRITTEN_WITHIN_S:g} s")

    # -- the archive: over DICOM and over the web -------------------------------------------------------------------------------
    async def association_opened(self, party: Party) -> None:
        await self._say(events.ASSOCIATION, party, {"called": party.called_ae})

    async def association_rejected(self, party: Party, why: str) -> None:
        await self._say(events.ASSOCIATION, party, {"called": party.called_ae, "why": why}, outcome="refused")

    async def transferred(self, by: Doer, counts: Mapping[tuple[str, str, str], int]) -> None:
        """What came together, a row for each study. counts: (study, patient ID, SOP class) -> instances"""
        studies: dict[tuple[str, str], dict[str, int]] = {}
        for (study, patient_id, sop_class), instances in counts.items():
            studies.setdefault((study, patient_id), {})[sop_class] = instances
        for (study, patient_id), classes in studies.items():
            await self.stored(by, study, patient_id, sum(classes.values()), classes)

    async def stored(
        self,
        by: Doer,
        study_instance_uid: str,
        patient_id: str,
        instances: int,
        classes: Mapping[str, int] | None = None,
    ) -> None:
        """Instances of one study that came together (PS3.15 A.5.3: DICOM Instances Transferred).

        classes: how many of each SOP class
        """
        details: Details = {"instances": instances}
        if classes:
            listed = sorted(classes.items())[:_MOST_CLASSES]
            details["sop_classes"] = " ".join(f"{uid}={number}" for uid, number in listed)
        await self._say(events.STORE, by, details, (study_instance_uid,), patient_id)

    async def imported(
        self, by: Doer, study: str, patient_id: str, instances: int, **details: str | int
    ) -> None:
        """As ``stored``, but from a folder or a medium rather than from who made them."""
        await self._say(events.IMPORTED, by, {"instances": instances, **details}, (study,), patient_id)

    async def store_refused(self, by: Doer, sop_instance_uid: str, why: str) -> None:
        details: Details = {"why": why[:200], "instance": sop_instance_uid[:64]}
        await self._say(events.STORE, by, details, (sop_instance_uid[:64],), outcome="refused")

    async def queried(self, by: Doer, level: str, keys: Details, matches: int, outcome: str) -> None:
        """keys: names of those asked for; of their values only UIDs and numbers"""
        await self._say(events.QUERY, by, {"level": level, "matches": matches, **keys}, outcome=outcome)

    async def retrieved(
        self, by: Doer, how: str, uids: tuple[str, ...], counts: Details, outcome: str, patient_id: str = ""
    ) -> None:
        """how: events.RETRIEVE, MOVE or COMMIT"""
        await self._say(how, by, counts, uids, patient_id, outcome)

    async def viewed(self, by: Doer, study: str, patient_id: str = "", **details: str | int) -> None:
        """A study was opened: viewer, metadata, rendered images. Once for each study and sitting, not once an image."""
        await self._say(events.VIEWED, by, details, (study,), patient_id)

    async def downloaded(
        self, by: Doer, studies: Iterable[str], patient_id: str = "", outcome: str = "success", **details: str | int
    ) -> None:  # fmt: skip
        """DICOM objects left over the web."""
        await self._say(events.DOWNLOADED, by, details, studies, patient_id, outcome)

    async def exported(
        self, by: Doer, studies: Iterable[str], patient_id: str = "", **details: str | int
    ) -> None:
        """Something else than DICOM objects left: a list, a zip, a report. details: ``what``"""
        await self._say(events.EXPORTED, by, details, studies, patient_id)

    async def deleted(
        self, by: Doer, study: str, patient_id: str, *below: str, outcome: str = "success", **details: str | int
    ) -> None:  # fmt: skip
        """below: the series and instances, if not the whole study. details: ``level``, ``instances``"""
        await self._say(events.DELETED, by, details, (study, *below), patient_id, outcome)

    async def undeleted(
        self, by: Doer, study: str, patient_id: str, *below: str, **details: str | int
    ) -> None:
        await self._say(events.UNDELETED, by, details, (study, *below), patient_id)

    async def erased(self, by: Doer, study: str, patient_id: str, *below: str, **details: str | int) -> None:
        """What was deleted cannot be brought back any more."""
        await self._say(events.ERASED, by, details, (study, *below), patient_id)

    # -- people -----------------------------------------------------------------------------------------------------------------
    async def login(self, by: Actor, **details: str | int) -> None:
        await self._say(events.LOGIN, by, details)

    async def login_failed(self, by: Actor, why: str, **details: str | int) -> None:
        """by.who: the name that was tried"""
        await self._say(events.LOGIN, by, {"why": why, **details}, outcome="failure")

    async def logout(self, by: Actor, **details: str | int) -> None:
        """details: ``why`` if they did not ask for it: expired, revoked"""
        await self._say(events.LOGOUT, by, details)

    async def denied(self, by: Doer, what: str, studies: Iterable[str] = (), patient_id: str = "") -> None:
        """Somebody asked for what they have no right to."""
        await self._say(events.DENIED, by, {"what": what[:200]}, studies, patient_id, "refused")

    async def share_created(
        self, by: Actor, study: str, patient_id: str, share: str, **details: str | int
    ) -> None:
        """share: its number, never the secret in its link"""
        await self._say(events.SHARE_CREATED, by, {"share": share, **details}, (study,), patient_id)

    async def share_used(
        self, by: Actor, study: str, patient_id: str, share: str, outcome: str = "success", **details: str | int
    ) -> None:  # fmt: skip
        await self._say(events.SHARE_USED, by, {"share": share, **details}, (study,), patient_id, outcome)

    async def share_revoked(self, by: Actor, study: str, patient_id: str, share: str) -> None:
        await self._say(events.SHARE_REVOKED, by, {"share": share}, (study,), patient_id)

    # -- the archive itself -----------------------------------------------------------------------------------------------------
    async def user_changed(self, by: Actor, user: str, change: str, **details: str | int) -> None:
        """change: created, changed, password, locked, unlocked, deleted, token created, token revoked…"""
        await self._say(events.USER_CHANGED, by, {"user": user, "change": change, **details})

    async def permission_changed(self, by: Actor, of: str, change: str, **details: str | int) -> None:
        """of: the role, user or rule whose rights are others now"""
        await self._say(events.PERMISSION_CHANGED, by, {"of": of, "change": change, **details})

    async def settings_changed(self, by: Actor, setting: str, **details: str | int) -> None:
        """details: ``before`` and ``after`` where they are no secrets"""
        await self._say(events.SETTINGS_CHANGED, by, {"setting": setting, **details})

    async def storage_asked(self, by: Actor, what: str, study: str, **details: str | int) -> None:
        """what: move, cancel, hold, lift or label"""
        await self._say(events.STORAGE_ASKED, by, {"what": what, **details}, uids=(study,))

    async def node_changed(self, by: Actor, ae_title: str, change: str, **details: str | int) -> None:
        await self._say(events.NODE_CHANGED, by, {"ae_title": ae_title, "change": change, **details})

    async def audit_read(self, by: Actor, how: str, **details: str | int) -> None:
        """how: search, export or verify (PS3.15 A.5.3: Audit Log Used)"""
        await self._say(events.AUDIT_READ, by, {"how": how, **details})

    async def audit_damaged(self, what: str) -> None:
        await self._say(events.AUDIT_DAMAGED, OURSELVES, {"what": what}, outcome="failure")

    async def started(self, worker: int) -> None:
        await self._say(events.STARTED, OURSELVES, {"worker": worker})

    async def stopped(self, worker: int) -> None:
        await self._say(events.STOPPED, OURSELVES, {"worker": worker})

    async def _say(
        self,
        event: str,
        by: Doer,
        details: Details,
        uids: Iterable[str] = (),
        patient_id: str = "",
        outcome: str = "success",
    ) -> None:
        await self.note(made(event, by, details, uids, patient_id, outcome))


OURSELVES: Final = Actor("pacs-actors", "process")


def made(
    event: str,
    by: Doer,
    details: Details,
    uids: Iterable[str] = (),
    patient_id: str = "",
    outcome: str = "success",
) -> AuditEvent:
    """An event, for ``record``; more than 50 UIDs are counted in ``more_uids`` instead."""
    actor = by if isinstance(by, Actor) else Actor(by.calling_ae, "ae", by.address)
    if user := getattr(by, "user", ""):
        details = {**details, "user": user}
    shown = tuple(uids)
    if len(shown) > _MOST_UIDS:
        details = {**details, "more_uids": len(shown) - _MOST_UIDS}
        shown = shown[:_MOST_UIDS]
    return AuditEvent(event, outcome, actor.who, actor.address, patient_id, shown, details, actor.via)


def unrecorded(event: AuditEvent) -> None:
    """Log an event that cannot be written any more."""
    logs.error(
        "audit_overflow", audit=event.event, outcome=event.outcome, by=event.who, uids=list(event.uids[:10])
    )


def _dated(event: AuditEvent) -> AuditEvent:
    return event if event.at else msgspec.structs.replace(event, at=time.time())
