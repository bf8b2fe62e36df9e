"""The chain of the audit: what is hashed of a row, and what a verifier finds. No I/O.

A row's hash is SHA-256 over, in this order: the hash of the row before (32 zero bytes for the first), id (8 bytes), at and
recorded_at (8 bytes each, microseconds since 2000-01-01T00:00Z), event, outcome, who, via, address, patient_id, the number
of UIDs (4 bytes) and each UID, details. Numbers are big-endian and signed; a text is its length in bytes (4 bytes) and its
UTF-8; details is the text that PostgreSQL gives for the jsonb value. ``0003_audit_chain.sql`` computes the same.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

GENESIS: Final = bytes(32)
MOST_FINDINGS: Final = 50
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBERS: Final = struct.Struct(">qqq")
_LENGTH: Final = struct.Struct(">i")


class Link(Struct, frozen=True):
    """A row as it is stored; details is its text."""

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
    details: str
    previous: bytes
    hash: bytes


class Anchor(Struct, frozen=True):
    """What the end of the chain was at a moment, kept outside of the database.

    at: ISO 8601; hash: hexadecimal
    """

    at: str
    id: int
    hash: str


class Finding(Struct, frozen=True):
    """What is wrong, and with which row."""

    row: int
    what: str


def link_hash(link: Link) -> bytes:
    texts = (link.event, link.outcome, link.who, link.via, link.address, link.patient_id)
    parts = [link.previous, _NUMBERS.pack(link.id, _microseconds(link.at), _microseconds(link.recorded_at))]
    parts += map(_text, texts)
    parts.append(_LENGTH.pack(len(link.uids)))
    parts += map(_text, link.uids)
    parts.append(_text(link.details))
    return hashlib.sha256(b"".join(parts)).digest()


class Verifier:
    """Feed it every row in the order of their numbers, then ask it to finish.

    anchors:   they may be empty: then nobody can tell whether rows are missing at the end
    findings:  the first MOST_FINDINGS; found counts all
    """

    def __init__(self, anchors: Iterable[Anchor] = ()) -> None:
        self._anchors: dict[int, Anchor] = {}
        self.findings: list[Finding] = []
        self.found = self.rows = self.anchors = 0
        for anchor in anchors:
            self.anchors += 1
            if self._anchors.setdefault(anchor.id, anchor).hash != anchor.hash:
                self._find(anchor.id, f"two anchors disagree about it: of {anchor.at}, and an earlier one")
        self.last_id, self.last_hash = 0, GENESIS

    def feed(self, link: Link) -> None:
        self.rows += 1
        follows = link.id == self.last_id + 1
        if link.id <= self.last_id:
            self._find(link.id, "its number is there more than once")
        elif not follows:
            self._find(self.last_id + 1, _missing(self.last_id + 1, link.id - 1))
        if link_hash(link) != link.hash:
            self._find(link.id, "it is not what was written")
        elif follows and link.previous != self.last_hash:
            self._find(link.id, f"it was not written after row {self.last_id} as that is now")
        anchor = self._anchors.get(link.id)
        if anchor is not None and anchor.hash != link.hash.hex():
            self._find(link.id, f"the anchor of {anchor.at} knows another row of this number")
        self.last_id, self.last_hash = link.id, link.hash

    def finish(self) -> None:
        """After the last row: is there an anchor of a row that is not there any more?"""
        last = max(self._anchors.values(), key=lambda anchor: anchor.id, default=None)
        if last is not None and last.id > self.last_id:
            what = f"{_missing(self.last_id + 1, last.id)}, says the anchor of {last.at}"
            self._find(self.last_id + 1, what)

    def _find(self, row: int, what: str) -> None:
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(row, what))


def _missing(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded
