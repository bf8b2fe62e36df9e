"""What the archive wing's actors are told and asked."""

from __future__ import annotations

from typing import Any

from protocols.dataset.record import IndexEntry
from protocols.messages import Ask, Message


class Stored(Message, frozen=True):
    """The answer to StoreObject: the object is durable."""

    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str
    digest: bytes
    series_instance_uid: str = ""


class StoreObject(Ask[Stored], frozen=True):
    """Make a received object durable and hand it to the indexer.

    staged:  the object-store's Staging that holds the received bytes (a reference; the bytes stay where they are)
    study_instance_uid:  the study that it has to be of; "": of any
    """

    staged: Any
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source: str
    address: str
    study_instance_uid: str = ""


class IndexInstance(Message, frozen=True):
    """A durable object that the index must show.

    recovered:  found at start; it was answered by an earlier process
    """

    entry: IndexEntry
    address: str = ""
    recovered: bool = False


class FlushIndex(Ask[None], frozen=True):
    """Answered once everything told before is indexed."""


IngestMessage = StoreObject
IndexMessage = IndexInstance | FlushIndex
