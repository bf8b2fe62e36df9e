"""The embedded PostgreSQL: an actor that owns one server process. Others reach that by ``dsn``."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import Final

import trio

from config.settings import DatabaseSettings
from pacs_actors.application_role import APPLICATION_ROLE
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import ConfigError, Unavailable
from supervisors.child_process import end_now, lines, spawn, wait_exit, wait_gone_within
from supervisors.postgres_folder import (
    DATABASE,
    ROLE,
    add_roles,
    clear_leftovers,
    configure,
    hand_over,
    initialise,
    major_of,
    running,
    sweep_drafts,
)
from supervisors.postgres_programs import environment, find_programs
from supervisors.postgres_socket import dsn, socket_folder

_POLL_S: Final = 0.01
_LAST_WORDS_S: Final = 0.05
_FAST_STOP_S: Final = 20.0
_IMMEDIATE_STOP_S: Final = 5.0
_REMEMBERED_LINES: Final = 8


class PostgresDied(Unavailable):
    """The server process ended without being asked to, or did not start."""


class EmbeddedPostgres:
    """PostgreSQL under ``DATA/postgres``, reachable by a private Unix socket only.

    The caller holds the lock of the data folder: a server that runs in it is a crashed one's, and is stopped.
    dsn:      of database and role "pacs", which owns everything in it; the same for every life of the server
    application_dsn:  of the role of the workers, who may change neither tables nor the audit
    clients:  connections that will be wanted at once; more than settings.max_connections raise that
    raises:   ConfigError if the data folder cannot be used
    """

    def __init__(self, data: Path, settings: DatabaseSettings, *, clients: int = 0) -> None:
        self.data, self.settings, self.clients = data.resolve(), settings, clients
        self.folder = self.data / "postgres"
        try:
            self.socket_folder = socket_folder(self.data)
        except OSError as error:
            raise ConfigError(f"server.data: cannot use {self.data}: {error.strerror}") from error
        self.dsn = dsn(self.socket_folder, DATABASE, ROLE)
        self.application_dsn = dsn(self.socket_folder, DATABASE, APPLICATION_ROLE)
        self._said: deque[str] = deque(maxlen=_REMEMBERED_LINES)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """One life of the server: started when it answers, stopped when cancelled.

        raises: PostgresDied when it falls; ConfigError for what a restart cannot heal
        """
        began = trio.current_time()
        process = await self._start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._log, process)
                await self._answering(process)
                logs.event("postgres_ready", pid=process.pid, took_s=round(trio.current_time() - began, 3))
                task_status.started()
                code = await wait_exit(process)
                await trio.sleep(
                    _LAST_WORDS_S
                )  # its clients' processes may hold the pipe open: no end to wait for
                nursery.cancel_scope.cancel()
            raise self._died(code)
        finally:
            with trio.CancelScope(shield=True):
                await self._stop(process)

    async def _start(self) -> subprocess.Popen[bytes]:
        sweep_drafts(self.data)
        major = major_of(self.folder)
        programs = await find_programs(major)
        if major is None:
            await initialise(self.folder, programs)
        else:
            await clear_leftovers(self.folder)
        for folder in (self.folder, self.socket_folder):
            hand_over(folder, programs)
        configure(self.folder, self.socket_folder, self.settings, self.clients)
        await add_roles(self.folder, programs)
        self._said.clear()
        return spawn(programs.command("postgres", "-D", str(self.folder)), environment=environment())

    async def _answering(self, process: subprocess.Popen[bytes]) -> None:
        """After a crash it replays its log first, however long that takes."""
        while True:
            found = running(self.folder)
            if found is not None and found.pid == process.pid and found.ready:
                return
            if process.poll() is not None:
                await trio.sleep(_LAST_WORDS_S)
                raise self._died(process.returncode)
            await trio.sleep(_POLL_S)

    async def _log(self, process: subprocess.Popen[bytes]) -> None:
        async for line in lines(process):
            self._said.append(line)
            if "PANIC:" in line:
                logs.error("postgres_said", line=line)
            elif "FATAL:" in line:  # of one connection, or before its own end, which is reported as such
                logs.warning("postgres_said", line=line)
            else:
                logs.debug("postgres_said", line=line)

    async def _stop(self, process: subprocess.Popen[bytes]) -> None:
        try:
            for number, limit_s in ((SIGINT, _FAST_STOP_S), (SIGQUIT, _IMMEDIATE_STOP_S)):
                if process.poll() is None:
                    process.send_signal(number)
                    await wait_gone_within(process.pid, limit_s)
        finally:
            end_now(process)

    def _died(self, code: int) -> PostgresDied:
        return PostgresDied(f"PostgreSQL ended with {code}: {' | '.join(self._said) or 'said nothing'}")


def running_dsn(data: Path) -> str | None:
    """DSN of the embedded server that another process keeps in a data folder; None: none that answers."""
    found = running(data.resolve() / "postgres")
    return dsn(found.socket_folder, DATABASE, ROLE) if found is not None and found.ready else None


@asynccontextmanager
async def started(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Run a server for the length of a block, unsupervised: for commands and tests. Gives its DSN."""
    async with trio.open_nursery() as nursery:
        await nursery.start(postgres.run)
        yield postgres.dsn
        nursery.cancel_scope.cancel()
