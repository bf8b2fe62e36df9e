"""Power cuts while packed objects move (F3): whatever place is given back, a complete copy is on the disk; the control loses some.

The store alone, on a disk of its own: what PostgreSQL syncs would make its files durable, too.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from config.settings import StorageSettings
from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.archive.objects.keys import place_of
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.archive.objects.reading import export, is_intact
from tests.faults.disk import Disk, disk
from tests.faults.images import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN, Image
from tests.stored_objects import SEGMENTS, stored_objects

DISK_BYTES = 1 << 30
OBJECTS = 40
SETTINGS = StorageSettings(layout=SEGMENTS, reserve_bytes=0, writer_threads=2)


class PowerCut(Exception):
    """Ends whoever moves."""


class CutShort(FileSystem):
    """A disk whose power is cut just before the N-th call that changes something, once it is armed."""

    armed = False

    def __init__(self, power: Disk, at: int, *, syncs: bool) -> None:
        self._power, self._left = power, at
        names = ("pwrite", "punch", "fdatasync", "fsync", "rename", "unlink")
        for name in names:
            real = getattr(FileSystem, name)
            silent = not syncs and "sync" in name
            setattr(self, name, self._counted((lambda *_: None) if silent else real))

    def _counted(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self._left -= self.armed
            if self._left == 0 and self.armed:
                self._commit_the_journal()
                self._power.cut_power()
                raise PowerCut
            if self._left < 0:
                raise PowerCut
            return real(*arguments, **options)

        return call

    def _commit_the_journal(self) -> None:
        """As anybody's sync does: names and holes are durable then, what was written into files is not."""
        fd = os.open(self._power.root, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def image(number: int) -> Image:
    return Image("2.25.1", "2.25.2", number, pixel_bytes=20_000 + 500 * number)


async def fill(root: Path) -> dict[str, str]:
    """SHA-256 of each object's bytes behind the preamble, by key."""
    digests: dict[str, str] = {}
    async with LocalObjectStore(root, 0, SETTINGS) as store:
        for number in range(OBJECTS):
            made = image(number)
            with await store.stage(CT_IMAGE, made.uid, EXPLICIT_VR_LITTLE_ENDIAN, "FAULTS") as staging:
                await staging.write(made.data_set)
                key = (await store.commit(staging, lambda *_: None)).stored.key
            digests[key] = digest(root, key)
    return digests


def digest(root: Path, key: str) -> str:
    return sha256(b"".join(export(root, key))[128:]).hexdigest()


async def move(root: Path, keys: list[str], system: FileSystem) -> bool:
    """Set aside what may be undone; whether the power was cut meanwhile."""
    cut = False
    async with LocalObjectStore(root, 0, SETTINGS, system=system) as store:
        if isinstance(system, CutShort):
            system.armed = True
        try:
            await store.set_aside(*keys)
        except PowerCut:
            cut = True
    return cut


def held(root: Path) -> set[str]:
    """Digests of the whole objects in the archive and in quarantine."""
    keys = [one.key for one in stored_objects(root)]
    keys += [path.relative_to(root).as_posix() for path in (root / "quarantine").rglob("*.dcm")]
    return {digest(root, key) for key in keys if is_intact(root, key)}


def cut_while_moving(power: Disk, name: str, at: int, *, syncs: bool) -> tuple[bool, set[str]]:
    """Whether the power was cut, and the digests of objects that are nowhere afterwards."""
    root = power.root / name
    digests = trio.run(fill, root)
    subprocess.run(["sync", "--file-system", str(power.root)], check=True)
    moving = list(digests)[::2]
    cut = trio.run(move, root, moving, CutShort(power, at, syncs=syncs))
    if cut:
        power.unmount()
        power.mount()
    lost = set(digests.values()) - held(root)
    if not lost:
        trio.run(move, root, moving, FileSystem())
        assert held(root) == set(digests.values()), "the move can be done again"
        assert {one.key for one in stored_objects(root)} == set(digests) - set(moving)
        segment = root / place_of(moving[0]).path
        assert segment.exists()
    return cut, lost


def check_cuts(power: Disk, moments: list[int]) -> None:
    for at in moments:
        cut, lost = cut_while_moving(power, f"cut-{at}", at, syncs=True)
        assert cut, "it had ended by then"
        assert not lost, f"lost by a cut before call {at}"


def test_power_cuts_while_packed_objects_move_lose_none(tmp_path: Path) -> None:
    with disk(tmp_path, DISK_BYTES) as power:
        check_cuts(power, [3, 52, 70, 85])


@pytest.mark.slow
def test_fifty_power_cuts_while_packed_objects_move_lose_none(tmp_path: Path) -> None:
    with disk(tmp_path, DISK_BYTES) as power:
        check_cuts(power, random.Random(50).sample(range(1, 86), 50))


def test_the_same_cuts_lose_objects_when_syncs_do_nothing(tmp_path: Path) -> None:
    """The control: if this loses nothing, the rig does not cut what it says it cuts."""
    with disk(tmp_path, DISK_BYTES) as power:
        cut, lost = cut_while_moving(power, "control", 85, syncs=False)
        assert cut
        assert lost
