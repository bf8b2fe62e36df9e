"""Power cuts under load (F3): what was acknowledged is on the disk; the control, the same without syncs, loses images."""

from __future__ import annotations

import random
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from protocols.dataset.part10 import read_record
from tests.faults.disk import Disk, disk
from tests.faults.judge import judge
from tests.faults.load import Ledger, Load
from tests.faults.rig import Rig
from tests.stored_objects import StoredObject
from tests.system.server import running

DISK_BYTES = 6 << 30
OPTIONS = ("--storage.reserve-bytes", "16777216")
PIXEL_BYTES = (2_000, 2_000, 8_000, 8_000, 8_000, 40_000, 40_000, 1_200_000)
_NO_SYNC = """
int fsync(int fd) { return 0; }
int fdatasync(int fd) { return 0; }
int syncfs(int fd) { return 0; }
int sync_file_range(int fd, long offset, long length, unsigned flags) { return 0; }
"""


def cut(rig: Rig, power: Disk, ledger: Ledger, number: int, acknowledged: int) -> None:
    """Load the server, cut its power, mount what is left. The server is down then."""
    with Load(rig, ledger, senders=6, seed=number, pixel_bytes=PIXEL_BYTES) as load:
        load.wait_acknowledged(acknowledged)
        power.cut_power()
        rig.kill()
        power.unmount()
        power.mount()
        load.stop()


class Shelf:
    """The whole objects on the disk, as SHA-256 of their data sets. Each is read once."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._read: dict[StoredObject, str] = {}

    def lost(self, ledger: Ledger) -> set[str]:
        """Acknowledged images that no whole object holds."""
        there = self.rig.objects()
        self._read = {path: self._read[path] if path in self._read else _digest(path) for path in there}
        held = set(self._read.values())
        return {uid for uid, sent in ledger.acknowledged.items() if sent.digest not in held}


def _digest(stored: StoredObject) -> str:
    """Of the data set; "" if the object is torn."""
    if not stored.is_whole:
        return ""
    data = stored.read_bytes()
    record = read_record(data)
    assert record is not None
    return sha256(data[record.data_offset :]).hexdigest()


def check_cuts(folder: Path, ledger: Ledger, cuts: int, workers: int) -> None:
    chance = random.Random(cuts)
    with disk(folder, DISK_BYTES) as power:
        rig = Rig(power.root / "data", log=folder / "server.log", options=OPTIONS, workers=workers)
        shelf = Shelf(rig)
        with running(rig):
            for number in range(cuts):
                cut(rig, power, ledger, number, chance.randint(10, 60))
                assert not shelf.lost(ledger)
                rig.start()
            found = judge(rig, ledger)
            assert found["acknowledged"] > 10 * cuts
            assert ledger.interruptions >= cuts


def test_power_cuts_lose_nothing_that_was_acknowledged(tmp_path: Path, ledger: Ledger) -> None:
    check_cuts(tmp_path, ledger, cuts=2, workers=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_power_cuts_lose_nothing(tmp_path: Path, ledger: Ledger) -> None:
    check_cuts(tmp_path, ledger, cuts=200, workers=2)


def test_the_same_rig_loses_images_when_syncs_do_nothing(tmp_path: Path, ledger: Ledger) -> None:
    """The control: if this loses nothing, the rig does not cut what it says it cuts."""
    with disk(tmp_path, DISK_BYTES) as power:
        rig = Rig(power.root / "data", log=tmp_path / "server.log", options=OPTIONS, workers=1)
        with running(rig):
            rig.stop()
            # PostgreSQL shares the journal: its syncs would make our files durable, too.
            (rig.data / "postgres" / "local.conf").write_text("fsync = off\n")
            subprocess.run(["sync", "--file-system", str(power.root)], check=True)
            rig.environment = {"LD_PRELOAD": str(library_without_syncs(tmp_path))}
            rig.start()
            cut(rig, power, ledger, 0, 30)
            assert Shelf(rig).lost(ledger)


def library_without_syncs(folder: Path) -> Path:
    """A library to preload that answers every sync with success and does nothing."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make the control with")
    source, library = folder / "no_sync.c", folder / "no_sync.so"
    source.write_text(_NO_SYNC)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True, capture_output=True
    )
    return library
