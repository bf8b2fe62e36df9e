"""What the tests' servers of copies have in common: a program on loopback, in a folder of its own, that is waited for."""

from __future__ import annotations

import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.system.server import free_port


class StoreServer(ABC):
    """address: where it listens; wrapper: before its command
    process: may be stopped by a test that has a server of its own
    """

    start_within_s: float
    address = "127.0.0.1"
    wrapper: tuple[str, ...] = ()

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.endpoint = folder, port, f"http://{self.address}:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start, and wait until it stores something."""

    @abstractmethod
    def stop(self) -> None: ...

    def wait(self, ready: Callable[[], None]) -> None:
        """Until ``ready`` raises nothing."""
        until = time.monotonic() + self.start_within_s
        while True:
            try:
                ready()
                return
            except Exception:
                log = (self.folder / "log").read_text(errors="replace")[-4000:]
                assert self.process is not None and self.process.poll() is None, log
                assert time.monotonic() < until, log
                time.sleep(0.1)

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        """A server of one's own, for tests that stop it."""
        server = cls(folder, free_port())
        try:
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder / "data", ignore_errors=True)
