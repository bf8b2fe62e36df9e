"""The objects in a data folder, as a test finds, reads and spoils them: with a file for themselves, or packed into a segment."""

from __future__ import annotations

import os
from functools import total_ordering
from pathlib import Path
from typing import Final

from pacs_actors.archive.objects import listing
from pacs_actors.archive.objects.batches import batch_numbers
from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing, place_of
from pacs_actors.archive.objects.reading import open_object, read_intact
from pacs_actors.archive.objects.records import blocks_of


@total_ordering
class StoredObject:
    """One object. Reads and writes are what a stranger does to the disk, behind the server's back.

    path:  of the file that it lies in, alone or not; start: where in it
    name:  last part of its key
    """

    def __init__(self, data: Path, key: str) -> None:
        self.data, self.key = data, key
        self.name = key.rpartition("/")[2]
        relative, block = place_of(key)
        self.path, self.packed = data / relative, block is not None
        self.start = (block or 0) * BLOCK_BYTES
        self.size_bytes = self._size() or 0

    def exists(self) -> bool:
        return self._size() is not None

    def _size(self) -> int | None:
        try:
            file = open_object(self.data, self.key)
        except ObjectMissing:
            return None
        os.close(file.fd)
        return file.size_bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredObject) and (self.data, self.key) == (other.data, other.key)

    def __lt__(self, other: StoredObject) -> bool:
        return (self.data, self.key) < (other.data, other.key)

    def __hash__(self) -> int:
        return hash((self.data, self.key))

    def __repr__(self) -> str:
        return self.key

    def read_bytes(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size_bytes)

    def write_bytes(self, data: bytes) -> None:
        """Put other bytes in its place; zeros follow what is shorter than it was."""
        if not self.packed:
            self.path.write_bytes(data)
            return
        room = blocks_of(self.size_bytes)
        assert len(data) <= room, "there are others behind it"
        with self.path.open("r+b") as file:
            file.seek(self.start)
            file.write(data.ljust(room, b"\0"))

    def unlink(self) -> None:
        """Lose it."""
        if self.packed:
            self.write_bytes(b"")
        else:
            self.path.unlink()

    def flip(self, at: int) -> None:
        """Turn one bit of the byte at that offset round; a negative one counts from the end."""
        raw = bytearray(self.read_bytes())
        raw[at] ^= 1
        self.write_bytes(bytes(raw))

    @property
    def is_whole(self) -> bool:
        """Size and digest are what its record says."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            file = ObjectFile(fd, self.start, self.size_bytes)
            return read_intact(file, memoryview(bytearray(BUFFER_BYTES))) is not None
        finally:
            os.close(fd)


def stored_objects(data: Path) -> list[StoredObject]:
    """Every object outside quarantine, in order of keys."""
    if not (data / "objects").is_dir():
        return []
    found: list[StoredObject] = []
    for slot in listing.slots(data):
        for batch in batch_numbers(data, slot):
            for key in listing.keys(data, slot, batch):
                found.append(StoredObject(data, key))
    # Some may have gone since they were listed.
    return sorted(one for one in found if one.exists())


SEGMENTS: Final = "segments"
FILES: Final = "files"
LAYOUTS: Final = (SEGMENTS, FILES)
