"""Holding objects against what the index says of them, and against each other. Everything here blocks; for native threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.lifecycle.integrity_reading import Head, Openable, read_head
from pacs_actors.lifecycle.integrity_rows import Row
from protocols.dataset.part10 import ObjectRecord


class Compared(NamedTuple):
    """What of some objects needs a second look.

    unknown:     there is no row of them
    disagrees:   key -> what their row and their record say differently
    unreadable:  key -> why the disk does not give them
    """

    unknown: list[Head]
    disagrees: dict[str, str]
    unreadable: dict[str, str]


def compare_some(store: Openable, keys: deque[str], rows: Mapping[str, Row]) -> Compared:
    """Hold keys off a queue that threads share against their rows, until it is empty."""
    found = Compared([], {}, {})
    while True:
        try:
            key = keys.popleft()
        except IndexError:
            return found
        row = rows.get(key)
        try:
            head = read_head(store, key, with_uid=row is None)
        except ObjectMissing:
            continue  # removed since it was listed
        except OSError as error:
            found.unreadable[key] = error.strerror or str(error)
            continue
        if row is None:
            found.unknown.append(head)
        elif why := disagreement(row, head):
            found.disagrees[key] = why


def disagreement(row: Row, head: Head) -> str:
    """What a row and an object's record say differently; "": nothing. A damaged record says nothing: see scrubbing."""
    record = head.record
    if record is None:
        return "its record is damaged"
    if row.digest != record.digest:
        return "the index has another checksum"
    if head.size_bytes != record.size_bytes:
        return f"it has {head.size_bytes} bytes, not {record.size_bytes}"
    if row.size_bytes != record.size_bytes:
        return f"the index has a size of {row.size_bytes} bytes, not {record.size_bytes}"
    if row.data_offset not in (-1, record.data_offset):
        return f"the index lets the data set begin at {row.data_offset}, not {record.data_offset}"
    return ""


def correction(row: Row, head: Head) -> ObjectRecord | None:
    """The record by which a row may be put right: of the object that the row means, whole in length. None: it may not be."""
    record = head.record
    if record is None or record.digest != row.digest or record.size_bytes != head.size_bytes:
        return None
    return record
