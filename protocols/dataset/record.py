"""What ingest hands to the index about one stored instance."""

from __future__ import annotations

from msgspec import Struct


class ScannedInstance(Struct, frozen=True, gc=False):
    """What the header scan found.

    values: tag -> decoded text of every attribute of ``INDEXED`` (and of the chosen custom ones) that is present and not
            empty. Several values are joined by a backslash. Numbers (US…) are their decimal text. NULs are replaced. The
            Request Attributes Sequence is DICOM JSON text.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    character_set: str
    values: dict[int, str]


class StoredObject(Struct, frozen=True, gc=False):
    """An object that is durable in the object store.

    key:          names the object in its store; made of our own numbers and hash only
    size_bytes:   of the whole Part 10 file
    data_offset:  where the data set begins in it
    digest:       xxh3-128 of the file from byte 128 on (16 bytes)
    received_ns:  wall clock, nanoseconds since 1970
    source:       calling AE title, or the source's name
    """

    key: str
    size_bytes: int
    data_offset: int
    digest: bytes
    received_ns: int
    source: str


class IndexEntry(Struct, frozen=True, gc=False):
    """One line for the index."""

    scanned: ScannedInstance
    stored: StoredObject
