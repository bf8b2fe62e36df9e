"""Where the embedded PostgreSQL's socket lives: a Unix socket's path is limited to 107 bytes, ours is not."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import quote

MAX_SOCKET_PATH_BYTES: Final = 107
PORT: Final = 5432
_SOCKET: Final = f".s.PGSQL.{PORT}.lock"  # the longest name in the folder
_RECORD: Final = "postgres-run.path"


def socket_folder(data: Path) -> Path:
    """The folder of the socket: mode 0700, made if need be, the same one after a restart.

    ``DATA/postgres-run`` where that is short enough, else one in the temporary folder, noted in ``DATA``.
    raises: OSError
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = data / "postgres-run"
    if fits(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder
    record = data / _RECORD
    remembered = Path(record.read_text(encoding="utf-8")) if record.exists() else None
    if remembered is not None and fits(remembered) and _is_private(remembered):
        return remembered
    parent = tempfile.gettempdir() if fits(Path(tempfile.gettempdir()) / "pacs-12345678") else "/tmp"  # noqa: S108
    made = Path(tempfile.mkdtemp(prefix="pacs-", dir=parent))
    draft = record.with_suffix(".new")
    draft.write_text(str(made), encoding="utf-8")
    draft.replace(record)
    return made


def fits(folder: Path) -> bool:
    return len(os.fsencode(folder / _SOCKET)) <= MAX_SOCKET_PATH_BYTES


def dsn(folder: Path | str, database: str, role: str) -> str:
    """A PostgreSQL URL of a socket's folder, for asyncpg and psql."""
    return f"postgresql://{role}@/{database}?host={quote(str(folder), safe='/')}&port={PORT}"


def _is_private(folder: Path) -> bool:
    """A folder of that name in a temporary folder may be somebody else's by now, or a link."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    mine = found.st_uid == os.geteuid() or os.geteuid() == 0
    return stat.S_ISDIR(found.st_mode) and mine and stat.S_IMODE(found.st_mode) == 0o700
