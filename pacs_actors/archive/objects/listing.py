"""What a store holds, read from its folders alone. Everything here blocks."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pacs_actors.archive.objects.buffers import BLOCK_BYTES
from pacs_actors.archive.objects.keys import SEGMENT, ObjectMissing, batch_folder, packed_key, parse_key
from pacs_actors.archive.objects.records import walk


def slots(root: Path) -> list[int]:
    """Slots that have objects, ascending. raises: OSError"""
    with os.scandir(root / "objects") as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def keys(root: Path, slot: int, batch: int) -> list[str]:
    """The keys in one batch folder, in no order: files of objects by their names, packed objects by their records.

    raises: OSError
    """
    folder = root / batch_folder(slot, batch)
    found: list[str] = []
    segment = False
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            segment |= entry.name == SEGMENT
            key = f"{slot}/{batch:08x}/{entry.name}"
            with suppress(ObjectMissing):
                if not parse_key(key).packed:
                    found.append(key)
    if segment:
        found += _packed_keys(folder, slot, batch)
    return found


def _packed_keys(folder: Path, slot: int, batch: int) -> list[str]:
    try:
        fd = os.open(folder / SEGMENT, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # emptied since it was seen
        return []
    try:
        # From record to record is far: what lies between is not wanted.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        return [packed_key(slot, batch, found.start // BLOCK_BYTES) for found in walk(fd)]
    finally:
        os.close(fd)
