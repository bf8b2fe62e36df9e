"""File systems that can be broken: their power cut, their room taken. They need root, loop devices and mkfs.ext4."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
_WITHOUT_FLUSHING_THE_JOURNAL: Final = 2
_UNMOUNT_WITHIN_S: Final = 20.0


class Disk:
    """An ext4 file system in a sparse file.

    folder:  where file and mount point are made
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.image, self.root = folder / "disk.img", folder / "disk"
        self.root.mkdir()
        with self.image.open("wb") as image:
            image.truncate(size_bytes)
        _run("mkfs.ext4", "-q", "-m", "0", str(self.image))
        self.mount()

    def mount(self) -> None:
        # A long commit interval: nothing becomes durable just because time passes.
        _run("mount", "-o", "loop,commit=60", str(self.image), str(self.root))

    def unmount(self) -> None:
        deadline = time.monotonic() + _UNMOUNT_WITHIN_S
        while subprocess.run(["umount", str(self.root)], capture_output=True).returncode:
            assert time.monotonic() < deadline, "the file system stays busy"
            time.sleep(0.02)

    def cut_power(self) -> None:
        """From now on nothing reaches the disk, and what the kernel had not written is gone."""
        fd = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_JOURNAL))
        finally:
            os.close(fd)

    def fill(self, leave_bytes: int) -> Path:
        """Take all room but so much; the file to delete for it to return."""
        filler = self.root / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free_bytes - leave_bytes)
        return filler

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize


@contextmanager
def disk(folder: Path, size_bytes: int) -> Iterator[Disk]:
    """A mounted disk; skips the test where there cannot be one."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    try:
        made = Disk(folder, size_bytes)
    except subprocess.CalledProcessError as failed:
        pytest.skip(f"no loop mounts here: {failed.stderr.decode(errors='replace').strip()}")
    try:
        yield made
    finally:
        made.unmount()
        made.image.unlink()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
