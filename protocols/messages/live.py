"""The live websocket, ``/api/v1/live``: everything that client and server say. ``docs/live.md`` is made from this file.

A state is a JSON object without nulls: in a change, a JSON Merge Patch (RFC 7396), null means "remove". What there may be many
of is an object by key, so that a change can name one.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from protocols.messages.status import AssociationStatus, MailboxStatus, WorkerFacts

MOST_NAMES = 16


class Topic(Enum):
    """What can be subscribed to."""

    STUDIES = "studies"
    QUEUES = "queues"
    ASSOCIATIONS = "associations"
    ALERTS = "alerts"
    SYSTEM = "system"
    MOVES = "moves"


Names: TypeAlias = Annotated[tuple[Annotated[str, Meta(max_length=32)], ...], Meta(max_length=MOST_NAMES)]


class ClientMessage(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a client says.

    token:        only in the first message, and only if the handshake had neither the session's cookie nor ``Authorization``
    subscribe:    topics; one that is subscribed already starts over with a snapshot
    unsubscribe:  topics; nothing more is said about them
    """

    token: str | None = None
    subscribe: Names = ()
    unsubscribe: Names = ()


class Snapshot(Struct, frozen=True, tag_field="kind", tag="snapshot"):
    """The state as it is now.

    n:       its number; the next change of the topic has n + 1
    resync:  the client was too slow: what it has missed is in here
    """

    topic: str
    n: int
    resync: bool
    state: dict[str, Any]


class Change(Struct, frozen=True, tag_field="kind", tag="change"):
    """What has changed. changes: a JSON Merge Patch on the state that n - 1 has led to"""

    topic: str
    n: int
    changes: dict[str, Any]


class Refused(Struct, frozen=True, tag_field="kind", tag="refused"):
    """The topic is not for this client, or not any more. why: a sentence"""

    topic: str
    why: str


ServerMessage: TypeAlias = Snapshot | Change | Refused


class LiveStudy(Struct, frozen=True):
    """A study, with the attributes of the study list. received_at: RFC 3339, UTC; "" if nobody knows"""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_date: str
    study_time: str
    accession_number: str
    study_description: str
    study_id: str
    modalities: list[str]
    referring_physician_name: str
    institution_name: str
    number_of_series: int
    number_of_instances: int
    size_bytes: int
    received_at: str
    source: str
    availability: str


class StudiesState(Struct, frozen=True):
    """The studies that something came for most recently, of those that the client may see. studies: by Study Instance UID"""

    studies: dict[str, LiveStudy]


class OpenAssociation(AssociationStatus, frozen=True, kw_only=True):
    """slot: the worker that has it"""

    slot: int


class AssociationsState(Struct, frozen=True):
    """associations: by worker and place, such as ``0.17``"""

    associations: dict[str, OpenAssociation]


class AuditQueue(Struct, frozen=True):
    """waiting: events on their way to the database; unsent: rows that the syslog receiver may lack"""

    waiting: int
    unsent: int


class QueuesState(Struct, frozen=True):
    """What waits.

    mailboxes:    by worker, by name
    backlog:      by worker: instances stored but not indexed yet
    commitments:  storage commitment requests by state: received, checked, reported, given up
    deletions:    those that can still be undone or are being erased
    quarantined:  objects set aside on the last day, counted to 1000
    """

    mailboxes: dict[str, dict[str, MailboxStatus]]
    backlog: dict[str, int]
    commitments: dict[str, int]
    deletions: int
    quarantined: int
    audit: AuditQueue


class Severity(Enum):
    CRITICAL = "critical"
    WARNING = "warning"


class Alert(Struct, frozen=True):
    """Something that somebody has to look at.

    what:    a sentence; detail: why, or what to do
    since:   RFC 3339, UTC: when this worker first saw it
    worker:  the slot of the worker that it is about; -1: the node
    """

    severity: Severity
    what: str
    detail: str
    since: str
    worker: int = -1


class AlertsState(Struct, frozen=True):
    """alerts: by a name that says what it is, such as ``low_space`` or ``index_lag.1``; one that is gone is removed"""

    alerts: dict[str, Alert]


class SystemState(Struct, frozen=True):
    """The node. at: wall-clock seconds since 1970; workers: by slot"""

    at: float
    ae_title: str
    dicom: str
    workers: dict[str, WorkerFacts]


class LiveMove(Struct, frozen=True):
    """Work on one study between stores.

    from_store, to_store: ``online``, a store's name, or "". With both it moves; with ``to_store`` only it copies, or recalls;
    with ``from_store`` only it removes what is elsewhere too
    form:        how copies are compressed in ``to_store``
    why:         a policy's name, or what asked for it; asked_by: who, "" if nobody did
    priority:    the lowest number goes first
    state:       waiting, running, done, failed or cancelled
    asked_at, begun_at, ended_at: RFC 3339, UTC; "" as long as it has not
    instances:   of the study, size_bytes: theirs; done, done_bytes: of them are settled
    problem:     why it waits again, or has failed
    """

    id: int
    study_instance_uid: str
    from_store: str
    to_store: str
    form: str
    why: str
    asked_by: str
    priority: int
    state: str
    asked_at: str
    begun_at: str
    ended_at: str
    attempts: int
    instances: int
    done: int
    size_bytes: int
    done_bytes: int
    problem: str


class MovesState(Struct, frozen=True):
    """Moves and recalls.

    moves:   by number: those that run, the next ones, and the last that ended
    counts:  how many there are, by state; of those that ended, within a day
    """

    moves: dict[str, LiveMove]
    counts: dict[str, int]


STATES: dict[Topic, type[Struct]] = {
    Topic.STUDIES: StudiesState,
    Topic.QUEUES: QueuesState,
    Topic.ASSOCIATIONS: AssociationsState,
    Topic.ALERTS: AlertsState,
    Topic.SYSTEM: SystemState,
    Topic.MOVES: MovesState,
}
