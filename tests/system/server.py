"""The real server for tests: ``pacs-actors serve`` as a process, on free loopback ports, with everything in one folder."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.stored_objects import StoredObject, stored_objects

READY_WITHIN_S = 60.0
ADMIN_PASSWORD = "seven horses on the pier"


_PORTS = range(16_000, 32_000)
# Processes that test at the same time begin at different places.
_NEXT_PORTS = itertools.islice(itertools.cycle(_PORTS), os.getpid() * 211 % len(_PORTS), None)


def free_port() -> int:
    """A loopback port that is free, another one each time; below those that outgoing connections get, so that it stays free."""
    for port in itertools.islice(_NEXT_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no loopback port is free")


class Server:
    """A running server.

    data:       its folder
    host:       where it is reached
    dicom_port, web_port: on it
    ca:         of its certificate, if it speaks HTTPS
    """

    host = "127.0.0.1"

    def __init__(
        self,
        data: Path,
        *,
        options: Sequence[str] = (),
        nodes: Sequence[str] = (),
        workers: int = 2,
        environment: dict[str, str] | None = None,
        wrapper: Sequence[str] = (),
        ca: str | None = None,
    ) -> None:
        self.data, self.options, self.nodes, self.workers = data, tuple(options), tuple(nodes), workers
        self.environment, self.wrapper = environment or {}, tuple(wrapper)
        self.tls = None if ca is None else ssl.create_default_context(cafile=ca)
        self.dicom_port, self.web_port = free_port(), free_port()
        self.aet = "PACS"
        self.log = data.parent / f"{data.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._token, self._token_until = "", 0.0

    # -- life -------------------------------------------------------------------------------------------------------------------
    def start(self, *, wait: bool = True) -> None:
        command = [
            *self.wrapper, sys.executable, "-m", "supervisors.cli", "serve", "--data", str(self.data), "--aet", self.aet,
            "--dicom-port", str(self.dicom_port), "--web-port", str(self.web_port), "--workers", str(self.workers),
            *(part for node in self.nodes for part in ("--node", node)), *self.options,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                cwd=Path(__file__).resolve().parents[2],
                env={**os.environ, "PACS_ADMIN_PASSWORD": ADMIN_PASSWORD, **self.environment},
            )  # fmt: skip
        if wait:
            self.wait_ready()

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        deadline = time.monotonic() + within_s
        while self.get("/readyz")[0] != 200:
            assert self.process is not None and self.process.poll() is None, (
                f"the server ended:\n{self.tail()}"
            )
            assert time.monotonic() < deadline, f"not ready within {within_s} s:\n{self.tail()}"
            time.sleep(0.05)

    def stop(self, within_s: float = 35.0) -> int:
        """SIGTERM and wait; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def kill(self) -> None:
        """kill -9 for every process of the server, PostgreSQL included: as if the machine had crashed, but for the page cache."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait(10)

    def pids(self) -> list[int]:
        """The server's process tree, the parent first."""
        assert self.process is not None
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["workers"]]

    def postgres_pid(self) -> int:
        return int((self.data / "postgres" / "postmaster.pid").read_text().split()[0])

    # -- what it says -----------------------------------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.web_port}"

    def ask(
        self, method: str, path: str, body: object = None, *, token: str = "", within_s: float = 20.0
    ) -> tuple[int, bytes]:
        """Status and body; (0, b"") while nothing answers. body: sent as JSON unless None"""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["content-type"] = "application/json"
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=within_s, context=self.tls) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def get(self, path: str, within_s: float = 20.0) -> tuple[int, bytes]:
        """Of the API as the administrator, of the rest as a stranger."""
        return self.ask("GET", path, token=self.token if path.startswith("/api/") else "", within_s=within_s)

    def login(self, username: str = "admin", password: str = ADMIN_PASSWORD) -> str:
        """Log in; the access token."""
        status, body = self.ask(
            "POST", "/api/v1/login", {"username": username, "password": password}, within_s=30.0
        )
        assert status == 200, (status, body)
        token: str = json.loads(body)["access_token"]
        return token

    @property
    def token(self) -> str:
        """The administrator's; a new one in good time before it expires."""
        if not self._token or time.monotonic() > self._token_until:
            self._token, self._token_until = self.login(), time.monotonic() + 600
        return self._token

    def status(self) -> Any:
        """A worker that does not know the token yet needs the database once to look it up."""
        status, body = self.ask("GET", "/api/v1/status", token=self.token)
        if status == 401:  # a new database, or a long test
            self._token = self.login()
        deadline = time.monotonic() + 30
        while status != 200:
            assert time.monotonic() < deadline, f"no status but {status}: {body!r}\n{self.tail()}"
            time.sleep(0.05)
            status, body = self.ask("GET", "/api/v1/status", token=self.token)
        return json.loads(body)

    def tail(self, characters: int = 6000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        lines = (
            json.loads(line)
            for line in self.log.read_text(errors="replace").splitlines()
            if line.startswith("{")
        )
        return [line for line in lines if line["event"] == event]

    # -- what it keeps ----------------------------------------------------------------------------------------------------------
    def objects(self) -> list[StoredObject]:
        return stored_objects(self.data)

    def quarantined(self) -> list[Path]:
        return sorted((self.data / "quarantine").rglob("*.dcm"))

    def temporary(self) -> list[Path]:
        return sorted(path for path in (self.data / "tmp").rglob("*") if path.is_file())

    def sql(self, statement: str) -> list[str]:
        """psql on the embedded server; one line a row, columns divided by |."""
        dsn = dsn_of(self.data)
        done = subprocess.run(
            ["psql", dsn, "-XAtc", statement], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.splitlines()


def dsn_of(data: Path) -> str:
    from config.settings import DatabaseSettings
    from supervisors.postgres import EmbeddedPostgres

    return EmbeddedPostgres(data, DatabaseSettings()).dsn


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start it, and make sure that nothing of it is left."""
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                server.kill()
