"""A node to look at: two workers, associations, a supervision tree, studies. ``advance`` lets it work."""

from __future__ import annotations

import random

import msgspec

from protocols.errors import Unavailable
from protocols.messages.status import (
    ActorStatus,
    AssociationStatus,
    MailboxStatus,
    NodeStatus,
    StudySummary,
    WorkerStatus,
)

HOSTILE = "<b id=x>X</b>"


def association(calling: str, **facts: object) -> AssociationStatus:
    known = {
        "calling_ae": calling,
        "called_ae": "PACS",
        "address": "10.1.2.3",
        "since_s": 12.0,
        "requests": 40,
        "stored": 40,
        "received_bytes": 21_000_000,
        "sent_bytes": 4_000,
        "doing": "C-STORE",
    }
    return AssociationStatus(**(known | facts))  # type: ignore[arg-type]


def actors() -> tuple[ActorStatus, ...]:
    return (
        ActorStatus(0, "pacs", "up", 0, 0, ""),
        ActorStatus(1, "storage", "up", 0, 0, ""),
        ActorStatus(2, "indexer", "up", 1, 1, "ConnectionDoesNotExistError: connection was closed"),
        ActorStatus(2, "writer 0", "up", 0, 0, ""),
        ActorStatus(2, "writer 1", "up", 0, 0, ""),
        ActorStatus(1, "edge", "up", 0, 0, ""),
        ActorStatus(2, "query responder", "crashed", 3, 3, "ValueError: not enough values to unpack"),
        ActorStatus(2, "listener", "up", 0, 0, ""),
    )


def worker(slot: int, **facts: object) -> WorkerStatus:
    known: dict[str, object] = {
        "slot": slot,
        "pid": 4000 + slot,
        "state": "accepting",
        "uptime_s": 93_784.0,
        "accepting": True,
        "why_not": "",
        "indexing": True,
        "memory_bytes": 231_000_000,
        "stored_instances": 120_400,
        "stored_bytes": 63_300_000_000,
        "indexed_instances": 120_360,
        "duplicates": 12,
        "conflicts": 1,
        "backlog": 40,
        "free_bytes": 812_000_000_000,
        "loop_lag_ms": 0.7,
        "counters": {"finds": 210, "moves": 12, "aborts": 3},
        "associations": (),
        "actors": actors(),
        "mailboxes": (
            MailboxStatus("ingest writer", 3, 48, 120_400, 120_397, 0, 0, 41.5),
            MailboxStatus("indexer", 40, 20_000, 120_400, 120_360, 0, 1, 120.2),
            MailboxStatus("query responder", 60, 64, 3_200, 3_140, 14, 3, 912.0),
        ),
    }
    return WorkerStatus(**(known | facts))  # type: ignore[arg-type]


def study(number: int, modalities: str, source: str, **facts: object) -> StudySummary:
    known: dict[str, object] = {
        "study_instance_uid": f"1.2.826.0.1.3680043.10.1.{number}",
        "study_date": "20240131",
        "modalities": modalities,
        "series": number % 5 + 1,
        "instances": number * 37 + 1,
        "received_at": "2024-01-31T09:12:44Z",
        "source": source,
    }
    return StudySummary(**(known | facts))  # type: ignore[arg-type]


STUDIES = (
    study(1, "CT", "CT_SCANNER_1"),
    study(2, "MR\\SR", HOSTILE),
    study(3, "DX", "XRAY 2", received_at="2024-01-31T08:02:01Z"),
    study(4, "US", "US1", study_date="", received_at="2024-01-30T18:40:00Z"),
    study(5, "PT\\CT", "PETCT", study_instance_uid="1.2.840.113619.2.55.3." + "604688119.971.1390"),
)


class FakeStatus:
    """A source that a test can change. ``calls`` counts how often the node was looked at."""

    def __init__(self, node: NodeStatus | None = None) -> None:
        self.value = node or NodeStatus(
            at=1_706_692_364.0,
            ae_title="PACS",
            dicom="127.0.0.1:11112",
            workers=(
                worker(
                    0,
                    associations=(
                        association("CT_SCANNER_1", received_bytes=412_000_000, stored=788, since_s=64.2),
                        association(
                            "MR1", address="10.1.2.9", doing="waiting for the disk", stored=3, place=1
                        ),
                    ),
                ),
                worker(
                    1,
                    associations=(
                        association("WORKSTATION", doing="C-MOVE", stored=0, sent_bytes=98_000_000),
                    ),
                ),
            ),
            last_studies=(),
        )
        self.studies: tuple[StudySummary, ...] | None = STUDIES
        self.readiness = (True, "")
        self.crash: Exception | None = None
        self.calls = 0

    def node(self) -> NodeStatus:
        self.calls += 1
        if self.crash is not None:
            raise self.crash
        return self.value

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    async def last_studies(self) -> tuple[StudySummary, ...]:
        if self.studies is None:
            raise Unavailable("The index does not answer.")
        return self.studies

    def change(self, **facts: object) -> None:
        """Replace fields of the node."""
        self.value = msgspec.structs.replace(self.value, **facts)

    def change_worker(self, slot: int, **facts: object) -> None:
        """Replace fields of one worker."""
        self.change(
            workers=tuple(
                msgspec.structs.replace(one, **facts) if one.slot == slot else one
                for one in self.value.workers
            )
        )

    def advance(self, seconds: float, chance: random.Random) -> None:
        """Let the node work: counters grow, ages too."""
        self.change(at=self.value.at + seconds)
        for one in self.value.workers:
            news = int(seconds * (300 + 60 * one.slot) * chance.uniform(0.5, 1.3))
            backlog = chance.randrange(20, 90)
            self.change_worker(
                one.slot,
                uptime_s=one.uptime_s + seconds,
                stored_instances=one.stored_instances + news,
                stored_bytes=one.stored_bytes + news * 526_000,
                indexed_instances=one.stored_instances + news - backlog,
                backlog=backlog,
                loop_lag_ms=round(chance.uniform(0.2, 3), 1),
            )
