"""The embedded PostgreSQL's data folder: made in one step, tidied and configured at every start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from config.settings import DatabaseSettings
from pacs_actors.application_role import APPLICATION_ROLE
from pacs_actors.operations import logs
from protocols.errors import ConfigError, Unavailable
from supervisors.child_process import finish, tell, wait_gone, wait_gone_within
from supervisors.postgres_programs import Programs, environment

DATABASE: Final = "pacs"
ROLE: Final = "pacs"
_DRAFT: Final = "postgres.new-"
_HAS_ROLES: Final = "pacs-roles"  # a file that says that the folder has the application's role, too
_ADD_ROLE: Final = (  # in one line: that is a statement to the single-user server
    f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APPLICATION_ROLE}') THEN "
    f"CREATE ROLE {APPLICATION_ROLE} LOGIN; GRANT {APPLICATION_ROLE} TO {ROLE}; END IF; END $$\n"
)
_SPARE_CONNECTIONS: Final = 16  # for commands and administrators; 3 of them only for superusers
_INITDB_LIMIT_S: Final = 120.0
_OLD_SERVER_FAST_S: Final = 10.0
_OLD_SERVER_NOW_S: Final = 3.0
_READY_LINE: Final = 7

_CONFIGURATION: Final = """\
# Written by pacs-actors at every start. Your own settings go into local.conf beside this file: they win.
listen_addresses = ''
unix_socket_directories = '{socket_folder}'
unix_socket_permissions = 0700
max_connections = {max_connections}

shared_buffers = {shared_buffers_mib}MB
random_page_cost = 1.1
effective_io_concurrency = 16
jit = off

fsync = on
full_page_writes = on
synchronous_commit = on
wal_compression = on
max_wal_size = 2GB
checkpoint_timeout = 15min

# A table that has just been filled is planned for as if it were empty until it is analyzed.
autovacuum_naptime = 10s
autovacuum_analyze_scale_factor = 0.05

idle_in_transaction_session_timeout = 60s
client_connection_check_interval = 5s
timezone = 'UTC'

# The server's own words only: statements and row values hold patients' names.
log_min_messages = log
log_min_error_statement = panic
log_error_verbosity = terse
log_line_prefix = ''
log_timezone = 'UTC'
log_checkpoints = off

{more}
include_if_exists = 'local.conf'
"""
_OLDEST_SUMMARIZING: Final = 17
_SUMMARIES: Final = """\
# What changed in which file: incremental backups go by it, for as long as a chain of them may be.
summarize_wal = on
wal_summary_keep_time = '40d'
"""


class Postmaster(Struct, frozen=True):
    """A running server of a data folder, from its postmaster.pid."""

    pid: int
    socket_folder: str
    ready: bool


def major_of(folder: Path) -> int | None:
    """Major version that made a data folder; None: there is none yet.

    raises: ConfigError if the folder holds something else
    """
    try:
        return int((folder / "PG_VERSION").read_text(encoding="ascii").strip())
    except FileNotFoundError:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"server.data: {folder} is not a PostgreSQL folder; move it away") from None
        return None
    except (ValueError, OSError) as error:
        raise ConfigError(f"server.data: cannot read {folder / 'PG_VERSION'}: {error}") from None


def sweep_drafts(data: Path) -> None:
    """Remove what kills in the middle of ``initialise`` left."""
    for half in data.glob(_DRAFT + "*"):
        shutil.rmtree(half, ignore_errors=True)


async def initialise(folder: Path, programs: Programs) -> None:
    """Make the data folder, with database and role, durable before it gets its name.

    raises: Unavailable if initdb fails
    """
    # A name of its own: an initdb that was killed with its server may still be tidying up after itself.
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder.parent))
    hand_over(draft, programs)
    locale = ["--locale=C.UTF-8"]
    if programs.major >= 17:
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    # The socket's folder is open to our user only: that is the authentication.
    options = [
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        *locale,
        "--data-checksums",
        "--no-sync",
    ]
    await _must(programs, "initdb", "-D", str(draft), *options)
    statements = f"CREATE ROLE {ROLE} LOGIN\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n{_ADD_ROLE}"
    await _single(programs, draft, statements, "-F")
    (draft / _HAS_ROLES).touch()
    await _must(programs, "initdb", "-D", str(draft), "--sync-only")
    _put_in_place(draft, folder)


async def add_roles(folder: Path, programs: Programs) -> None:
    """Give a folder of an earlier release the application's role. The server must not run.

    raises: Unavailable if it cannot be done
    """
    if not (folder / _HAS_ROLES).exists():
        await _single(programs, folder, _ADD_ROLE)
        (folder / _HAS_ROLES).touch()


def configure(folder: Path, socket_folder: Path, settings: DatabaseSettings, clients: int) -> None:
    """Write postgresql.conf, with room for that many clients and a few people."""
    summarizing = (major_of(folder) or 0) >= _OLDEST_SUMMARIZING
    text = _CONFIGURATION.format(
        more=_SUMMARIES if summarizing else "",
        socket_folder=str(socket_folder).replace("'", "''"),
        max_connections=max(settings.max_connections, clients + _SPARE_CONNECTIONS),
        shared_buffers_mib=settings.shared_buffers_mib,
    )
    draft = folder / "postgresql.conf.new"
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)  # PostgreSQL may run as somebody else; the folder is closed to all others
    draft.replace(folder / "postgresql.conf")


def hand_over(folder: Path, programs: Programs) -> None:
    """Give a folder to the user that PostgreSQL runs as, if it is not theirs; only root can and needs to."""
    if os.geteuid() != 0:
        return
    uid, gid = programs.launcher.owner or (0, 0)
    if folder.stat().st_uid != uid:
        # From the bottom: the owner of the folder itself says that all below is done.
        for place, _, files in os.walk(folder, topdown=False):
            for path in (*(Path(place, file) for file in files), Path(place)):
                os.chown(path, uid, gid, follow_symlinks=False)
    if programs.launcher.owner is not None:
        # Enough to walk through our folder, for that one group; not to list it.
        os.chown(folder.parent, -1, gid)
        folder.parent.chmod(folder.parent.stat().st_mode | 0o010)


def running(folder: Path) -> Postmaster | None:
    """The live server of a data folder. A pid that something else has taken since is not one."""
    try:
        lines = (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        pid = int(lines[0])
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return None
    if os.fsencode(folder) not in arguments:  # also of a zombie, which has none
        return None
    ready = len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"
    return Postmaster(pid, lines[4] if len(lines) > 4 else "", ready)


async def clear_leftovers(folder: Path) -> None:
    """Stop what a crashed server left running in the folder. The caller holds the data folder's lock.

    raises: Unavailable if it does not end
    """
    old = running(folder)
    if old is not None:
        logs.warning("postgres_left_running", pid=old.pid)
        tell(old.pid, signal.SIGINT)
        if not await wait_gone_within(old.pid, _OLD_SERVER_FAST_S):
            tell(old.pid, signal.SIGQUIT)
            if not await wait_gone_within(old.pid, _OLD_SERVER_NOW_S):
                raise Unavailable(f"an old PostgreSQL (pid {old.pid}) does not stop")
    for pid in _living_in(folder):  # they lost their server: nothing that they do can count any more
        logs.warning("postgres_orphan_killed", pid=pid)
        tell(pid, signal.SIGKILL)
        await wait_gone(pid)
    # PostgreSQL would take any live process of that number for its older self.
    (folder / "postmaster.pid").unlink(missing_ok=True)


def _living_in(folder: Path) -> Iterator[int]:
    """Server processes of a data folder: they all work in it."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if (
                    process.joinpath("cwd").readlink() == folder
                    and process.joinpath("comm").read_text() == "postgres\n"
                ):
                    yield int(process.name)


async def _must(programs: Programs, program: str, *arguments: str, feed: bytes = b"") -> None:
    command = programs.command(program, *arguments)
    finished = await finish(command, environment=environment(), feed=feed, limit_s=_INITDB_LIMIT_S)
    if finished.code != 0:
        last = "; ".join(line for line in finished.output.splitlines() if line.strip())[-500:]
        raise Unavailable(f"{program} failed ({finished.code}): {last}")


async def _single(programs: Programs, folder: Path, statements: str, *options: str) -> None:
    """Statements, a line each, to a single-user server."""
    single = ["--single", *options, "-D", str(folder), "-c", "exit_on_error=on", "template1"]
    await _must(programs, "postgres", *single, feed=statements.encode())


def _put_in_place(draft: Path, folder: Path) -> None:
    """Rename, for good."""
    if folder.exists():
        folder.rmdir()  # empty: major_of saw to that
    draft.rename(folder)
    fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
