"""The real server, as the campaigns need it: its database may be elsewhere, its log off the disk that is broken."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from tests.system.server import Server, dsn_of

# Crashes on purpose are not what the limit of restarts is for.
PATIENT = ("--server.restart-crashes", "1000")


class Rig(Server):
    """database:  URL of a PostgreSQL that the test owns; "": the embedded one
    log:       where the server's log goes; beside the data folder if not given
    """

    def __init__(
        self,
        data: Path,
        *,
        database: str = "",
        log: Path | None = None,
        options: Sequence[str] = (),
        **more: Any,
    ) -> None:
        url = ("--database.url", database) if database else ()
        super().__init__(data, options=(*PATIENT, *url, *options), **more)
        self.database = database
        if log is not None:
            self.log = log

    def sql(self, statement: str) -> list[str]:
        """One line a row, columns divided by |."""

        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.database or dsn_of(self.data))
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        return ["|".join(map(str, row)) for row in asyncio.run(ask())]

    def half_received(self) -> list[Path]:
        """What lies among the temporary files, the locks of the slots and the list of what is gone aside."""
        return [path for path in self.temporary() if path.suffix != ".lock" and path.stem != "gone"]

    def kill_worker(self, pid: int) -> None:
        """kill -9, and wait until the parent has another in its place."""
        with self.replacing(pid):
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def replacing(self, pid: int) -> Iterator[None]:
        """Around the death of a worker: wait until another has recovered what it left."""
        before = len(self.logged("recovery_done"))
        yield
        deadline = time.monotonic() + 30
        while pid in self._pids_told() or len(self.logged("recovery_done")) == before:
            assert time.monotonic() < deadline, f"worker {pid} was not replaced:\n{self.tail()}"
            time.sleep(0.02)

    def worker_pids(self) -> list[int]:
        """Of all workers, once each has said how it is."""
        deadline = time.monotonic() + 30
        while len(found := self._pids_told()) < self.workers or not all(
            Path(f"/proc/{pid}").exists() for pid in found
        ):
            assert time.monotonic() < deadline, f"not all workers are there:\n{self.tail()}"
            time.sleep(0.02)
        return found

    def _pids_told(self) -> list[int]:
        """Of those that have said how they are; none while nobody answers."""
        with suppress(ValueError, KeyError):
            return super().worker_pids()
        return []

    def logged(self, event: str) -> list[dict[str, Any]]:
        """As of the lines that are written to their end."""
        whole = self.log.read_bytes().rpartition(b"\n")[0].splitlines()
        lines = (json.loads(line) for line in whole if line.startswith(b"{") and line.endswith(b"}"))
        return [line for line in lines if line["event"] == event]
