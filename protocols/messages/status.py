"""What the status page shows: a snapshot per worker, published to the node's shared page twice a second."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class AssociationStatus(Struct, frozen=True):
    """One open association. requests counts the DIMSE requests served; since in seconds of its life.

    place: tells it from the others of its worker, as long as it is open
    """

    calling_ae: str
    called_ae: str
    address: str
    since_s: float
    requests: int
    stored: int
    received_bytes: int
    sent_bytes: int
    doing: str
    place: int = 0


class ActorStatus(Struct, frozen=True):
    """A line of the supervision tree; depth is its indentation."""

    depth: int
    name: str
    state: str
    restarts: int
    crashes: int
    last_crash: str


class MailboxStatus(Struct, frozen=True):
    name: str
    depth: int
    capacity: int
    told: int
    served: int
    refused: int
    crashed: int
    longest_wait_ms: float


STORE_SILENT_S: Final = "store_silent_s."
"""A counter that begins so and ends with the name of a tier store: for how long that has not answered, in seconds."""


class PathTimes(Struct, frozen=True):
    """How long a step took in the last ten minutes. counts: (bucket, how many), ascending; ``step_times`` has the buckets"""

    name: str
    counts: tuple[tuple[int, int], ...]


class PathFigures(Struct, frozen=True):
    """How long a step of storage took in the last ten minutes, on this node.

    p50_ms, p99_ms: in which half of them ended, and all but a hundredth; at most a quarter too long
    """

    name: str
    count: int
    p50_ms: float
    p99_ms: float


class WorkerFacts(Struct, frozen=True, kw_only=True):
    """One worker without its lists that change all the time. Counters run from its start; backlog is instances stored but
    not indexed yet.

    accepting:  images are accepted now; why_not says why if they are not
    indexing:   the database answers
    recovery:   what is still missing in the index of what earlier processes stored; empty: nothing
    """

    slot: int
    pid: int
    state: str
    uptime_s: float
    accepting: bool
    why_not: str
    indexing: bool
    memory_bytes: int
    stored_instances: int
    stored_bytes: int
    indexed_instances: int
    duplicates: int
    conflicts: int
    backlog: int
    free_bytes: int
    loop_lag_ms: float
    counters: dict[str, int]
    actors: tuple[ActorStatus, ...]
    recovery: str = ""


class WorkerStatus(WorkerFacts, frozen=True, kw_only=True):
    """One worker."""

    associations: tuple[AssociationStatus, ...]
    mailboxes: tuple[MailboxStatus, ...]
    paths: tuple[PathTimes, ...] = ()


class StudySummary(Struct, frozen=True):
    """A line of the list of last studies. No patient's name, number or description: the page has no login yet."""

    study_instance_uid: str
    study_date: str
    modalities: str
    series: int
    instances: int
    received_at: str
    source: str


class NodeStatus(Struct, frozen=True):
    """The whole node at one moment; ``at`` is wall-clock seconds since 1970.

    studies_as_of:  when last_studies was read, likewise; 0: not yet
    """

    at: float
    ae_title: str
    dicom: str
    workers: tuple[WorkerStatus, ...]
    last_studies: tuple[StudySummary, ...]
    studies_as_of: float = 0.0
