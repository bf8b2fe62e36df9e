"""The parent of a node: binds the ports, keeps PostgreSQL and the workers alive, drains them, and does no work itself."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import trio

from config import certificates
from config.settings import Settings
from pacs_actors import cores
from pacs_actors.mail import Ready
from pacs_actors.node_page import ACCEPTING, DOWN, NodePage
from pacs_actors.nodes import EMBEDDED
from pacs_actors.operations import logs
from pacs_actors.people import first_administrator
from protocols.errors import ConfigError
from supervisors import node_number
from supervisors.child_process import wait_exit
from supervisors.life_signs import LifeSigns
from supervisors.orders import WorkerOrders
from supervisors.postgres import EmbeddedPostgres
from supervisors.run_queue import RunQueue
from supervisors.supervisor import Child, RestartLimit, RestartsExhausted, keep_alive

_BACKLOG = 1024
_LOCK_WAIT_S = 15.0
_KILL_AFTER_S = 4.0


class FolderInUse(ConfigError):
    """Another process holds the lock of the data folder."""


class WorkerDied(Exception):
    """A worker ended without being asked to."""


def default_workers() -> int:
    """What measured best: a worker a core, for one loop alone leaves the second core to PostgreSQL and idles it."""
    return cores.share()


class Node:
    """One server: ports, PostgreSQL, workers.

    origins: where each setting was written
    raises ConfigError when a port is taken, the data folder is in use or cannot be written
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str] | None = None) -> None:
        self.settings, self.origins = settings, dict(origins or {})
        self.data = Path(settings.server.data).resolve()
        self.workers = settings.server.workers or default_workers()
        self.limit = RestartLimit(settings.server.restart_crashes, settings.server.restart_window_s)
        self.admin_password = first_administrator.given(os.environ)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._draining = False

    async def run(self) -> int:
        began = time.monotonic()
        with own_data_folder(self.data) as lock_fd:
            self.lock_fd = lock_fd
            node_number.check_folder(self.data, self.settings.server.node)
            self.identity = EMBEDDED
            if self.settings.database.url is not None:
                self.identity = node_number.folder_identity(self.data)
                await node_number.check_number(self.settings, self.identity)
            dicom = self.settings.dicom
            self.sockets = {
                "dicom": listen(dicom.host, dicom.port, "dicom.port"),
                "web": listen(self.settings.web.host, self.settings.web.port, "web.port"),
            }
            if self.settings.tls.port is not None:
                self.sockets["dicom_tls"] = listen(dicom.host, self.settings.tls.port, "tls.port")
            self.page = NodePage.create(self.workers)
            server = self.settings.server
            self._life_signs = [
                LifeSigns(
                    self.page,
                    slot,
                    frozen_after_s=server.frozen_after_s,
                    start_within_s=server.start_within_s,
                )
                for slot in range(self.workers)
            ]
            postgres = None
            if self.settings.database.url is None:
                postgres = EmbeddedPostgres(
                    self.data,
                    self.settings.database,
                    clients=self.workers * self.settings.database.connections,
                )
            if postgres is not None:
                self.dsn, self.owner_dsn = postgres.application_dsn, postgres.dsn
            else:
                self.dsn = str(self.settings.database.url)
                self.owner_dsn = self.settings.database.owner_url or ""
            async with trio.open_nursery() as nursery:
                if postgres is not None:
                    # Beside the workers, which wait for it themselves. As often as it falls: images are accepted without it,
                    # and what it lacks (space on the disk, say) may come back.
                    patient = RestartLimit(sys.maxsize, longest_wait_s=2.0)
                    nursery.start_soon(keep_alive, Child("postgres", postgres.run), patient)
                async with trio.open_nursery() as working:
                    await working.start(self._drain_on_signal, working.cancel_scope)
                    for slot in range(self.workers):
                        child = Child(f"worker {slot}", partial(self._run_worker, slot))
                        working.start_soon(partial(keep_alive, child, self.limit))
                    await self._wait_accepting()
                    self._announce(time.monotonic() - began)
                nursery.cancel_scope.cancel()  # PostgreSQL goes last: it has indexed what the workers left
        logs.event("node_stopped")
        return 0

    async def _wait_accepting(self) -> None:
        while not self._draining and not all(
            self.page.state(slot) == ACCEPTING for slot in range(self.workers)
        ):
            await trio.sleep(0.01)  # other processes write the page

    def _announce(self, took_s: float) -> None:
        if self._draining:
            return
        dicom, web = (self.sockets[name].getsockname()[:2] for name in ("dicom", "web"))
        aet = self.settings.dicom.ae_title
        logs.event("node_ready", workers=self.workers, took_s=round(took_s, 2), dicom=dicom, web=web)
        lines = [
            f"\n  pacs-actors is ready ({took_s:.1f} s, {self.workers} workers)\n",
            f"  DICOM     {aet} at {dicom[0]}:{dicom[1]}",
            f"  web       {'https' if self.settings.web.tls_certificate else 'http'}://{web[0]}:{web[1]}/",
            f"  data      {self.data}",
            f"\n  Send an image:  pacs-actors store {dicom[0]}:{dicom[1]} --called {aet} FILES…",
            f"  or with DCMTK:  storescu -aec {aet} +sd +r {dicom[0]} {dicom[1]} FOLDER\n",
        ]
        if self.settings.dicom.promiscuous:
            lines.append(
                "  WARNING: promiscuous mode: anyone who reaches the DICOM port may store, find and retrieve.\n"
            )
            logs.warning("promiscuous_mode", host=self.settings.dicom.host)
        print("\n".join(lines), flush=True)

    async def _run_worker(self, slot: int, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """One life of a worker process; returns when it was drained, raises WorkerDied when it fell."""
        if self._draining:
            task_status.started()
            return
        fds = {name: sock.fileno() for name, sock in self.sockets.items()}
        orders = WorkerOrders(
            self.settings,
            slot,
            self.workers,
            self.page.fd,
            fds["dicom"],
            fds.get("dicom_tls"),
            fds["web"],
            self.dsn,
            self.owner_dsn,
            self.admin_password,
            self.origins,
            self.identity,
        )
        self.page.set_state(DOWN, slot)
        # Popen from this thread, not trio's: a worker is tied to the life of the thread that starts it.
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "supervisors.worker"],
            stdin=subprocess.PIPE,
            pass_fds=(self.page.fd, self.lock_fd, *fds.values()),
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(orders) + b"\n")
            process.stdin.flush()
            self._processes[slot] = process
            if self._draining:
                process.send_signal(signal.SIGTERM)
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, slot, process)
                code = await wait_exit(process)
                nursery.cancel_scope.cancel()
        finally:
            self._processes.pop(slot, None)
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdin.close()
            self.page.set_state(DOWN, slot)
            self.page.forget_associations(slot)
        if code != 0 or not self._draining:
            logs.error("worker_died", slot=slot, code=code, draining=self._draining)
        if not self._draining:  # nobody needs another one, and its siblings are to end in peace
            raise WorkerDied(f"worker {slot} ended with {code}")

    async def _watch(self, slot: int, process: subprocess.Popen[bytes]) -> None:
        """Kill a worker whose start does not end, or whose loop stands still: its peers have been waiting long enough."""
        why = await self._life_signs[slot].until_lost(RunQueue(process.pid).waited_s)
        logs.error(f"worker_{why}", slot=slot, pid=process.pid)
        process.kill()

    async def _drain_on_signal(self, scope: trio.CancelScope, *, task_status: Ready) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                if self._draining:
                    continue
                self._draining = True
                logs.event("node_drains", signal=signal.Signals(number).name)
                for process in self._processes.values():
                    process.send_signal(signal.SIGTERM)
                with trio.move_on_after(self.settings.server.grace_s + _KILL_AFTER_S):
                    while self._processes:
                        await trio.sleep(0.02)
                if self._processes:
                    logs.error("workers_killed", slots=sorted(self._processes))
                scope.cancel()
                return


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket that the workers inherit: all accept from it, so none is left out and a dead one loses no connection."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(found[0], socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(found[4])
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        raise ConfigError(f"{setting}: cannot listen on {host}:{port}: {error.strerror or error}") from error
    return sock


@contextmanager
def own_data_folder(data: Path, *, wait_s: float = _LOCK_WAIT_S) -> Iterator[int]:
    """Hold the data folder's lock. Workers inherit it, so it is free only when all of a crashed server is gone.

    wait_s:  how long that may take
    raises:  FolderInUse; ConfigError if the folder cannot be used
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"server.data: cannot use {data}: {error.strerror}") from error
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FolderInUse(f"server.data: {data} is in use by another server") from None
                time.sleep(0.1)
        yield fd
    finally:
        os.close(fd)


def serve(settings: Settings, origins: Mapping[str, str] | None = None) -> int:
    """Run a node until SIGTERM or SIGINT; its exit code, 1 when a worker falls too often. raises: ConfigError"""
    logs.configure(settings.server.log_level, "parent")
    certificates.check(settings, origins or {})
    for warning in certificates.warnings(settings):
        logs.warning("certificate_not_valid", why=warning)
    code = 1
    try:
        code = trio.run(Node(settings, origins).run)
    except* ConfigError as group:
        raise _innermost(group) from None
    except* RestartsExhausted as group:
        logs.error("node_gives_up", why=str(_innermost(group)))
    return code


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


__all__ = ["Node", "serve"]
