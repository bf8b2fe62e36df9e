"""The open segment of a batch folder: packed objects are appended to it, nothing in it is ever written twice.

Blocks are taken before they are written, in growing steps: a write then changes no size and finds its room, and a quiet server
takes little. Sealing gives back what was not used.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from typing import Final

from pacs_actors.archive.objects.batches import BatchFolder
from pacs_actors.archive.objects.buffers import BLOCK_BYTES
from pacs_actors.archive.objects.filesystem import OUT_OF_SPACE, closed
from pacs_actors.archive.objects.keys import SEGMENT
from pacs_actors.archive.objects.writing import DurableWriter
from pacs_actors.operations import logs

FIRST_STEP_BYTES: Final = 4 * 1024 * 1024
LARGEST_STEP_BYTES: Final = 64 * 1024 * 1024
_SHARE_OF_FREE: Final = 16  # on a nearly full disk others need the room, too


class Segment:
    """For one thread at a time.

    batch:  number of its folder
    fd:     locked as long as it is open, so that nobody deletes a segment that is empty and still grows
    """

    def __init__(self, writer: DurableWriter, folder: BatchFolder) -> None:
        """Begin the folder's segment; it is there after a power cut. raises: OSError; there is none then"""
        self._writer, self._system, self.batch = writer, writer.system, folder.number
        self.used_bytes = self.taken_bytes = 0
        self.fd = writer.create_in(folder.fd, SEGMENT)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder.directory.sync()
        except OSError:
            with suppress(OSError):
                self._system.unlink(SEGMENT, dir_fd=folder.fd)
            closed(self._system, self.fd)
            raise

    def take(self, size_bytes: int) -> int:
        """The number of the first of so many blocks that are free from now on never again.

        size_bytes:  whole blocks
        raises:      OSError; OutOfResources if the reserve would be touched
        """
        needed = self.used_bytes + size_bytes - self.taken_bytes
        if needed > 0:
            self._grow(needed)
        block = self.used_bytes // BLOCK_BYTES
        self.used_bytes += size_bytes
        return block

    def give_back(self, block: int, size_bytes: int) -> None:
        """After a write that failed: nobody was told of what is there. As far as the disk lets us."""
        with suppress(OSError):
            self._system.punch(self.fd, block * BLOCK_BYTES, size_bytes)

    def seal(self) -> None:
        """Nothing more is appended."""
        if self.used_bytes < self.taken_bytes:
            try:
                self._system.ftruncate(self.fd, self.used_bytes)
            except OSError as error:
                logs.warning("segment_not_trimmed", batch=self.batch, why=error.strerror)
        closed(self._system, self.fd)

    def _grow(self, needed: int) -> None:
        free_share = self._writer.space.free_bytes // _SHARE_OF_FREE
        step = min(max(self.taken_bytes, FIRST_STEP_BYTES), LARGEST_STEP_BYTES, free_share)
        step = max(needed, step - step % BLOCK_BYTES)
        try:
            self._allocate(step)
        except OSError as error:
            if error.errno not in OUT_OF_SPACE or step == needed:
                raise
            self._allocate(needed)

    def _allocate(self, step: int) -> None:
        with self._writer.space.writing(step):
            self._system.allocate(self.fd, self.taken_bytes, step)
        self.taken_bytes += step
