"""Group commit: what waits is checked and hashed, written with one call, and made durable with one sync.

Owns the slot's open segment. Runs on one native thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import outcome

from pacs_actors.archive.objects.batches import BatchFolder
from pacs_actors.archive.objects.buffers import BLOCK_BYTES
from pacs_actors.archive.objects.filesystem import synced
from pacs_actors.archive.objects.interface import Check, Committed
from pacs_actors.archive.objects.keys import packed_key
from pacs_actors.archive.objects.records import blocks_of
from pacs_actors.archive.objects.segment import Segment
from pacs_actors.archive.objects.staging import LocalStaging, Prepared
from pacs_actors.archive.objects.writing import DurableWriter
from protocols.errors import OutOfResources

MOST_AT_ONCE: Final = 64
"""Objects of one group: as much as a sync may keep others waiting."""


class Packing(NamedTuple):
    """An object to be packed: one that never left its receive buffer."""

    staging: LocalStaging
    check: Check[Any]


class Packer:
    """writer: the slot's way to the disk"""

    def __init__(self, writer: DurableWriter) -> None:
        self._writer = writer
        self._segment: Segment | None = None

    def commit(self, group: Sequence[Packing]) -> list[outcome.Outcome[Committed[Any]]]:
        """Make the objects of a group durable together; each is refused for itself by its check, and all by the disk.

        An outcome for each: what was committed, or what the check raised, or OutOfResources.
        """
        checked = [outcome.capture(staging.prepare, check) for staging, check in group]
        prepared = [each.value for each in checked if isinstance(each, outcome.Value)]
        written = iter(self._append(prepared) if prepared else ())
        return [each if isinstance(each, outcome.Error) else next(written) for each in checked]

    def close(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.seal()

    def _append(self, prepared: list[Prepared[Any]]) -> list[outcome.Outcome[Committed[Any]]]:
        try:
            return [outcome.Value(done) for done in self._write(prepared)]
        except OutOfResources as why:
            # One for each: several tasks raise it.
            return [outcome.Error(OutOfResources(str(why))) for _ in prepared]

    def _write(self, prepared: list[Prepared[Any]]) -> list[Committed[Any]]:
        writer = self._writer
        total = sum(blocks_of(one.size_bytes) for one in prepared)
        with writer.refusing("commit"), writer.folders.entering(len(prepared)) as folder:
            segment = self._segment_of(writer, folder)
            first = segment.take(total)
            committed, views, block = [], [], first
            for one in prepared:
                views.append(one.sealed(block))
                key = packed_key(writer.slot, folder.number, block)
                committed.append(one.committed(key))
                block += blocks_of(one.size_bytes) // BLOCK_BYTES
            try:
                writer.write_all(segment.fd, views, first * BLOCK_BYTES)
                synced(writer.system.fdatasync, segment.fd)
            except OSError:
                segment.give_back(first, total)
                raise
        return committed

    def _segment_of(self, writer: DurableWriter, folder: BatchFolder) -> Segment:
        if self._segment is None or self._segment.batch != folder.number:
            self.close()
            self._segment = Segment(writer, folder)
        return self._segment
