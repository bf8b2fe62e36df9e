"""A folder of objects looked at from outside, with no database and no server: listed, exported, verified.

Everything here blocks. What comes or goes meanwhile may be seen or not.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from pacs_actors.archive.objects import listing, reading
from pacs_actors.archive.objects.batches import batch_numbers
from pacs_actors.archive.objects.buffers import BLOCK_BYTES
from pacs_actors.archive.objects.keys import SEGMENT, ObjectMissing, batch_folder, packed_key
from pacs_actors.archive.objects.records import remains
from protocols.dataset.part10 import parse_prefix
from protocols.errors import CannotUnderstand

_HEAD_BYTES = 64 * 1024


class Seen(Struct, frozen=True):
    """An object. ``sop_instance_uid``: as its file meta information has it; "" if that cannot be read."""

    key: str
    sop_instance_uid: str
    size_bytes: int


class Damage(Struct, frozen=True):
    """What is not as it was stored. ``key``: of the object, or of the place in a segment; ``why``: in words."""

    key: str
    sop_instance_uid: str
    size_bytes: int
    why: str


def seen(root: Path) -> Iterator[Seen]:
    """Every object outside quarantine, by slot and batch folder. raises: OSError"""
    for slot, batch in _folders(root):
        for key in sorted(listing.keys(root, slot, batch)):
            with suppress(ObjectMissing):  # gone since it was listed
                yield look(root, key)


def look(root: Path, key: str) -> Seen:
    """raises: ObjectMissing, OSError"""
    with reading.opened(root, key) as file:
        head = os.pread(file.fd, min(file.size_bytes, _HEAD_BYTES), file.start)
        try:
            uid = parse_prefix(head).sop_instance_uid
        except CannotUnderstand:
            uid = ""
        return Seen(key, uid, file.size_bytes)


def damages(root: Path, found: Seen) -> Iterator[Damage]:
    """What is wrong with an object, by its bytes on the medium; nothing if it is whole or gone."""
    why = ""
    try:
        # Looked at twice: it may be on its way to the disk just now.
        if not (reading.is_intact(root, found.key) or reading.is_intact(root, found.key)):
            why = "not what was stored"
    except ObjectMissing:
        return
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        yield Damage(found.key, found.sop_instance_uid, found.size_bytes, why)


def scraps(root: Path) -> Iterator[Damage]:
    """What lies in segments and belongs to no object; segments that still grow are passed over. raises: OSError"""
    for slot, batch in _folders(root):
        try:
            fd = os.open(
                root / batch_folder(slot, batch) / SEGMENT, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            )
        except FileNotFoundError:
            continue
        try:
            if not os.fstat(fd).st_size:
                continue  # just begun, and not locked yet: our lock must not be in its way
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            for left in remains(fd):
                key = packed_key(slot, batch, left.start // BLOCK_BYTES)
                yield Damage(key, "", left.size_bytes, "no record: torn by a crash, or damaged")
        except BlockingIOError:
            continue
        finally:
            os.close(fd)


def export(root: Path, key: str, folder: Path, name: str) -> Path:
    """Write the object as a Part 10 file without our record. What is there already stays: the name gets a number.

    raises: ObjectMissing, OSError
    """
    stem = name.removesuffix(".dcm")
    for number in range(1, 1_000_000):
        path = folder / (f"{stem}.dcm" if number == 1 else f"{stem}-{number}.dcm")
        try:
            file = path.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                for piece in reading.export(root, key):
                    file.write(piece)
        except BaseException:
            path.unlink()
            raise
        return path
    raise FileExistsError(f"{folder}: too many files of the name {stem}")


def _folders(root: Path) -> Iterator[tuple[int, int]]:
    for slot in listing.slots(root):
        for batch in batch_numbers(root, slot):
            yield slot, batch
