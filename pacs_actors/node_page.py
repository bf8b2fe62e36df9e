"""The page of memory that the workers of a node share: counters, association slots, a status snapshot each.

Each worker writes its own part only; aligned 8-byte stores are not torn on the machines we run on. The parent makes the page
(a memfd) and hands it to every worker.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from protocols.errors import Misuse

MAX_WORKERS: Final = 64
ASSOCIATION_SLOTS: Final = 1024
_COUNTERS: Final = 16
_SNAPSHOT_BYTES: Final = 128 * 1024  # twice what the longest lists of a worker's status come to
_PART_BYTES: Final = _COUNTERS * 8 + 2 * ASSOCIATION_SLOTS * 8 + _SNAPSHOT_BYTES
PAGE_BYTES: Final = MAX_WORKERS * _PART_BYTES

_STATE, _ANSWERED, _INDEXED, _ASSOCIATIONS, _VERSION, _LENGTH, _RECOVERED = range(7)
DOWN, STARTING, ACCEPTING, DRAINING = range(4)


class Watermark(Struct, frozen=True):
    """What each worker had answered at one moment."""

    answered: tuple[int, ...]


class NodePage:
    """raises nothing: a page is made by ``create`` or inherited as a file descriptor."""

    def __init__(self, fd: int, workers: int, slot: int | None = None) -> None:
        self.fd, self.workers, self.slot = fd, workers, slot
        self._map = mmap.mmap(fd, PAGE_BYTES)
        whole = memoryview(self._map)
        self._counters, self._addresses, self._titles, self._snapshots = [], [], [], []
        for part in range(workers):
            at = part * _PART_BYTES
            self._counters.append(whole[at : at + _COUNTERS * 8].cast("Q"))
            at += _COUNTERS * 8
            self._addresses.append(whole[at : at + ASSOCIATION_SLOTS * 8].cast("Q"))
            at += ASSOCIATION_SLOTS * 8
            self._titles.append(whole[at : at + ASSOCIATION_SLOTS * 8].cast("Q"))
            at += ASSOCIATION_SLOTS * 8
            self._snapshots.append(whole[at : at + _SNAPSHOT_BYTES])
        self._own = self._counters[slot] if slot is not None else None

    @classmethod
    def create(cls, workers: int) -> NodePage:
        fd = os.memfd_create("pacs-node-page", os.MFD_CLOEXEC)
        os.ftruncate(fd, PAGE_BYTES)
        return cls(fd, workers)

    # -- states ---------------------------------------------------------------------------------------------------------
    def state(self, slot: int) -> int:
        return int(self._counters[slot][_STATE])

    def set_state(self, state: int, slot: int | None = None) -> None:
        self._counters[self._slot(slot)][_STATE] = state

    def forget_associations(self, slot: int) -> None:
        """After a worker died: its associations are gone; what it answered and indexed stays counted."""
        self._counters[slot][_ASSOCIATIONS] = 0
        for index in range(ASSOCIATION_SLOTS):
            self._addresses[slot][index] = self._titles[slot][index] = 0

    # -- answered and indexed ---------------------------------------------------------------------------------------------
    def count_answered(self, instances: int = 1) -> None:
        self._counters[self._slot(None)][_ANSWERED] += instances

    def count_indexed(self, instances: int) -> None:
        self._counters[self._slot(None)][_INDEXED] += instances

    def set_recovered(self) -> None:
        """All that earlier servers stored in this worker's slot is indexed. Stays so: a worker that dies leaves a debt instead."""
        self._counters[self._slot(None)][_RECOVERED] = 1

    def answered(self, slot: int) -> int:
        return int(self._counters[slot][_ANSWERED])

    def indexed(self, slot: int) -> int:
        return int(self._counters[slot][_INDEXED])

    def watermark(self) -> Watermark:
        return Watermark(tuple(int(counters[_ANSWERED]) for counters in self._counters))

    def behind(self, mark: Watermark) -> bool:
        """True while something answered before the mark, by this server or an earlier one, is not indexed on some worker."""
        return any(
            not counters[_RECOVERED] or counters[_INDEXED] < answered
            for counters, answered in zip(self._counters, mark.answered, strict=True)
        )

    def lag(self) -> int:
        """Instances answered but not indexed, on the whole node."""
        return sum(max(0, int(c[_ANSWERED]) - int(c[_INDEXED])) for c in self._counters)

    # -- associations -----------------------------------------------------------------------------------------------------
    def associations(self, slot: int) -> int:
        return int(self._counters[slot][_ASSOCIATIONS])

    def enter(self, address: str) -> int:
        """Take a place for a connection; its number, or -1 when the worker has none left."""
        slot = self._slot(None)
        with contextlib.suppress(ValueError):
            place = self._addresses[slot].tolist().index(0)
            self._addresses[slot][place] = fingerprint(address)
            self._counters[slot][_ASSOCIATIONS] += 1
            return place
        return -1

    def name(self, place: int, ae_title: str) -> None:
        self._titles[self._slot(None)][place] = fingerprint(ae_title)

    def leave(self, place: int) -> None:
        slot = self._slot(None)
        self._addresses[slot][place] = self._titles[slot][place] = 0
        self._counters[slot][_ASSOCIATIONS] -= 1

    def established(self) -> int:
        """Associations of the whole node; connections that have not asked for one yet do not count."""
        return sum(len(part) - part.tolist().count(0) for part in self._titles)

    def established_from(self, address: str) -> int:
        mark = fingerprint(address)
        return sum(
            place == mark and title != 0
            for addresses, titles in zip(self._addresses, self._titles, strict=True)
            for place, title in zip(addresses.tolist(), titles.tolist(), strict=True)
        )

    def established_by(self, ae_title: str) -> int:
        mark = fingerprint(ae_title)
        return sum(part.tolist().count(mark) for part in self._titles)

    # -- snapshots --------------------------------------------------------------------------------------------------------
    def publish(self, snapshot: object) -> None:
        """Put this worker's status where the others can read it.

        raises: Misuse for one of more than 128 KiB: who makes it limits its lists
        """
        data = msgspec.json.encode(snapshot)
        if len(data) > _SNAPSHOT_BYTES:
            raise Misuse(f"a snapshot of {len(data)} bytes")
        slot = self._slot(None)
        counters = self._counters[slot]
        counters[_VERSION] += 1  # odd: being written
        self._snapshots[slot][: len(data)] = data
        counters[_LENGTH] = len(data)
        counters[_VERSION] += 1

    def snapshot(self, slot: int) -> bytes | None:
        """A worker's last status as JSON, or None if it has none or is writing it right now."""
        counters = self._counters[slot]
        version = counters[_VERSION]
        data = bytes(self._snapshots[slot][: counters[_LENGTH]])
        return data if version and not version & 1 and version == counters[_VERSION] else None

    def heartbeat(self, slot: int) -> int:
        """A number that changes as long as a worker publishes."""
        return int(self._counters[slot][_VERSION])

    def _slot(self, slot: int | None) -> int:
        chosen = self.slot if slot is None else slot
        assert chosen is not None, "only workers have a part of their own"
        return chosen


def fingerprint(text: str) -> int:
    """A 64-bit name for an address or AE title; never 0."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") | 1
