from __future__ import annotations

import pytest

from pacs_actors.archive.objects.space import REFRESH_S, Space
from protocols.errors import OutOfResources


class Disk:
    def __init__(self, free_bytes: int) -> None:
        self.free_bytes, self.readings, self.now = free_bytes, 0, 100.0

    def read(self) -> int:
        self.readings += 1
        return self.free_bytes

    def clock(self) -> float:
        return self.now


def test_the_reserve_is_kept() -> None:
    disk = Disk(1000)
    space = Space(disk.read, 300, disk.clock)
    assert space.free_bytes == 700
    with pytest.raises(OutOfResources), space.writing(701):
        pass
    with space.writing(700):
        assert space.free_bytes == 0
        with pytest.raises(OutOfResources), space.writing(1):
            pass


def test_the_disk_is_asked_at_most_every_half_second_and_writes_are_counted_between() -> None:
    disk = Disk(1000)
    space = Space(disk.read, 0, disk.clock)
    for _ in range(10):
        with space.writing(10):
            pass
    assert disk.readings == 1
    assert space.free_bytes == 900
    disk.now += REFRESH_S
    disk.free_bytes = 800  # others write too
    with space.writing(10):
        assert space.free_bytes == 790
    assert disk.readings == 2


def test_what_is_being_written_stays_counted_over_a_new_reading() -> None:
    disk = Disk(1000)
    space = Space(disk.read, 0, disk.clock)
    with space.writing(400):
        disk.now += REFRESH_S
        space.refresh()
        assert space.free_bytes == 600


def test_a_fast_disk_is_asked_sooner() -> None:
    disk = Disk(10**12)
    space = Space(disk.read, 0, disk.clock)
    for _ in range(3):
        with space.writing(64 * 1024 * 1024):
            pass
    assert disk.readings == 3


def test_a_disk_that_said_it_is_full_is_believed_until_the_next_reading() -> None:
    disk = Disk(1000)
    space = Space(disk.read, 0, disk.clock)
    space.exhausted()
    with pytest.raises(OutOfResources), space.writing(1):
        pass
    disk.now += REFRESH_S
    with space.writing(1):
        pass


def test_a_write_that_failed_is_no_longer_in_flight() -> None:
    disk = Disk(1000)
    space = Space(disk.read, 0, disk.clock)
    with pytest.raises(ValueError), space.writing(600):
        raise ValueError
    disk.now += REFRESH_S
    space.refresh()
    assert space.free_bytes == 1000
