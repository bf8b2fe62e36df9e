"""What the catalogue answers."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from msgspec import Struct


class OutcomeKind(Enum):
    """What became of an entry."""

    INDEXED = "indexed"
    ALREADY = "already"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Outcome(Struct, frozen=True):
    """What became of one entry.

    first_key:        key of the object that holds the SOP Instance UID already (DUPLICATE: equal bytes;
                      CONFLICT: others)
    patient_mismatch: its study belongs to another patient; it is indexed under that study all the same
    """

    kind: OutcomeKind
    first_key: str | None = None
    patient_mismatch: bool = False


class FindPage(Struct, frozen=True):
    """A page of answers.

    returns:     the tag of each value of a row
    rows:        values as text, "" where there is none; of a sequence DICOM JSON
    after:       the cursor for the next page; None: this is the last
    unsupported: tags asked for that are not answered (status FF01H)
    """

    returns: tuple[int, ...]
    rows: list[tuple[str, ...]]
    after: tuple[int, ...] | None
    unsupported: tuple[int, ...]


class Totals(Struct, frozen=True):
    """size_bytes: of the Part 10 files."""

    patients: int = 0
    studies: int = 0
    series: int = 0
    instances: int = 0
    size_bytes: int = 0


class RecentStudy(Struct, frozen=True):
    """A line of the status page: no name of a patient."""

    study_instance_uid: str
    study_date: str
    modalities: str
    number_of_series: int
    number_of_instances: int
    received_at: datetime
    source: str
